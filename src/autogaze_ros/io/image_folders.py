"""Folders of images, and Bench2Drive's scenarios, as sources of frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from autogaze_ros.images import ImageError, decode_image
from autogaze_ros.io.frame import DEFAULT_RATE, Frame, Source, SourceError, reason_of

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_JPEG_SUFFIXES = frozenset({".jpeg", ".jpg"})
_log = logging.getLogger(__name__)


def scenario_cameras(path: Path) -> Path | None:
    """Return a Bench2Drive scenario's folder of cameras, in the scenario or one level below."""
    found = [folder for folder in (path / "camera", *sorted(path.glob("*/camera"))) if folder.is_dir()]
    if len(found) > 1:
        raise SourceError(
            f"{path} holds several scenarios; name one of {', '.join(str(f.parent) for f in found)}"
        )
    return found[0] if found else None


def open_scenario(path: Path, cameras: Path, camera: str) -> Source:
    """Open one camera of a Bench2Drive scenario; cameras: its folder of cameras. Raises SourceError."""
    chosen = cameras / (camera or "rgb_front")
    if not chosen.is_dir():
        known = sorted(folder.name for folder in cameras.iterdir() if folder.is_dir())
        raise SourceError(f"{path} has no camera {chosen.name!r}; it has {', '.join(known)}")
    return open_images(chosen, chosen.name)


def _image_files(folder: Path) -> list[Path]:
    """Return a folder's images, in order of name."""
    named = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    folders = [path for path in named if path.is_dir()]
    for path in folders:
        _log.warning("%s is left out: it is a folder", path)
    return [path for path in named if path not in folders]


def open_images(folder: Path, camera: str = "front") -> Source:
    """Open the images of a folder, in order of name; raises SourceError."""
    images = _image_files(folder)
    if not images:
        raise SourceError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    numbers = list(range(len(images)))
    if all(path.stem.isdecimal() for path in images):
        images.sort(key=lambda path: int(path.stem))  # 10 stands before 9 in order of name
        numbers = [int(path.stem) for path in images]
        gaps = [f"{a + 1}..{b - 1}" for a, b in pairwise(numbers) if b > a + 1]
        if gaps:
            _log.warning("%s: images %s are missing; their time passes all the same", folder, ", ".join(gaps))
    return Source(len(images), DEFAULT_RATE, lambda: _read_images(images, numbers, camera))


def _read_images(images: list[Path], numbers: list[int], camera: str) -> Iterator[Frame]:
    count = 0
    for path, number in zip(images, numbers, strict=True):
        try:
            data = path.read_bytes()
            stamp = round(number * 1e9 / DEFAULT_RATE)
            jpeg = data if path.suffix.lower() in _JPEG_SUFFIXES else b""
            yield Frame(decode_image(data), stamp, camera, frame_id=camera, jpeg=jpeg)
            count += 1
        except (ImageError, SourceError, OSError) as error:
            _log.warning("%s is left out: %s", path, reason_of(error))
    if count == 0:
        raise SourceError(f"{images[0].parent} holds no readable image")
