"""Publishers that exist while the node is configured, and the images of one camera among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from autogaze_ros.parameters import Settings
from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.rendering import mask_levels, overlay, side_by_side
from autogaze_ros.reporting import Throttle, shown
from autogaze_ros.ros.clocks import call_later
from autogaze_ros.ros.messages import fill_compressed, fill_image, scaled_info
from autogaze_ros.ros.qos import (
    DISCOVERY,
    checked_overrides,
    described,
    list_endpoints,
    policy_name,
    publisher_overrides,
)
from autogaze_ros.ros.settings import CameraSettings
from autogaze_ros.ros.types import TypeWatch, type_name

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstruction

# The calibration is heard from reliable and best-effort publishers.
_CALIBRATION_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
Prepared = list[tuple[Any, Any]]  # publishers, each with its message


class PublisherSet:
    """Lifecycle publishers that are destroyed together; each warns of subscribers with incompatible QoS."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._publishers: list[Any] = []

    def create(self, kind: type, topic: str, depth: int = 10) -> Any:
        """Create a publisher of a message class."""

        def report(event: Any) -> None:
            name, offered = publisher.topic_name, described(publisher.qos_profile)

            def tell() -> None:
                asking = list_endpoints(self._node.get_subscriptions_info_by_topic(name))
                text = f"incompatible {policy_name(event)}: this node offers {offered}; subscribers: {asking}"
                self._node.get_logger().warning(shown(f"{name}: {text}"))

            call_later(self._node, DISCOVERY, tell)

        with checked_overrides():
            publisher: Any = self._node.create_lifecycle_publisher(
                kind,
                topic,
                depth,
                event_callbacks=PublisherEventCallbacks(incompatible_qos=report),
                qos_overriding_options=publisher_overrides(),
            )
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Destroy all publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []


class ImagePublishers:
    """Publishers of a camera's masks, overlays and reconstructions; images are made only for subscribers.

    types: of the publishers of the camera's calibration.
    """

    def __init__(self, node: LifecycleNode, camera: CameraSettings, publishers: PublisherSet) -> None:
        self._node, self._camera = node, camera
        self.types = TypeWatch(
            node,
            camera.info_topic,
            CameraInfo,
            Throttle(lambda text: node.get_logger().warning(f"{camera.name} ({camera.info_topic}): {text}")),
            lambda found: f"set {camera.name}.camera_info_topic to a topic of {type_name(CameraInfo)}",
        )
        base = f"~/{camera.name}"
        self._mask = publishers.create(Image, f"{base}/gaze_mask")
        self._overlay = _ImageTopic(publishers, f"{base}/overlay", f"{base}/camera_info")
        self._reconstruction = _ImageTopic(
            publishers, f"{base}/reconstruction", f"{base}/reconstruction/camera_info"
        )
        self._subscription: Any = None
        self._info: CameraInfo | None = None

    def open(self) -> None:
        """Subscribe to the camera's calibration."""
        self._subscription = self._node.create_subscription(
            CameraInfo, self._camera.info_topic, self._remember, _CALIBRATION_QOS
        )

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def of_gaze(self, header: Any, gazed: GazedFrame, settings: Settings) -> Prepared:
        """Return the messages to publish with a gaze."""
        prepared: Prepared = []
        record = gazed.record
        if self._mask.get_subscription_count():
            mask = record.mask if settings.mask_view == "frame" else record.context_mask
            levels = mask_levels(mask, settings.mask_scale)
            prepared.append((self._mask, fill_image(Image(), header, levels, "mono8")))
        if not _shows_both(settings):
            if self._overlay.watched:
                prepared += self._overlay.images(header, _overlaid(gazed, settings))
            height, width = gazed.frame.image.shape[:2]
            prepared += self._overlay.calibration(header, self._info, (width, height))
        return prepared

    def reconstruction_watched(self, settings: Settings) -> bool:
        """Return True if somebody subscribes to reconstructions."""
        return self._reconstruction.watched or (_shows_both(settings) and self._overlay.watched)

    def of_reconstruction(self, header: Any, made: Reconstruction, settings: Settings) -> Prepared:
        """Return the messages to publish with a reconstruction."""
        prepared: Prepared = []
        if self._reconstruction.watched:
            image = made.image()
            prepared += self._reconstruction.images(header, image)
            size = (image.shape[1], image.shape[0])
            prepared += self._reconstruction.calibration(header, self._info, size)
        if _shows_both(settings) and self._overlay.watched:
            gazed = _overlaid(made.gazed, settings)
            both = side_by_side(gazed, made.image((gazed.shape[1], gazed.shape[0])))
            prepared += self._overlay.images(header, both)
        return prepared

    def _remember(self, info: CameraInfo) -> None:
        self._info = info


class _ImageTopic:
    """An image's topics: raw, as JPEG, and its calibration."""

    def __init__(self, publishers: PublisherSet, topic: str, info_topic: str) -> None:
        self._raw = publishers.create(Image, topic)
        self._jpeg = publishers.create(CompressedImage, f"{topic}/compressed")
        self._info = publishers.create(CameraInfo, info_topic)

    @property
    def watched(self) -> bool:
        """True while somebody subscribes to the image."""
        return bool(self._raw.get_subscription_count() or self._jpeg.get_subscription_count())

    def images(self, header: Any, image: NDArray[np.uint8]) -> Prepared:
        """Return an image (H, W, 3) RGB in the forms that somebody subscribes to."""
        prepared: Prepared = []
        if self._raw.get_subscription_count():
            prepared.append((self._raw, fill_image(Image(), header, image, "rgb8")))
        if self._jpeg.get_subscription_count():
            ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            assert ok
            prepared.append((self._jpeg, fill_compressed(CompressedImage(), header, data)))
        return prepared

    def calibration(self, header: Any, info: CameraInfo | None, size: tuple[int, int]) -> Prepared:
        """Return the camera's calibration, if known, scaled to an image of size (width, height)."""
        if info is None or not self._info.get_subscription_count():
            return []
        return [(self._info, scaled_info(info, header, *size))]


def _shows_both(settings: Settings) -> bool:
    """Return True if the overlay contains the reconstruction and waits for it."""
    return bool(settings.reconstruction_checkpoint and settings.overlay_reconstruction)


def _overlaid(gazed: GazedFrame, settings: Settings) -> NDArray[np.uint8]:
    return overlay(gazed.frame.image, gazed.record, settings.overlay_view, gazed.checkpoint)
