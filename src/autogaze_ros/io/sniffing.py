"""Checks of files before they are decoded: their type, and the memory that they would take.

A few kilobytes can claim gigabytes: by size, by tiles beyond the image, by scans.
"""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import PIL.ImageFile
import PIL.JpegImagePlugin

_TIFF = (b"II", b"MM")
_UNITS = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes of TIFF types; others: 1
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF's tags
_SLACK = 1 << 16  # pixels by which tiles may exceed a small image
_MOST_TAGGED = 1 << 26  # bytes that damaged or shared tags may claim beyond the file
_MOST_BEFORE = 1 << 20  # bytes of comments before the first image of a GIF
_MOST_COVERED = 8  # times that tiles may cover an image: TIFF has one per channel
_MOST_RUNS = 1 << 24  # pixels of a run-length encoded BMP, or of 255 of its rows, which four bytes can skip
_MOST_SCANNED = 1 << 30  # pixels of all scans of a JPEG together; progressive ones have about ten scans
_EXIF = b"Exif\0\0"


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError for more pixels than are allowed."""
    if width * height > max_pixels:
        raise ValueError(f"{width}x{height} pixels exceed max_image_pixels ({max_pixels})")


def check_claims(image: PIL.ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Raise ValueError for an opened image that would take more memory than its size suggests.

    data: contents of its file.
    """
    check_size(*image.size, max_pixels)
    size = image.width * image.height
    if _covered(image) > _MOST_COVERED * size + _SLACK:
        raise ValueError("its tiles exceed the size of the image")
    if image.tile and image.tile[0][0] == "bmp_rle" and max(size, 255 * image.width) > _MOST_RUNS:
        raise ValueError("a run-length encoded BMP of this size is not supported")
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") * size > _MOST_SCANNED:
        raise ValueError("it has too many scans for its size")


def _covered(image: PIL.ImageFile.ImageFile) -> int:
    """Return the pixels of all tiles of an image together, or of a single one that is larger."""
    tags = getattr(image, "tag_v2", {})
    boxes = (box for _, box, *_ in image.tile if box)
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    return max(covered, tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_LENGTH, 0))


def check_metadata(data: bytes) -> None:
    """Raise ValueError for a file whose tags or comments, which Pillow reads on opening, are too large."""
    if data.startswith(_TIFF):
        _check_tags(data)
    elif data.startswith(b"GIF") and _first_picture(data) > _MOST_BEFORE:
        raise ValueError("too many bytes before its first picture")
    elif data.startswith(b"\xff\xd8"):
        check_exif(_exif_of_jpeg(data))


def check_exif(exif: bytes) -> None:
    """Raise ValueError for EXIF data whose tags claim many times its size."""
    while exif.startswith(_EXIF):
        exif = exif.removeprefix(_EXIF)
    if exif.startswith(_TIFF):
        _check_tags(exif)


def _check_tags(tiff: bytes) -> None:
    """Raise ValueError if the tags of the first directory of a TIFF claim many times its size."""
    order, big = "<" if tiff[:1] == b"I" else ">", b"+" in tiff[2:4]
    first, number, entry = ("8xQ", "Q", "HHQQ") if big else ("4xL", "H", "HHLL")
    claimed = 0
    try:
        (place,) = struct.unpack_from(order + first, tiff)
        (count,) = struct.unpack_from(order + number, tiff, place)
        place += struct.calcsize(order + number)
        for _ in range(count):
            _, kind, values, begin = struct.unpack_from(order + entry, tiff, place)
            claimed += min(values * _UNITS.get(kind, 1), max(0, len(tiff) - begin))
            place += struct.calcsize(order + entry)
    except struct.error:
        pass  # it ends early
    if claimed > len(tiff) + _MOST_TAGGED:
        raise ValueError("its tags claim many times the size of the file")


def _first_picture(gif: bytes) -> int:
    """Return the offset of a GIF's first image, as Pillow finds it."""
    place = 13 + ((6 << (gif[10] & 7)) if gif[10:11] >= b"\x80" else 0)
    while place < len(gif) and gif[place] != 0x2C:
        if gif[place] == 0x21:  # an extension: its type, and blocks up to an empty one
            place += 2
            while place < len(gif) and gif[place]:
                place += 1 + gif[place]
        place += 1
    return place


def _exif_of_jpeg(jpeg: bytes) -> bytes:
    """Return the joined EXIF segments of a JPEG, as Pillow finds them."""
    found, place = [], 2
    while (place := jpeg.find(b"\xff", place)) >= 0 and place + 4 <= len(jpeg) and jpeg[place + 1] != 0xDA:
        marker = jpeg[place + 1]
        _, _, handler = PIL.JpegImagePlugin.MARKER.get(0xFF00 | marker, ("", "", None))
        if handler is None:
            place += 1 if marker == 0xFF else 2
            continue
        end = place + 2 + max(2, int.from_bytes(jpeg[place + 2 : place + 4], "big"))
        if marker == 0xE1 and jpeg.startswith(_EXIF, place + 4):
            found.append(jpeg[place + 4 + len(_EXIF) : end])
        place = end
    return b"".join(found)


_ARCHIVE = "an archive: unpack it and name the folder"
_PICTURE = "an image of an unsupported format: convert it to PNG or JPEG"
_CLOUD = "a point cloud, which has no images"
_WEIGHTS = "weights of a network: pass them as --checkpoint"
_BY_SUFFIX = {
    **dict.fromkeys((".tar", ".tgz", ".gz", ".bz2", ".xz", ".zip", ".7z", ".rar", ".zst"), _ARCHIVE),
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jp2", ".exr", ".dng", ".svg", ".psd"), _PICTURE),
    **dict.fromkeys((".pcd", ".las", ".ply"), _CLOUD),
    **dict.fromkeys((".safetensors", ".pt", ".pth", ".ckpt", ".onnx"), _WEIGHTS),
    ".jsonl": "lines of JSON, such as the gazes of an earlier run: name the source of that run",
    ".rrd": "a Rerun recording: name the source of that run",
    ".npy": "an array: write its images as PNG",
    ".npz": "arrays: write their images as PNG",
    ".pcap": "a network capture: convert it with its driver",
    ".h5": "HDF5: write its images as PNG",
    ".hdf5": "HDF5: write its images as PNG",
}
# By the first bytes, for other suffixes.
_BY_HEAD = {
    **dict.fromkeys((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"), _ARCHIVE),
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself (git lfs pull)",
    **dict.fromkeys((b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD"), "a playlist: name the video itself"),
}
_READ = 4096  # bytes


def describe_unknown(path: Path) -> str:
    """Return a description of a file that cannot be a source, by name and first bytes; may be empty."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "not a regular file, and sources are read more than once: copy it to a file"
    if not path.stat().st_size:
        return "an empty file"
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    head = _head(path)
    return next((what for begin, what in _BY_HEAD.items() if head.startswith(begin)), "")


def is_text(path: Path) -> bool:
    """Return True if an unreadable file looks like text."""
    head = _head(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_READ)
