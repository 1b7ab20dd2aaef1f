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
_READ = 4096  # bytes looked at


def describe_unknown(path: Path) -> str:
    """Return what a file that is no video is, as far as its name and its first bytes tell; else nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        return "no regular file, and sources are read more than once: copy it to one"
    if not path.stat().st_size:
        return "an empty file"
    if path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()]
    with path.open("rb") as file:
        head = file.read(_READ)
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: fetch the file itself (git lfs pull)"
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return ""
    return "" if "\0" in text else "a text file"
