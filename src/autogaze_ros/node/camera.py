"""One camera of the node: its subscription, its publishers, its statistics."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from autogaze_ros.images import compressed_to_rgb, image_to_rgb
from autogaze_ros.msg import GazeMask
from autogaze_ros.node.diagnostics import CameraStatistics
from autogaze_ros.node.frame_buffer import FrameBuffer
from autogaze_ros.node.messages import fill_image, gaze_mask
from autogaze_ros.node.worker import Arrival
from autogaze_ros.pipeline import GazedFrame, GazeRecord
from autogaze_ros.rendering import mask_levels, overlay, side_by_side

if TYPE_CHECKING:
    from autogaze_ros.node.gaze_node import GazeNode
    from autogaze_ros.reconstruction import Reconstruction

STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # for timers: simulation time may stand still
_DEPTH = 5
_WATCH_PERIOD = 0.5  # seconds between looks at what the publishers offer
_CLOCKS_DIFFER = 60e3  # ms; a frame "older" than this carries the stamp of another clock


class Camera:
    """Stores a camera's images while subscribed, and publishes what became of them."""

    def __init__(self, node: GazeNode, name: str) -> None:
        self.name = name
        self._node = node
        self._compressed = node.value(f"{name}.transport") == "compressed"
        topic = node.value(f"{name}.image_topic")
        if not topic:
            topic = "image" if len(node.value("cameras")) == 1 else f"{name}/image"
        if self._compressed and not topic.endswith("/compressed"):
            topic += "/compressed"
        self._topic = topic
        try:
            self.statistics = CameraStatistics(node.resolve_topic_name(topic))
        except Exception as error:  # rclpy has several for unfit names
            raise ValueError(f"{name}.image_topic {topic!r} is no topic name: {error}") from error
        self._subscription: Any = None
        self._reliability: ReliabilityPolicy | None = None
        self._watch: Any = None
        self._last_fault = self._last_failure = ""
        self._gaze = node.create_lifecycle_publisher(GazeMask, f"~/{name}/gaze", 10)
        self._mask = node.create_lifecycle_publisher(Image, f"~/{name}/gaze_mask", 10)
        self._overlay = node.create_lifecycle_publisher(Image, f"~/{name}/overlay", 10)
        self._reconstruction = node.create_lifecycle_publisher(Image, f"~/{name}/reconstruction", 10)

    def subscribe(self, buffer: FrameBuffer[Arrival]) -> None:
        """Store images in the buffer from now on."""
        self._buffer = buffer
        setting = self._node.value("reliability")
        if setting == "auto":
            self._watch = self._node.create_timer(_WATCH_PERIOD, self._match_publishers, clock=STEADY)
        # auto begins reliable: that matches reliable publishers at once and without
        # loss; best effort ones are noticed within a moment.
        best_effort = setting == "best_effort"
        self._open(ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE)

    def unsubscribe(self) -> None:
        """Take no more images."""
        if self._watch is not None:
            self._node.destroy_timer(self._watch)
            self._watch = None
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def destroy(self) -> None:
        """Withdraw the topics."""
        self.unsubscribe()
        for publisher in (self._gaze, self._mask, self._overlay, self._reconstruction):
            self._node.destroy_lifecycle_publisher(publisher)

    def status(self) -> DiagnosticStatus:
        """Return this camera's part of /diagnostics."""
        name = f"{self._node.get_name()}: {self.name}"
        if self._subscription is None:
            return DiagnosticStatus(name=name, message="inactive", hardware_id=self.statistics.topic)
        links = (self._subscription.get_publisher_count(), self._gaze.get_subscription_count())
        return self.statistics.status(name, *links)

    def to_rgb(self, message: Any) -> Any:
        """Decode an image message; raises ImageError."""
        return compressed_to_rgb(message) if self._compressed else image_to_rgb(message)

    def refuse(self, fault: str) -> None:
        """Report a frame that came to nothing; the same fault again only in diagnostics."""
        if fault != self._last_fault and self._node.context.ok():
            self.warn(f"frame ignored: {fault}")
        self._last_fault = fault
        self.statistics.faulty(fault)

    def warn(self, text: str) -> None:
        """Log a warning about this camera."""
        self._node.get_logger().warning(f"{self.name} ({self._topic}): {text}")

    def publish(self, arrival: Arrival, gazed: GazedFrame) -> None:
        """Publish a frame's gaze, and pictures of it while somebody looks."""
        header, record = arrival.message.header, gazed.record
        began = time.perf_counter()
        pictures = []
        if self._mask.get_subscription_count():
            mask = record.mask if self._node.value("mask_view") == "frame" else record.context_mask
            levels = mask_levels(mask, self._node.value("mask_scale"))
            pictures.append((self._mask, fill_image(Image(), header, levels, "mono8")))
        if self._overlay.get_subscription_count() and not self._shows_both():
            picture = self._overlaid(gazed)
            pictures.append((self._overlay, fill_image(Image(), header, picture, "rgb8")))
        now = time.perf_counter()
        record.latency.render = (now - began) * 1e3
        record.latency.total = (now - arrival.arrived) * 1e3
        record.latency.age = self._age(header)
        record.latency.reconstruct = self.statistics.newest_reconstruction()
        self._gaze.publish(gaze_mask(record, header))
        for publisher, message in pictures:
            publisher.publish(message)
        self.statistics.gazed(record)
        self._last_fault = ""

    def shows_reconstruction(self) -> bool:
        """Whether somebody looks at reconstructions."""
        beside = self._shows_both() and self._overlay.get_subscription_count() > 0
        return beside or self._reconstruction.get_subscription_count() > 0

    def wants_reconstruction(self, record: GazeRecord) -> bool:
        """Whether it is this frame's turn."""
        return bool(record.frame_index % self._node.value("reconstruct_every") == 0)

    def publish_reconstruction(self, made: Reconstruction) -> None:
        """Publish a frame's reconstruction, and beside its overlay where that is asked for."""
        frame = made.gazed.frame
        seconds, nanoseconds = divmod(frame.stamp, 1_000_000_000)
        header = Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=frame.frame_id)
        if self._reconstruction.get_subscription_count():
            self._reconstruction.publish(fill_image(Image(), header, made.image(), "rgb8"))
        if self._shows_both() and self._overlay.get_subscription_count():
            gazed = self._overlaid(made.gazed)
            both = side_by_side(gazed, made.image((gazed.shape[1], gazed.shape[0])))
            self._overlay.publish(fill_image(Image(), header, both, "rgb8"))
        self.statistics.reconstructed(made.milliseconds)

    def reconstruction_failed(self, fault: Exception) -> None:
        """Report it; the same fault again only in diagnostics."""
        reason = f"{type(fault).__name__}: {' '.join(str(fault).split())}"
        text = f"no reconstruction until the next context: {reason}"
        if text != self._last_failure and self._node.context.ok():
            self.warn(text)
        self._last_failure = text
        self.statistics.faulty(text)

    def _overlaid(self, gazed: GazedFrame) -> NDArray[Any]:
        return overlay(gazed.frame.image, gazed.record, self._node.value("overlay_view"), gazed.checkpoint)

    def _shows_both(self) -> bool:
        return bool(self._node.value("reconstruction") and self._node.value("overlay_reconstruction"))

    def _age(self, header: Any) -> float:
        # In integers: rclpy's Time refuses the negative stamps that some drivers send.
        stamp = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        age = (self._node.get_clock().now().nanoseconds - stamp) / 1e6
        return age if abs(age) < _CLOCKS_DIFFER else math.nan

    def _open(self, reliability: ReliabilityPolicy) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._reliability = reliability
        self._subscription = self._node.create_subscription(
            CompressedImage if self._compressed else Image,
            self._topic,
            self._store,
            QoSProfile(depth=_DEPTH, reliability=reliability),
            # Under auto a mismatch is mended, not worth rclpy's warning.
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=self._watch is None),
        )
        self._node.get_logger().info(
            f"{self.name}: {self._subscription.topic_name}, {reliability.name.lower()}"
        )

    def _store(self, message: Any) -> None:
        self.statistics.received()
        self._buffer.put(self.name, Arrival(message, time.perf_counter()))

    def _match_publishers(self) -> None:
        """Be as reliable as every publisher allows."""
        offers = self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        if not offers:
            return
        reliable = all(offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        wanted = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        if wanted != self._reliability:
            self._open(wanted)
