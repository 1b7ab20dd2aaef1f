"""Pictures of one camera: masks, overlays and reconstructions, and the calibration beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from autogaze_ros.pipeline import GazedFrame
from autogaze_ros.rendering import mask_levels, overlay, side_by_side
from autogaze_ros.reporting import Throttle
from autogaze_ros.ros.messages import fill_compressed, fill_image, scaled_info
from autogaze_ros.ros.models import Settings
from autogaze_ros.ros.settings import resolved
from autogaze_ros.ros.types import TypeWatch, type_name

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstruction
    from autogaze_ros.ros.gaze_node import GazeNode

_ANYBODY = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)  # calibration, however it is offered
Prepared = list[tuple[Any, Any]]  # publishers, each with its message


class Pictures:
    """Makes pictures while somebody subscribes to them.

    types: of the publishers of calibrations.
    """

    def __init__(self, node: GazeNode, name: str, image_topic: str) -> None:
        self._node = node
        parameter = f"{name}.camera_info_topic"
        self._info_topic = resolved(node, parameter, node.value(parameter) or _beside(image_topic))
        self.types = TypeWatch(
            node,
            self._info_topic,
            CameraInfo,
            Throttle(lambda text: node.get_logger().warning(f"{name} ({self._info_topic}): {text}")),
            lambda found: f"set {parameter} to a topic of {type_name(CameraInfo)}",
        )
        self._mask = node.offer(Image, f"~/{name}/gaze_mask")
        self._overlay = _Outlet(node, f"~/{name}/overlay", f"~/{name}/camera_info")
        self._reconstruction = _Outlet(
            node, f"~/{name}/reconstruction", f"~/{name}/reconstruction/camera_info"
        )
        self._subscription: Any = None
        self._info: CameraInfo | None = None

    def open(self) -> None:
        """Listen to the camera's calibration."""
        self._subscription = self._node.create_subscription(
            CameraInfo, self._info_topic, self._remember, _ANYBODY
        )

    def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def of_gaze(self, header: Any, gazed: GazedFrame, settings: Settings) -> Prepared:
        """Return what is to be published with a gaze."""
        prepared: Prepared = []
        record = gazed.record
        if self._mask.get_subscription_count():
            mask = record.mask if settings["mask_view"] == "frame" else record.context_mask
            levels = mask_levels(mask, settings["mask_scale"])
            prepared.append((self._mask, fill_image(Image(), header, levels, "mono8")))
        if not beside(settings):
            if self._overlay.watched:
                picture = _overlaid(gazed, settings)
                prepared += self._overlay.pictures(header, picture)
            height, width = gazed.frame.image.shape[:2]
            prepared += self._overlay.calibration(header, self._info, (width, height))
        return prepared

    def reconstruction_watched(self, settings: Settings) -> bool:
        """Return whether somebody looks at reconstructions."""
        return self._reconstruction.watched or (beside(settings) and self._overlay.watched)

    def of_reconstruction(self, header: Any, made: Reconstruction, settings: Settings) -> Prepared:
        """Return what is to be published with a reconstruction."""
        prepared: Prepared = []
        if self._reconstruction.watched:
            image = made.image()
            prepared += self._reconstruction.pictures(header, image)
            size = (image.shape[1], image.shape[0])
            prepared += self._reconstruction.calibration(header, self._info, size)
        if beside(settings) and self._overlay.watched:
            gazed = _overlaid(made.gazed, settings)
            both = side_by_side(gazed, made.image((gazed.shape[1], gazed.shape[0])))
            prepared += self._overlay.pictures(header, both)
        return prepared

    def _remember(self, info: CameraInfo) -> None:
        self._info = info


class _Outlet:
    """A picture's topics: raw, as JPEG, and its calibration."""

    def __init__(self, node: GazeNode, topic: str, info_topic: str) -> None:
        self._raw = node.offer(Image, topic)
        self._jpeg = node.offer(CompressedImage, f"{topic}/compressed")
        self._info = node.offer(CameraInfo, info_topic)

    @property
    def watched(self) -> bool:
        """True while somebody looks."""
        return bool(self._raw.get_subscription_count() or self._jpeg.get_subscription_count())

    def pictures(self, header: Any, picture: NDArray[np.uint8]) -> Prepared:
        """Return the picture in the forms that somebody looks at."""
        prepared: Prepared = []
        if self._raw.get_subscription_count():
            prepared.append((self._raw, fill_image(Image(), header, picture, "rgb8")))
        if self._jpeg.get_subscription_count():
            ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            assert ok
            prepared.append((self._jpeg, fill_compressed(CompressedImage(), header, data)))
        return prepared

    def calibration(self, header: Any, info: CameraInfo | None, size: tuple[int, int]) -> Prepared:
        """Return the source's calibration for a picture of size (width, height), where it is known."""
        if info is None or not self._info.get_subscription_count():
            return []
        return [(self._info, scaled_info(info, header, *size))]


def beside(settings: Settings) -> bool:
    """Return whether the overlay shows the reconstruction too, and waits for it."""
    return bool(settings["reconstruction"] and settings["overlay_reconstruction"])


def _overlaid(gazed: GazedFrame, settings: Settings) -> NDArray[np.uint8]:
    return overlay(gazed.frame.image, gazed.record, settings["overlay_view"], gazed.checkpoint)


def _beside(image_topic: str) -> str:
    """Return where ROS has the calibration of an image topic."""
    folder = image_topic.removesuffix("/compressed").rpartition("/")[0]
    return f"{folder}/camera_info"
