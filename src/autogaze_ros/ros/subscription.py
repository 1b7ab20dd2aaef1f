"""Subscription to one camera's images: numbering, stamps, sampling, and the way into the queue."""

from __future__ import annotations

import time
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.io.frames import FrameSampler, StampMonitor
from autogaze_ros.io.images import compressed_to_rgb, image_to_rgb
from autogaze_ros.reporting import Throttle
from autogaze_ros.ros.clocks import STEADY, call_later
from autogaze_ros.ros.losses import LossDetector, publisher_of
from autogaze_ros.ros.messages import stamp_of
from autogaze_ros.ros.qos import (
    DISCOVERY,
    checked_overrides,
    described,
    list_endpoints,
    policy_name,
    reliability_for,
    subscription_overrides,
)
from autogaze_ros.ros.queue import ImageQueue, QueuedImage
from autogaze_ros.ros.settings import CameraSettings, LiveSettings
from autogaze_ros.ros.statistics import LOST_BY_DDS, CameraStatistics
from autogaze_ros.ros.types import TypeWatch, image_beside, image_remedy

DEPTH = 5  # images that DDS keeps; with queue_policy every as many as the node keeps
_WATCH_PERIOD = 0.5  # seconds between looks at the publishers
_MOST_LOOKS = 10  # for which a former subscription is kept
_HAS_INFO = hasattr(Subscription, "CallbackType")  # older rclpy calls back with the message alone


class ImageSubscription:
    """Receives a camera's images, gives each a sequence number, and queues those that sampling keeps.

    depth: images that DDS keeps.

    Only the executor's thread uses it. While the reliability changes there are two subscriptions:
    the former one is kept until the new one hears all its publishers, and every image counts once.
    """

    def __init__(
        self, node: Node, camera: CameraSettings, live: LiveSettings, statistics: CameraStatistics
    ) -> None:
        self._node, self._camera, self._live, self._statistics = node, camera, live, statistics
        self._type = CompressedImage if camera.compressed else Image
        self._throttle = Throttle(lambda text: node.get_logger().warning(text))
        self._types = TypeWatch(node, camera.topic, self._type, self.warn, self._remedy)
        every = live.now.queue_policy == "every"
        self.depth = max(DEPTH, live.now.queue_size) if every else DEPTH
        self._subscription: Any = None
        self._former: Any = None
        self._unheard: set[bytes] = set()  # publishers that only the former one has heard
        self._heard_by_new: set[bytes] = set()
        self._looks = 0  # since there is a former one
        self._watch: Any = None
        self._losses = LossDetector()
        self._known_since: dict[bytes, int] = {}  # nanoseconds, by publisher
        self._monitor, self._sampler, self._generation = StampMonitor(), FrameSampler(), 0
        self._sequence = 0  # of the newest image that was queued or lost
        self._heard = 0.0  # monotonic seconds of the last image
        self._reported_silence = False

    @property
    def publishers(self) -> int:
        """Number of publishers that the subscription sees."""
        return self._subscription.get_publisher_count() if self._subscription else 0

    @property
    def others(self) -> str:
        """Publishers of another type on the topic, in one line; empty if there are none."""
        return self._types.others if self._subscription else ""

    def open(self, queue: ImageQueue[QueuedImage]) -> None:
        """Subscribe, and put images into the queue from now on."""
        self._queue = queue
        self._statistics.opened()
        self._heard, self._reported_silence = time.monotonic(), False
        self._losses = LossDetector()
        # auto begins reliable, which matches reliable publishers at once and without loss; best
        # effort ones are noticed within a moment.
        best_effort = self._live.now.reliability == "best_effort"
        self._subscribe(ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE)
        self._watch = self._node.create_timer(_WATCH_PERIOD, self._look, clock=STEADY)

    def close(self) -> None:
        """Unsubscribe; images that DDS holds already are still queued."""
        if self._watch is not None:
            self._node.destroy_timer(self._watch)
            self._watch = None
        for subscription in filter(None, (self._former, self._subscription)):
            self._end(subscription)
        self._former = self._subscription = None

    def reset(self) -> None:
        """Restart the stream with the next image."""
        self._generation += 1

    def decode(self, message: Any) -> Any:
        """Return a message's image as (H, W, 3) uint8 RGB; raises ImageError."""
        to_rgb = compressed_to_rgb if self._camera.compressed else image_to_rgb
        return to_rgb(message, self._live.now.max_image_pixels)

    def warn(self, text: str) -> None:
        """Log a warning about this camera; one of each kind per minute."""
        self._throttle(f"{self._camera.name} ({self._camera.topic}): {text}")

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        with checked_overrides():
            self._subscription = self._node.create_subscription(
                self._type,
                self._camera.image_topic,
                self._receive if _HAS_INFO else lambda message: self._receive(message, {}),
                QoSProfile(depth=self.depth, reliability=reliability),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=self._report_incompatible, message_lost=self._count_lost
                ),
                qos_overriding_options=subscription_overrides(),
            )
        requested = described(self._subscription.qos_profile)
        self._node.get_logger().info(f"{self._camera.name}: {self._subscription.topic_name}, {requested}")

    def _change(self, reliability: ReliabilityPolicy) -> None:
        """Subscribe anew, and keep the present subscription until the new one is heard."""
        if self._losses.numbered is False:  # duplicates could not be detected
            self._end(self._subscription)
        else:
            self._former, self._looks = self._subscription, 0
            self._former.callback = self._receive_by_former
            self._unheard, self._heard_by_new = set(), set()
        self._subscribe(reliability)

    def _end(self, subscription: Any) -> None:
        if self._node.context.ok():
            for entry in self._take_all(subscription):
                self._store(*entry)
        self._node.destroy_subscription(subscription)

    def _receive(self, message: Any, info: Any) -> None:
        if self._former is not None:
            for older in self._take_all(self._former):
                self._receive_by_former(*older)
            self._heard_by_new.add(publisher_of(info))
            self._unheard -= self._heard_by_new
        queue = [(message, info), *self._take_all(self._subscription)]
        if len(queue) >= _depth_of(self._subscription):
            self._losses.begin([about for _, about in queue], self._known_since)
        for entry in queue:
            self._store(*entry)

    def _receive_by_former(self, message: Any, info: Any) -> None:
        self._unheard |= {publisher_of(info)} - self._heard_by_new
        self._store(message, info)

    def _take_all(self, subscription: Any) -> list[tuple[Any, Any]]:
        """Take all messages of a subscription, faster than the executor does one by one."""
        taken: list[tuple[Any, Any]] = []
        with subscription.handle:
            while len(taken) < _depth_of(subscription):
                entry = subscription.handle.take_message(self._type, False)
                if entry is None:
                    break
                taken.append(entry)
        return taken

    def _store(self, message: Any, info: Any) -> None:
        missing = self._losses.check(info)
        if missing is None:
            return
        if missing:
            self._lose(missing)
        received, settings, stamp = time.perf_counter(), self._live.now, stamp_of(message.header)
        self._heard, self._reported_silence = time.monotonic(), False
        self._statistics.received()
        if broken := self._monitor.check(stamp, settings.max_gap):
            self._generation += 1
            self.warn(f"{broken}; the stream begins anew")
        if not self._sampler.keeps(stamp, round(received * 1e9), settings.frame_stride, settings.max_rate):
            self._statistics.left_out()
            return
        self._sequence += 1
        image = QueuedImage(self._camera.name, message, self._sequence, received, self._generation)
        self._queue.put(self._camera.name, image)

    def _look(self) -> None:
        """Adapt the reliability to the publishers; warn of wrong types, and when no image arrives."""
        self._types.look()
        offers = self._types.fitting()
        known = {bytes(offer.endpoint_gid): time.time_ns() for offer in offers}
        self._known_since = {gid: self._known_since.get(gid, now) for gid, now in known.items()}
        if self._former is not None:
            self._end_former()
        elif offers and self._live.now.reliability == "auto":
            wanted = reliability_for(offers)
            if wanted != self._subscription.qos_profile.reliability:
                self._change(wanted)
        silence = time.monotonic() - self._heard
        if silence > self._live.now.no_frame_timeout and not self._reported_silence:
            self._reported_silence = True
            self.warn(self._describe_silence(silence, offers))

    def _describe_silence(self, seconds: float, offers: list[Any]) -> str:
        requested = described(self._subscription.qos_profile)
        publishers = list_endpoints(offers)
        parts = [f"no frame for {seconds:.0f} s", f"asked for {requested}", f"publishers: {publishers}"]
        if hint := self.others or (not offers and self._beside()):
            parts.append(hint)
        return "; ".join(parts)

    def _remedy(self, found: set[str]) -> str:
        camera = self._camera
        return image_remedy(camera.name, camera.topic, compressed=camera.compressed, found=found)

    def _beside(self) -> str:
        camera = self._camera
        return image_beside(self._node, camera.name, camera.topic, compressed=camera.compressed)

    def _end_former(self) -> None:
        """End the former subscription once it is not needed."""
        self._looks += 1
        if not self._unheard or self._looks == _MOST_LOOKS:
            self._end(self._former)
            self._former = None

    def _count_lost(self, event: Any) -> None:
        if not self._losses.numbered:  # otherwise gaps in the numbers include these
            self._lose(event.total_count_change)

    def _lose(self, count: int) -> None:
        self._statistics.dropped(LOST_BY_DDS, count)
        self._sequence += count

    def _report_incompatible(self, event: Any) -> None:
        if policy_name(event) == "reliability" and self._live.now.reliability == "auto":
            return  # adapted within a moment
        requested = described(self._subscription.qos_profile)

        def report() -> None:
            offers = list_endpoints(self._types.fitting())
            text = f"incompatible {policy_name(event)}: this node asks for {requested}; publishers: {offers}"
            self.warn(text)
            self._statistics.faulty(text)

        call_later(self._node, DISCOVERY, report)


def _depth_of(subscription: Any) -> int:
    return max(DEPTH, subscription.qos_profile.depth)  # the user may have asked for another
