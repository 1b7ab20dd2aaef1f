"""One camera of the node: its images, its gazes, its statistics."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from autogaze_ros.msg import GazeMask
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.reporting import shown
from autogaze_ros.ros.diagnostics import CameraReport
from autogaze_ros.ros.inference import Arrival, described, stamp_of
from autogaze_ros.ros.messages import gaze_mask
from autogaze_ros.ros.publishers import Pictures, Prepared
from autogaze_ros.ros.queue import FrameBuffer
from autogaze_ros.ros.statistics import CameraStatistics, Load
from autogaze_ros.ros.subscription import Intake

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstruction
    from autogaze_ros.ros.gaze_node import GazeNode

_CLOCKS_DIFFER = 60e3  # ms; a frame "older" than this carries the stamp of another clock


class Camera:
    """Stores a camera's images while subscribed, and publishes what became of them.

    newest: the frame that was published last, None before the first.
    """

    def __init__(self, node: GazeNode, name: str, load: Load) -> None:
        self.name = name
        self.newest: GazedFrame | None = None
        self._node = node
        self.statistics = CameraStatistics()
        self.intake = Intake(node, name, self.statistics)
        self._gaze = node.offer(GazeMask, f"~/{name}/gaze", max(10, self.intake.depth))
        self._pictures = Pictures(node, name, self.intake.topic)
        self._report = CameraReport(f"{node.get_name()}: {name}", self.intake.topic, self.statistics, load)
        self._last_fault = self._last_failure = ""

    def subscribe(self, buffer: FrameBuffer[Arrival]) -> None:
        """Store images in the buffer from now on."""
        self.intake.open(buffer)
        self._pictures.open()

    def unsubscribe(self) -> None:
        """Take no more images."""
        self.intake.close()
        self._pictures.close()

    def status(self, state: str) -> DiagnosticStatus:
        """Return this camera's part of /diagnostics."""
        self._pictures.types.look()
        others = "; ".join(filter(None, (self.intake.others, self._pictures.types.others)))
        links = {
            "image publishers": self.intake.publishers,
            "gaze subscribers": self._gaze.get_subscription_count(),
        }
        return self._report.make(self._node.settings, state, links, others)

    def to_rgb(self, message: Any) -> Any:
        """Decode an image message; raises ImageError."""
        return self.intake.decode(message)

    def lose(self, cause: str, fault: str) -> None:
        """Report a frame that came to nothing; the same fault again only in diagnostics."""
        fault = shown(fault)
        if fault != self._last_fault and self._node.context.ok():
            self.warn(f"frame ignored: {fault}")
        self._last_fault = fault
        self.statistics.dropped(cause)
        self.statistics.faulty(fault)

    def warn(self, text: str) -> None:
        """Log a warning about this camera."""
        self.intake.warn(text)

    def publish(self, arrival: Arrival, gazed: GazedFrame) -> None:
        """Publish a frame's gaze, and pictures of it while somebody looks."""
        header, record = arrival.message.header, gazed.record
        began = time.perf_counter()
        pictures = self._rendered(header, gazed)
        now = time.perf_counter()
        record.latency.render = (now - began) * 1e3
        record.latency.total = (now - arrival.arrived) * 1e3
        record.latency.age = self._age(header)
        record.latency.reconstruct = self.statistics.newest_reconstruction()
        self._gaze.publish(gaze_mask(record, header))
        self.statistics.gazed(record)
        self.newest = gazed
        self._last_fault = ""
        try:
            for publisher, message in pictures:
                publisher.publish(message)
        except Exception as fault:
            self._tell_failure("picture", fault)

    def _rendered(self, header: Any, gazed: GazedFrame) -> Prepared:
        try:
            return self._pictures.of_gaze(header, gazed, self._node.settings)
        except Exception as fault:
            self._tell_failure("picture", fault)
            return []

    def shows_reconstruction(self) -> bool:
        """Return whether somebody looks at reconstructions."""
        return self._pictures.reconstruction_watched(self._node.settings)

    def wants_reconstruction(self, record: GazeRecord) -> bool:
        """Return whether it is this frame's turn."""
        return bool(record.frame_index % self._node.settings["reconstruct_every"] == 0)

    def publish_reconstruction(self, made: Reconstruction) -> None:
        """Publish a frame's reconstruction, and beside its overlay where that is asked for."""
        frame = made.gazed.frame
        seconds, nanoseconds = divmod(frame.stamp, 1_000_000_000)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame.frame_id)
        for publisher, message in self._pictures.of_reconstruction(header, made, self._node.settings):
            publisher.publish(message)
        self.statistics.reconstructed(made.milliseconds)

    def reconstruction_failed(self, fault: Exception) -> None:
        """Report it; the same fault again only in diagnostics."""
        self._tell_failure("reconstruction until the next context", fault)

    def _tell_failure(self, missing: str, fault: Exception) -> None:
        text = f"no {missing}: {described(fault)}"
        if text != self._last_failure and self._node.context.ok():
            self.warn(text)
        self._last_failure = text
        self.statistics.faulty(text)

    def _age(self, header: Any) -> float:
        age = (self._node.get_clock().now().nanoseconds - stamp_of(header)) / 1e6
        return age if abs(age) < _CLOCKS_DIFFER else math.nan
