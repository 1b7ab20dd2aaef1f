"""Conversion of records and arrays to messages."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.msg import GazeInfo, GazeMask, StageLatency
from autogaze_ros.pipeline import GazeRecord
from autogaze_ros.selectors import Selector
from autogaze_ros.tokens import AUTOGAZE_GRID

if TYPE_CHECKING:
    from autogaze_ros.reconstruction import Reconstructor

PIXEL_MAPPING = (
    "cell (row r, column c) of a g x g scale covers columns c*W/g..(c+1)*W/g"
    " and rows r*H/g..(r+1)*H/g of the W x H source image"
)


def gaze_mask(record: GazeRecord, header: Any) -> GazeMask:
    """Return the message of a record, with the source image's header."""
    message = GazeMask(header=header)
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == "latency":
            value = StageLatency(**asdict(value))
        elif field.name != "tokens_per_scale" and isinstance(value, np.ndarray):
            value = array("H" if value.dtype == np.uint16 else "B", value.tobytes())
        setattr(message, field.name, value)
    return message


def gaze_info(
    selector: Selector, mode: str, reconstructor: Reconstructor | None, header: Any, cameras: Sequence[str]
) -> GazeInfo:
    """Return the latched description of selector, weights and grid."""
    return GazeInfo(
        header=header,
        **asdict(selector.info),
        reconstruction=reconstructor.checkpoint if reconstructor else "",
        reconstruction_license=reconstructor.license if reconstructor else "",
        scales=array("H", AUTOGAZE_GRID.scales),
        cells_per_scale=array("H", [size * size for size in AUTOGAZE_GRID.sizes]),
        tokens_per_frame=AUTOGAZE_GRID.num_tokens,
        patch_size=AUTOGAZE_GRID.patch_size,
        pixel_mapping=PIXEL_MAPPING,
        chunk_size=selector.chunk_size,
        mode=mode,
        cameras=list(cameras),
    )


def stamp_of(header: Any) -> int:
    """Return a header's stamp in nanoseconds; rclpy's Time refuses the negative ones of some drivers."""
    return int(header.stamp.sec * 1_000_000_000 + header.stamp.nanosec)


def fill_image(message: Any, header: Any, image: NDArray[np.uint8], encoding: str) -> Any:
    """Fill a sensor_msgs/Image with a uint8 array (H, W) or (H, W, C) and return it."""
    message.header = header
    message.height, message.width = image.shape[:2]
    message.encoding = encoding
    message.step = image.nbytes // image.shape[0]
    data = array("B")  # other types are checked byte by byte, which is slow
    data.frombytes(np.ascontiguousarray(image).data.cast("B"))
    message.data = data
    return message


def fill_compressed(message: Any, header: Any, jpeg: NDArray[np.uint8]) -> Any:
    """Fill a sensor_msgs/CompressedImage with the bytes of a JPEG of RGB pixels and return it."""
    message.header = header
    message.format = "rgb8; jpeg compressed bgr8"  # as image_transport writes it
    message.data = array("B", jpeg.tobytes())
    return message


def scaled_info(info: Any, header: Any, width: int, height: int) -> Any:
    """Return a copy of a sensor_msgs/CameraInfo for its image resized to width x height.

    Focal lengths, centres and the region of interest scale with the image, as in
    image_proc's resize; distortion and rotation have no unit of pixels.
    """
    scaled = copy.deepcopy(info)
    x, y = (width / info.width, height / info.height) if info.width and info.height else (1.0, 1.0)
    scaled.header, scaled.width, scaled.height = header, width, height
    scaled.k = info.k * np.repeat([x, y, 1.0], 3)
    scaled.p = info.p * np.repeat([x, y, 1.0], 4)
    region = scaled.roi
    region.x_offset, region.width = (_scaled(edge, x) for edge in (region.x_offset, region.width))
    region.y_offset, region.height = (_scaled(edge, y) for edge in (region.y_offset, region.height))
    return scaled


def _scaled(edge: int, factor: float) -> int:
    """Scale an edge of a region; limited to a uint32."""
    return min(round(edge * factor), 2**32 - 1)
