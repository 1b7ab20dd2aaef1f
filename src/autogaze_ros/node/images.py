"""Between image messages and arrays."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.frames import decode_image

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
    if message.encoding not in _ENCODINGS:
        raise ImageError(f"encoding {message.encoding!r} is not known; known are {', '.join(_ENCODINGS)}")
    channels, conversion = _ENCODINGS[message.encoding]
    width, height, step = message.width, message.height, message.step
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width}x{height})")
    if step < width * channels:
        raise ImageError(f"step {step} is less than a row of {width} {message.encoding} pixels")
    if len(message.data) != step * height:
        raise ImageError(f"data holds {len(message.data)} bytes, step x height is {step * height}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB."""
    image = decode_image(np.frombuffer(message.data, np.uint8))
    if image is None:
        raise ImageError(f"the compressed image ({message.format or 'no format named'}) cannot be decoded")
    return image


def fill_image(message: Any, header: Any, image: NDArray[np.uint8], encoding: str) -> Any:
    """Put a uint8 array (H, W) or (H, W, C) into a sensor_msgs/Image and return it."""
    message.header = header
    message.height, message.width = image.shape[:2]
    message.encoding = encoding
    message.step = image.nbytes // image.shape[0]
    data = array("B")  # assigning other types is checked byte by byte and slow
    data.frombytes(np.ascontiguousarray(image).data.cast("B"))
    message.data = data
    return message
