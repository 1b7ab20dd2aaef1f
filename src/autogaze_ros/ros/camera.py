"""One camera of the node: its images, gazes and statistics."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from autogaze_ros.msg import GazeMask
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.reporting import described, shown
from autogaze_ros.ros.diagnostics import CameraReport
from autogaze_ros.ros.messages import gaze_mask, stamp_of
from autogaze_ros.ros.publishers import ImagePublishers, Prepared, PublisherSet
from autogaze_ros.ros.queue import ImageQueue, QueuedImage
from autogaze_ros.ros.settings import CameraSettings, LiveSettings
from autogaze_ros.ros.statistics import CameraStatistics, Load
from autogaze_ros.ros.subscription import ImageSubscription

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstruction

_CLOCKS_DIFFER = 60e3  # ms; the stamp of an "older" frame is of another clock


class Camera:
    """Queues a camera's images while subscribed, and publishes their gazes and images.

    newest: the frame published last; None before the first.
    """

    def __init__(
        self,
        node: LifecycleNode,
        settings: CameraSettings,
        live: LiveSettings,
        publishers: PublisherSet,
        load: Load,
    ) -> None:
        self.name = settings.name
        self.newest: GazedFrame | None = None
        self._node, self._live = node, live
        self.statistics = CameraStatistics()
        self.subscription = ImageSubscription(node, settings, live, self.statistics)
        self._gaze = publishers.create(GazeMask, f"~/{self.name}/gaze", max(10, self.subscription.depth))
        self._images = ImagePublishers(node, settings, publishers)
        title = f"{node.get_name()}: {self.name}"
        self._report = CameraReport(title, settings.topic, self.statistics, load)
        self._last_sequence = 0  # of the image whose gaze was published last
        self._last_fault = self._last_failure = ""

    def subscribe(self, queue: ImageQueue[QueuedImage]) -> None:
        """Put images into the queue from now on."""
        self.subscription.open(queue)
        self._images.open()

    def unsubscribe(self) -> None:
        """Receive no further images."""
        self.subscription.close()
        self._images.close()

    def status(self, state: str) -> DiagnosticStatus:
        """Return this camera's part of /diagnostics."""
        self._images.types.look()
        others = "; ".join(filter(None, (self.subscription.others, self._images.types.others)))
        links = {
            "image publishers": self.subscription.publishers,
            "gaze subscribers": self._gaze.get_subscription_count(),
        }
        return self._report.make(self._live.now, state, links, others)

    def decode(self, message: Any) -> Any:
        """Return a message's image as (H, W, 3) uint8 RGB; raises ImageError."""
        return self.subscription.decode(message)

    def drop(self, cause: str, fault: str) -> None:
        """Count a frame without a gaze; a fault that repeats is only shown in diagnostics."""
        fault = shown(fault)
        if fault != self._last_fault and self._node.context.ok():
            self.warn(f"frame ignored: {fault}")
        self._last_fault = fault
        self.statistics.dropped(cause)
        self.statistics.faulty(fault)

    def warn(self, text: str) -> None:
        """Log a warning about this camera."""
        self.subscription.warn(text)

    def publish(self, image: QueuedImage, gazed: GazedFrame) -> None:
        """Publish an image's gaze, and images of it that somebody subscribes to."""
        header, record = image.message.header, gazed.record
        record.dropped_since_last = image.sequence - self._last_sequence - 1
        began = time.perf_counter()
        pictures = self._rendered(header, gazed)
        now = time.perf_counter()
        record.latency.render = (now - began) * 1e3
        record.latency.total = (now - image.received) * 1e3
        record.latency.age = self._age(header)
        record.latency.reconstruct = self.statistics.newest_reconstruction()
        self._gaze.publish(gaze_mask(record, header))
        self._last_sequence = image.sequence
        self.statistics.gazed(record)
        self.newest = gazed
        self._last_fault = ""
        try:
            for publisher, message in pictures:
                publisher.publish(message)
        except Exception as fault:
            self._report_failure("image", fault)

    def _rendered(self, header: Any, gazed: GazedFrame) -> Prepared:
        try:
            return self._images.of_gaze(header, gazed, self._live.now)
        except Exception as fault:
            self._report_failure("image", fault)
            return []

    def shows_reconstruction(self) -> bool:
        """Return True if somebody subscribes to reconstructions."""
        return self._images.reconstruction_watched(self._live.now)

    def wants_reconstruction(self, record: GazeRecord) -> bool:
        """Return True if reconstruct_every selects this frame."""
        return record.frame_index % self._live.now.reconstruct_every == 0

    def publish_reconstruction(self, made: Reconstruction) -> None:
        """Publish a frame's reconstruction, and beside its overlay if the parameters ask for it."""
        frame = made.gazed.frame
        seconds, nanoseconds = divmod(frame.stamp, 1_000_000_000)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame.frame_id)
        for publisher, message in self._images.of_reconstruction(header, made, self._live.now):
            publisher.publish(message)
        self.statistics.reconstructed(made.milliseconds)

    def reconstruction_failed(self, fault: Exception) -> None:
        """Report a fault; one that repeats is only shown in diagnostics."""
        self._report_failure("reconstruction until the next context", fault)

    def _report_failure(self, missing: str, fault: Exception) -> None:
        text = f"no {missing}: {described(fault)}"
        if text != self._last_failure and self._node.context.ok():
            self.warn(text)
        self._last_failure = text
        self.statistics.faulty(text)

    def _age(self, header: Any) -> float:
        age = (self._node.get_clock().now().nanoseconds - stamp_of(header)) / 1e6
        return age if abs(age) < _CLOCKS_DIFFER else math.nan
