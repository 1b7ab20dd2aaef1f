"""From image messages and compressed files to arrays. Messages may be rclpy's or a bag reader's."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

# Channels and bytes a channel of each encoding, and how OpenCV turns it into RGB. Alpha
# is left out, and so is the lower byte of 16 bits: as cv2.imread does with files.
_ENCODINGS = {
    "bgra8": (4, 1, cv2.COLOR_BGRA2RGB),
    "bgr8": (3, 1, cv2.COLOR_BGR2RGB),
    "rgb8": (3, 1, None),
    "rgba8": (4, 1, cv2.COLOR_RGBA2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "bgra16": (4, 2, cv2.COLOR_BGRA2RGB),
    "bgr16": (3, 2, cv2.COLOR_BGR2RGB),
    "rgb16": (3, 2, None),
    "rgba16": (4, 2, cv2.COLOR_RGBA2RGB),
    "mono16": (1, 2, cv2.COLOR_GRAY2RGB),
    # OpenCV's own names; colours are in its order.
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2RGB),
    "8UC4": (4, 1, cv2.COLOR_BGRA2RGB),
    "16UC1": (1, 2, cv2.COLOR_GRAY2RGB),
    "16UC3": (3, 2, cv2.COLOR_BGR2RGB),
    "16UC4": (4, 2, cv2.COLOR_BGRA2RGB),
}
# Those of Pillow's formats that files and messages may have; never its delegates, such as EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_ORIENTATION = 0x0112  # EXIF's tag
_UPRIGHT = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
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
    channels, depth, conversion = _ENCODINGS[message.encoding]
    if step < width * channels * depth:
        raise ImageError(f"step {step} is less than a row of {width} {message.encoding} pixels")
    if len(message.data) != step * height:
        raise ImageError(f"data holds {len(message.data)} bytes, step x height is {step * height}")
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels * depth]
    pixels = rows.reshape(height, width, channels, depth)[..., 0 if message.is_bigendian else -1]
    if depth > 1:
        pixels = np.ascontiguousarray(pixels)
    return pixels if conversion is None else cv2.cvtColor(pixels, conversion)


def compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB."""
    if "compressedDepth" in message.format:
        raise ImageError(
            f"format {message.format!r} holds depth, not a picture: use the topic of the raw images"
        )
    try:
        return decode_image(bytes(message.data))
    except ImageError as error:
        raise ImageError(f"{error} (format {message.format!r})") from error


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """A whole JPEG, PNG, … -> (H, W, 3) uint8 RGB, upright as its EXIF orientation says.

    Alpha is left out; of 16 bits the upper eight count. Raises ImageError, for a
    truncated one too.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            return _to_rgb(image if turn is None else image.transpose(turn))
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        reason = str(error).split(" <_io")[0]
        raise ImageError(f"the compressed image cannot be decoded: {reason}") from error


def _orientation(image: PIL.Image.Image) -> int:
    """Return EXIF's orientation of a loaded image, 1 where it says none."""
    exif = PIL.Image.Exif()
    with suppress(Exception):  # a damaged one says nothing, to viewers neither
        if image.format == "TIFF":  # Pillow has turned it already where it knows to
            exif = image.getexif()
        else:
            exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))
    return 1


def _to_rgb(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Return a Pillow image of any mode as (H, W, 3) RGB; raises ImageError where its range is unknown."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if image.mode in ("I", "F"):
        raise ImageError("pixels of 32 bits, whose range the file does not tell: scale them to 8 or 16 bits")
    return np.asarray(image.convert("RGB"))


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
