"""Decoding of image messages and compressed files; messages may be rclpy's or a bag reader's."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from autogaze_ros.errors import ImageError
from autogaze_ros.io.sniffing import check_claims, check_exif, check_metadata, check_size
from autogaze_ros.parameters import MAX_PIXELS

# Channels, bytes per channel, and OpenCV's conversion to RGB of each encoding. Alpha is
# dropped, as is the lower byte of 16 bits: as cv2.imread does with files.
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
    # OpenCV's own names, in its order of colors.
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, 1, cv2.COLOR_BGR2RGB),
    "8UC4": (4, 1, cv2.COLOR_BGRA2RGB),
    "16UC1": (1, 2, cv2.COLOR_GRAY2RGB),
    "16UC3": (3, 2, cv2.COLOR_BGR2RGB),
    "16UC4": (4, 2, cv2.COLOR_BGRA2RGB),
}
# Formats of Pillow that files and messages may have; never those that run other programs, such as EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_BITS, _SIGN = 258, 339  # TIFF's tags: bits of a sample; 1 where samples are unsigned
_ORIENTATION = 0x0112  # EXIF tag
# By its value: are the axes swapped, and then the directions of y and x.
_UPRIGHT = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
_BAND = 1 << 22  # pixels converted to RGB at once: a whole copy in another mode would double the memory
# Pillow warns of damaged metadata, which is not used, and of sizes, which are limited by `check_size`.
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Convert all errors of decoders to ImageError, in one line."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split(" <_io")[0].split()) or type(error).__name__
        raise ImageError(f"{what}: {reason}") from error


def image_to_rgb(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Convert a sensor_msgs/Image to (H, W, 3) uint8 RGB, which may share the message's memory.

    Raises ImageError, also for more than max_pixels.
    """
    width, height, step = message.width, message.height, message.step
    if width == 0 or height == 0:
        raise ImageError(f"the image is empty ({width}x{height})")
    with _in_one_line("the image cannot be used"):
        check_size(width, height, max_pixels)
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


def compressed_to_rgb(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Convert a sensor_msgs/CompressedImage to (H, W, 3) uint8 RGB; raises ImageError as `decode_image`."""
    if "compressedDepth" in message.format:
        raise ImageError(f"format {message.format!r} holds depth, not color: use the topic of the raw images")
    try:
        return decode_image(bytes(message.data), max_pixels)
    except ImageError as error:
        raise ImageError(f"{error} (format {message.format!r})") from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, … file to (H, W, 3) uint8 RGB, with its EXIF orientation applied.

    Drops alpha and the lower eight of 16 bits. Raises ImageError, also for truncated
    data, and, before decoding its pixels, for an image of more than max_pixels.
    """
    with _in_one_line("the compressed image cannot be decoded"):
        check_metadata(data)
        with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_claims(image, data, max_pixels)
            if _is_deep_tiff(image):  # Pillow garbles some; OpenCV applies the orientation itself
                return _decoded_by_opencv(data)
            if image.format == "WEBP":  # Pillow would take four times the memory
                pixels, turn = _decoded_by_opencv(data), _orientation(image)
            else:
                image.load()
                pixels, turn = _to_rgb(image), _orientation(image)
        return _turned(pixels, *_UPRIGHT[turn]) if turn in _UPRIGHT else pixels


def _is_deep_tiff(image: PIL.Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return image.format == "TIFF" and {*tags.get(_BITS, (8,))} == {16} and {*tags.get(_SIGN, (1,))} == {1}


def _decoded_by_opencv(data: bytes) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ImageError("the compressed image cannot be decoded: it is damaged or truncated")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _turned(pixels: NDArray[np.uint8], swapped: bool, y: int, x: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray((pixels.swapaxes(0, 1) if swapped else pixels)[::y, ::x])


def _orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 if it has none; all but WebP must be loaded."""
    exif = PIL.Image.Exif()
    with suppress(Exception):  # damaged EXIF is ignored, as viewers do
        if image.format == "TIFF":  # Pillow has already applied those that it supports
            exif = image.getexif()
        else:
            check_exif(image.info.get("exif", b""))
            exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))
    return 1


def _to_rgb(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Convert a Pillow image of any mode to (H, W, 3) RGB; raises ImageError if its range is unknown."""
    rows = max(1, _BAND // image.width)
    if rows >= image.height:
        return _band_to_rgb(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band.format = image.format
        pixels[top : top + rows] = _band_to_rgb(band)
    return pixels


def _band_to_rgb(image: PIL.Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if image.mode in ("I", "F"):
        raise ImageError("signed or 32-bit pixels of unknown range: scale them to 8 or 16 bits")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _by_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """Convert rare encodings (Bayer, YUV, …), if ROS's cv_bridge is installed."""
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # it fails in many ways if built for another NumPy
        raise ImageError(
            f"encoding {message.encoding!r} is not supported; supported are {', '.join(_ENCODINGS)};"
            f" others need cv_bridge, which failed to import ({error})"
        ) from error
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:
        raise ImageError(f"cv_bridge cannot convert {message.encoding!r} to rgb8: {error}") from error
