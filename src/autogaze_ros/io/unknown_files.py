"""Files that are no source of frames: what they are, and the way on."""

from __future__ import annotations

import stat
from pathlib import Path

_ARCHIVE = "an archive: unpack it and name the folder"
_PICTURE = "an image of a format that is not read: convert it to PNG or JPEG"
_CLOUD = "a point cloud, which has no images"
_WEIGHTS = "weights of a network: --checkpoint takes them"
_BY_SUFFIX = {
    **dict.fromkeys((".tar", ".tgz", ".gz", ".bz2", ".xz", ".zip", ".7z", ".rar", ".zst"), _ARCHIVE),
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jp2", ".exr", ".dng", ".svg", ".psd"), _PICTURE),
    **dict.fromkeys((".pcd", ".las", ".ply"), _CLOUD),
    **dict.fromkeys((".safetensors", ".pt", ".pth", ".ckpt", ".onnx"), _WEIGHTS),
    ".jsonl": "lines of JSON, such as the gazes of an earlier run: name what they were made from",
    ".rrd": "a Rerun recording: name what it was made from",
    ".npy": "an array: write its images as PNG",
    ".npz": "arrays: write their images as PNG",
    ".pcap": "a network capture: convert it with its driver",
    ".h5": "HDF5: write its images as PNG",
    ".hdf5": "HDF5: write its images as PNG",
}
# By the first bytes, where the suffix does not tell.
_BY_HEAD = {
    **dict.fromkeys((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ"), _ARCHIVE),
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself (git lfs pull)",
    **dict.fromkeys((b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD"), "a playlist: name the video itself"),
}
_READ = 4096  # bytes looked at


def describe_unknown(path: Path) -> str:
    """Return what a file is that surely is no source, by its name and its first bytes; else nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "no regular file, and sources are read more than once: copy it to one"
    if not path.stat().st_size:
        return "an empty file"
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    head = _head(path)
    return next((what for begin, what in _BY_HEAD.items() if head.startswith(begin)), "")


def is_text(path: Path) -> bool:
    """Return if a file that no reader takes looks like text."""
    head = _head(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_READ)
