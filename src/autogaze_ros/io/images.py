"""From image messages and compressed files to arrays. Messages may be rclpy's or a bag reader's."""

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
_BITS, _SIGN = 258, 339  # TIFF's tags: bits of a sample; 1 where samples are unsigned
_ORIENTATION = 0x0112  # EXIF's tag; of its values: are axes swapped, then which run backwards (y, x)
_UPRIGHT = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}
_BAND = 1 << 22  # pixels that become RGB at once: a whole copy in another mode would double the memory
# Pillow tells of damaged metadata, which is not used, and of sizes, which have a limit of their own.
warnings.filterwarnings("ignore", module=r"PIL\.")


@contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """Raise whatever foreign bytes make a decoder raise as ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split(" <_io")[0].split()) or type(error).__name__
        raise ImageError(f"{what}: {reason}") from error


def image_to_rgb(message: Any, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """sensor_msgs/Image -> (H, W, 3) uint8 RGB, which may share the message's memory.

    Raises ImageError, for one of more than max_pixels too.
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
    """sensor_msgs/CompressedImage -> (H, W, 3) uint8 RGB; raises ImageError as `decode_image`."""
    if "compressedDepth" in message.format:
        raise ImageError(
            f"format {message.format!r} holds depth, not a picture: use the topic of the raw images"
        )
    try:
        return decode_image(bytes(message.data), max_pixels)
    except ImageError as error:
        raise ImageError(f"{error} (format {message.format!r})") from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A whole JPEG, PNG, … -> (H, W, 3) uint8 RGB, upright as its EXIF orientation says.

    Alpha is left out; of 16 bits the upper eight count. Raises ImageError, for a
    truncated one too, and before its pixels are decoded for one of more than
    max_pixels.
    """
    with _in_one_line("the compressed image cannot be decoded"):
        check_metadata(data)
        with PIL.Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_claims(image, data, max_pixels)
            if _is_deep_tiff(image):  # Pillow garbles some; OpenCV turns them itself
                return _decoded_by_opencv(data)
            if image.format == "WEBP":  # Pillow would take four times the memory for the same pixels
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
        raise ImageError("the compressed image cannot be decoded: it is damaged or cut off")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _turned(pixels: NDArray[np.uint8], swapped: bool, y: int, x: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray((pixels.swapaxes(0, 1) if swapped else pixels)[::y, ::x])


def _orientation(image: PIL.Image.Image) -> int:
    """Return EXIF's orientation of an image, which is loaded unless a WebP; 1 where it says none."""
    exif = PIL.Image.Exif()
    with suppress(Exception):  # a damaged one says nothing, to viewers neither
        if image.format == "TIFF":  # Pillow has turned it already where it knows to
            exif = image.getexif()
        else:
            check_exif(image.info.get("exif", b""))
            exif.load(image.info.get("exif", b""))
        return int(exif.get(_ORIENTATION, 1))
    return 1


def _to_rgb(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Return a Pillow image of any mode as (H, W, 3) RGB; raises ImageError where its range is unknown."""
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
        raise ImageError("signed or 32-bit pixels, whose range no file tells: scale them to 8 or 16 bits")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


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
