"""From image messages and compressed files to arrays. Messages may be rclpy's or a bag reader's."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

# Channels of each encoding, and how OpenCV turns it into RGB. All have one byte
# a channel, so is_bigendian makes no difference to any of them.
_ENCODINGS = {
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgb8": (3, None),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}


class ImageError(ValueError):
    """An image message that cannot be used; the message says why in one line."""


def image_to_rgb(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/Image -> (H, W, 3) uint8 RGB, which may share the message's memory."""
    width, height, step = message.width, message.height, message.step
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width}x{height})")
    if message.encoding not in _ENCODINGS:
        return _by_cv_bridge(message)
    channels, conversion = _ENCODINGS[message.encoding]
    if step < width * channels:
        raise ImageError(f"step {step} is less than a row of {width} {message.encoding} pixels")
    if len(message.data) != step * height:
        raise ImageError(f"data holds {len(message.data)} bytes, step x height is {step * height}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB."""
    try:
        return decode_image(bytes(message.data))
    except ImageError as error:
        raise ImageError(f"{error} (format {message.format!r})") from error


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """A whole JPEG, PNG, … -> (H, W, 3) uint8 RGB; a truncated one raises ImageError."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        reason = str(error).split(" <_io")[0]
        raise ImageError(f"the compressed image cannot be decoded: {reason}") from error


def _by_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """Rare encodings (Bayer, YUV, 16 bits, …), where ROS's cv_bridge is installed."""
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # built for another NumPy it fails in many ways
        raise ImageError(
            f"encoding {message.encoding!r} is not known; known are {', '.join(_ENCODINGS)},"
            f" others need cv_bridge, which cannot be imported ({error})"
        ) from error
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:
        raise ImageError(f"cv_bridge cannot turn {message.encoding!r} into rgb8: {error}") from error
