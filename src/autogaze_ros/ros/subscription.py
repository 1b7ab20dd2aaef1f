"""One camera's images on their way into the buffer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from autogaze_ros.io.frames import FrameSampler, StampMonitor
from autogaze_ros.io.images import compressed_to_rgb, image_to_rgb
from autogaze_ros.reporting import Throttle
from autogaze_ros.ros.inference import Arrival, stamp_of
from autogaze_ros.ros.qos import (
    described,
    list_endpoints,
    policy_name,
    reliability_for,
    subscription_overrides,
)
from autogaze_ros.ros.queue import FrameBuffer, Numbering, publisher_of
from autogaze_ros.ros.settings import image_topic
from autogaze_ros.ros.statistics import LOST_BY_DDS, CameraStatistics
from autogaze_ros.ros.types import TypeWatch, image_beside, image_remedy

if TYPE_CHECKING:
    from autogaze_ros.ros.gaze_node import GazeNode

STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # for timers: simulation time may stand still
DEPTH = 5  # images that may wait in DDS; under policy every as many as may wait in the node, too
_WATCH_PERIOD = 0.5  # seconds between looks at the publishers
_MOST_LOOKS = 10  # at which a former subscription is kept
_HAS_INFO = hasattr(Subscription, "CallbackType")  # older rclpy calls back with the message alone


class Intake:
    """Subscribes to a camera's images; follows their stamps, thins them out, and stores what is left.

    depth: of images that DDS keeps. The executor's thread alone uses it. While another
    reliability is coming into force there are two subscriptions: the former one goes
    when its publishers are heard by the new one, and every image counts once.
    """

    def __init__(self, node: GazeNode, name: str, statistics: CameraStatistics) -> None:
        self._node, self._name, self._statistics = node, name, statistics
        self._compressed = node.value(f"{name}.transport") == "compressed"
        self._kind = CompressedImage if self._compressed else Image
        self._topic, self.topic = image_topic(node, name)
        self._throttle = Throttle(lambda text: node.get_logger().warning(text))
        self._types = TypeWatch(node, self.topic, self._kind, self.warn, self._remedy)
        every = node.value("policy") == "every"
        self.depth = max(DEPTH, node.value("queue_size")) if every else DEPTH
        self._subscription: Any = None
        self._former: Any = None
        self._unheard: set[bytes] = set()  # publishers that only the former one has heard
        self._heard_by_new: set[bytes] = set()
        self._looks = 0  # since there is a former one
        self._watch: Any = None
        self._numbering = Numbering()
        self._known_since: dict[bytes, int] = {}  # nanoseconds, by publisher
        self._monitor, self._thinning, self._epoch = StampMonitor(), FrameSampler(), 0
        self._heard = 0.0  # monotonic seconds of the last image
        self._reported_silence = False

    @property
    def publishers(self) -> int:
        """Number of publishers that the subscription sees."""
        return self._subscription.get_publisher_count() if self._subscription else 0

    @property
    def others(self) -> str:
        """Publishers on the topic whose type is another one, in one line; empty where there are none."""
        return self._types.others if self._subscription else ""

    def open(self, buffer: FrameBuffer[Arrival]) -> None:
        """Store images in the buffer from now on."""
        self._buffer = buffer
        self._statistics.opened()
        self._heard, self._reported_silence = time.monotonic(), False
        self._numbering = Numbering()
        # auto begins reliable: that matches reliable publishers at once and without
        # loss; best effort ones are noticed within a moment.
        best_effort = self._node.value("reliability") == "best_effort"
        self._subscribe(ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE)
        self._watch = self._node.create_timer(_WATCH_PERIOD, self._look, clock=STEADY)

    def close(self) -> None:
        """Take no more images than DDS holds already."""
        if self._watch is not None:
            self._node.destroy_timer(self._watch)
            self._watch = None
        for subscription in filter(None, (self._former, self._subscription)):
            self._end(subscription)
        self._former = self._subscription = None

    def reset(self) -> None:
        """Let nothing that came so far count for the images to come."""
        self._epoch += 1

    def decode(self, message: Any) -> Any:
        """Return a message's image as RGB; raises ImageError."""
        to_rgb = compressed_to_rgb if self._compressed else image_to_rgb
        return to_rgb(message, self._node.settings["max_image_pixels"])

    def warn(self, text: str) -> None:
        """Log a warning about this camera; one of a kind a minute."""
        self._throttle(f"{self._name} ({self.topic}): {text}")

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        self._subscription = self._node.create_subscription(
            self._kind,
            self._topic,
            self._arrive if _HAS_INFO else lambda message: self._arrive(message, {}),
            QoSProfile(depth=self.depth, reliability=reliability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._mismatch, message_lost=self._lost
            ),
            qos_overriding_options=subscription_overrides(),
        )
        asked = described(self._subscription.qos_profile)
        self._node.get_logger().info(f"{self._name}: {self._subscription.topic_name}, {asked}")

    def _change(self, reliability: ReliabilityPolicy) -> None:
        """Subscribe anew, and keep the subscription that there is until the new one is heard."""
        if self._numbering.known is False:  # doubles could not be told
            self._end(self._subscription)
        else:
            self._former, self._looks = self._subscription, 0
            self._former.callback = self._arrive_by_former
            self._unheard, self._heard_by_new = set(), set()
        self._subscribe(reliability)

    def _end(self, subscription: Any) -> None:
        if self._node.context.ok():
            for entry in self._queued(subscription):
                self._store(*entry)
        self._node.destroy_subscription(subscription)

    def _arrive(self, message: Any, info: Any) -> None:
        if self._former is not None:
            for older in self._queued(self._former):
                self._arrive_by_former(*older)
            self._heard_by_new.add(publisher_of(info))
            self._unheard -= self._heard_by_new
        queue = [(message, info), *self._queued(self._subscription)]
        if len(queue) >= self._room(self._subscription):
            self._numbering.begin([about for _, about in queue], self._known_since)
        for entry in queue:
            self._store(*entry)

    def _arrive_by_former(self, message: Any, info: Any) -> None:
        self._unheard |= {publisher_of(info)} - self._heard_by_new
        self._store(message, info)

    def _queued(self, subscription: Any) -> list[tuple[Any, Any]]:
        """Take what a subscription holds, faster than the executor would image by image."""
        taken: list[tuple[Any, Any]] = []
        with subscription.handle:
            while len(taken) < self._room(subscription):
                entry = subscription.handle.take_message(self._kind, False)
                if entry is None:
                    break
                taken.append(entry)
        return taken

    @staticmethod
    def _room(subscription: Any) -> int:
        return max(DEPTH, subscription.qos_profile.depth)  # the user may have asked for another

    def _store(self, message: Any, info: Any) -> None:
        missing = self._numbering.check(info)
        if missing is None:
            return
        if missing:
            self._miss(missing)
        arrived, settings, stamp = time.perf_counter(), self._node.settings, stamp_of(message.header)
        self._heard, self._reported_silence = time.monotonic(), False
        self._statistics.received()
        if broken := self._monitor.check(stamp, settings["max_gap"]):
            self._epoch += 1
            self.warn(f"{broken}; the stream begins anew")
        received = round(arrived * 1e9)
        if self._thinning.keeps(stamp, received, settings["frame_stride"], settings["max_rate"]):
            self._buffer.put(self._name, Arrival(self._name, message, arrived, self._epoch))
        else:
            self._statistics.left_out()

    def _look(self) -> None:
        """Be as reliable as every publisher allows; tell of wrong types, and when nothing comes."""
        self._types.look()
        offers = self._types.fitting()
        known = {bytes(offer.endpoint_gid): time.time_ns() for offer in offers}
        self._known_since = {gid: self._known_since.get(gid, now) for gid, now in known.items()}
        if self._former is not None:
            self._part()
        elif offers and self._node.value("reliability") == "auto":
            wanted = reliability_for(offers)
            if wanted != self._subscription.qos_profile.reliability:
                self._change(wanted)
        silence = time.monotonic() - self._heard
        if silence > self._node.settings["silence"] and not self._reported_silence:
            self._reported_silence = True
            asked = described(self._subscription.qos_profile)
            publishers = list_endpoints(offers)
            told = [f"no frame for {silence:.0f} s", f"asked for {asked}", f"publishers: {publishers}"]
            if hint := self.others or (not offers and self._beside()):
                told.append(hint)
            self.warn("; ".join(told))

    def _remedy(self, found: set[str]) -> str:
        return image_remedy(self._name, self.topic, compressed=self._compressed, found=found)

    def _beside(self) -> str:
        return image_beside(self._node, self._name, self.topic, compressed=self._compressed)

    def _part(self) -> None:
        """Let the former subscription go once it is not needed."""
        self._looks += 1
        if not self._unheard or self._looks == _MOST_LOOKS:
            self._end(self._former)
            self._former = None

    def _lost(self, event: Any) -> None:
        if not self._numbering.known:  # else the numbers tell of these, too
            self._miss(event.total_count_change)

    def _miss(self, count: int) -> None:
        self._statistics.dropped(LOST_BY_DDS, count)
        self._buffer.skip(self._name, count)

    def _mismatch(self, event: Any) -> None:
        if policy_name(event) == "reliability" and self._node.value("reliability") == "auto":
            return  # mended within a moment
        asked = described(self._subscription.qos_profile)

        def tell() -> None:
            offers = list_endpoints(self._types.fitting())
            text = f"incompatible {policy_name(event)}: this node asks for {asked}; publishers: {offers}"
            self.warn(text)
            self._statistics.faulty(text)

        self._node.call_when_known(tell)
