"""Small files that claim large sizes: images, and parts of them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import PIL.Image

PLAIN = PIL.Image.new("RGB", (64, 48), (10, 20, 30))
_PNG_HEADER = 33  # bytes of its signature and IHDR


def encoded(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    data = encoded(PLAIN, "PNG")
    return data[:_PNG_HEADER] + made + data[_PNG_HEADER:]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    made = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data for kind, data in segments)
    data = encoded(PLAIN, "JPEG")
    return data[:2] + made + data[2:]


def tiff(
    width: int, height: int, tags: dict[int, tuple[int, int | bytes]], data: bytes, compression: int = 1
) -> bytes:
    """A grey TIFF; tags: count and value, or the bytes that its value is; those of None lie in data."""
    tags = {256: (1, width), 257: (1, height), 258: (1, 8), 259: (1, compression), 262: (1, 1), **tags}
    begin = 8 + 2 + 12 * len(tags) + 4
    entries, behind = b"", data
    for tag, (count, value) in sorted(tags.items()):
        if isinstance(value, bytes):
            value, behind = begin + len(behind), behind + value
        entries += struct.pack("<HHII", tag, 4, count, begin if value < 0 else value)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + behind


def shared_tags(count: int, each: int) -> bytes:
    """Return a TIFF for EXIF whose tags all claim the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1000 + n, 1, each, 8) for n in range(count))
    return (b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4)).ljust(each + 8, b"\0")


def bmp(width: int, height: int, compression: int, data: bytes) -> bytes:
    header = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<III", 0, 0, 14 + 40 + 1024) + header + bytes(range(256)) * 4 + data


def gif(width: int, height: int, before: bytes = b"") -> bytes:
    screen = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes([0, 0, 0, 1, 1, 1])
    return screen + before + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x4c\x01\0;"


def scanned(size: int, times: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    data = encoded(PIL.Image.new("RGB", (size, size)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + times * last + data[-2:]


_ZIPPED = zlib.compress(bytes(1000))
_EXIF = shared_tags(40_000, 900_000)
_SEGMENTS = [(0xE1, b"Exif\0\0" + _EXIF[n : n + 65_000]) for n in range(0, len(_EXIF), 65_000)]

REFUSED = {
    "png": encoded(PIL.Image.new("1", (13_370, 13_370)), "PNG"),
    "png's profile": png_with((b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28)))),
    "png's texts": png_with(*[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))] * 80),
    "jpeg's tags": jpeg_with(*_SEGMENTS),
    "jpeg's scans": scanned(6000, 60),
    "tiff's tags": shared_tags(30_000, 1_000_000),
    "tiff's tile": tiff(16, 16, {322: (1, 40_000), 323: (1, 40_000), 324: (1, -1), 325: (1, 9)}, _ZIPPED, 8),
    "tiff's strips": tiff(
        4000,
        4000,
        {273: (9000, struct.pack("<9000I", *[8] * 9000)), 278: (1, 3999), 279: (1, 9)},
        bytes(100),
    ),
    "tiff's pixels": tiff(
        8000, 8000, {273: (1, -1), 278: (1, 2**32 - 1), 279: (1, len(_ZIPPED))}, _ZIPPED, 8
    ),
    "webp's canvas": b"RIFF\x2c\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\0\xff\xff\0ANIM\x06" + bytes(9),
    "bmp's row": bmp(60_000_000, 1, 1, b"\0\x02\xff\xff" * 4),
    "bmp's runs": bmp(8000, 8000, 1, b"\0\x02\x01\0\0\0" * 8000),
    "bmp's height": bmp(64, -(2**31), 0, bytes(100)),
    "bmp's negative width": bmp(-64, 48, 0, bytes(100)),
    "gif's screen": gif(65_535, 65_535),
    "gif's comments": gif(2, 2, b"!\xfe" + (b"\xff" + bytes(255)) * 16_000 + b"\0"),
    "ppm": b"P6 8000 9000 255\n" + bytes(1000),
}
# Odd, but what they ask for is bounded.
DECODED = {
    "webp's tags": encoded(PLAIN, "WEBP", exif=b"Exif\0\0" + _EXIF),
    "png's tags": png_with((b"eXIf", _EXIF)),
    "bmp upside down": bmp(64, -48, 0, bytes(64 * 48)),
    "the most pixels of a png": encoded(PIL.Image.new("RGB", (8000, 8000)), "PNG"),
    "the most pixels of a webp": encoded(PIL.Image.new("RGB", (8000, 8000)), "WEBP", lossless=True, method=0),
}
