"""Folders of images, single images, and Bench2Drive's scenarios, as sources of frames."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import PIL.Image

from autogaze_ros.complaints import Complaints
from autogaze_ros.io.frames import DEFAULT_RATE, MAX_PIXELS, Frame, Source, SourceError, reason_of
from autogaze_ros.io.image_names import ImageSequence, arrange
from autogaze_ros.io.images import ImageError, decode_image
from autogaze_ros.reporting import listed

# Of a GIF alone the frames are read, as of a video.
IMAGE_SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
_JPEG = b"\xff\xd8\xff"  # its first bytes
_BYTES_A_PIXEL = 4  # that a file may have at most, for each of the pixels that an image may have
_FRONT = "rgb_front"  # Bench2Drive's camera
_OTHER_SOURCES = frozenset(
    {".avi", ".bag", ".db3", ".h264", ".hevc", ".m4v", ".mcap", ".mkv", ".mov", ".mp4", ".ts", ".webm"}
)
_DEEP = 4  # folders below one that holds no images: those of data sets
_log = logging.getLogger(__name__)


def is_image(path: Path) -> bool:
    """Return if a file's name is that of an image; False for hidden files, which systems leave about."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def find_cameras(path: Path) -> Path | None:
    """Return a Bench2Drive scenario's folder of cameras: itself, `camera` in it, or one level below."""
    if (path / _FRONT).is_dir():
        return path
    if any(map(is_image, path.iterdir())):
        return None
    folders = (path / "camera", *sorted(path.glob("*/camera")))
    found = [folder for folder in folders if folder.is_dir() and any(map(Path.is_dir, folder.iterdir()))]
    if len(found) > 1:
        names = listed([str(folder.parent) for folder in found])
        raise SourceError(f"{path} holds several scenarios; name one: {names}")
    return found[0] if found else None


def open_scenario(
    path: Path, cameras: Path, camera: str, rate: float = 0.0, max_pixels: int = MAX_PIXELS
) -> Source:
    """Open one camera of a Bench2Drive scenario; cameras: its folder of cameras. Raises SourceError."""
    chosen = cameras / (camera or _FRONT)
    if not chosen.is_dir():
        known = sorted(folder.name for folder in cameras.iterdir() if folder.is_dir())
        raise SourceError(f"{path} has no camera {chosen.name!r}; it has {', '.join(known)}")
    return open_images(chosen, chosen.name, rate, max_pixels)


def open_images(path: Path, camera: str = "front", rate: float = 0.0, max_pixels: int = MAX_PIXELS) -> Source:
    """Open the images of a folder, or a single one; raises SourceError.

    rate: frames a second where the names hold no stamps; 0: Bench2Drive's ten. max_pixels:
    larger images are left out.
    """
    found = arrange(_image_files(path) if path.is_dir() else [path], rate or DEFAULT_RATE)
    for warning in (*found.warnings, *([] if path.is_dir() else _further_pictures(path))):
        _log.warning("%s: %s", path, warning)
    if rate and found.declared:
        _log.warning("%s: its images have stamps in their names, so that the rate is not asked for", path)
    span = found.stamps[-1] - found.stamps[0]
    declared = (len(found.stamps) - 1) * 1e9 / span if found.declared and span else 0.0
    pace = (
        "" if found.declared else f", {rate:g} a second" if rate else f", {DEFAULT_RATE:g} a second assumed"
    )
    return Source(
        len(found.paths),
        declared or rate or DEFAULT_RATE,
        lambda: _read_images(path, found, camera, max_pixels),
        f"{len(found.paths)} images, {found.about}{pace}",
    )


def _further_pictures(path: Path) -> list[str]:
    """Return a warning where a file holds several pictures: pages, or an animation."""
    with suppress(Exception), PIL.Image.open(path, formats=("PNG", "TIFF", "WEBP")) as image:
        if (count := getattr(image, "n_frames", 1)) > 1:
            return [
                f"of its {count} pictures the first is taken; write them as files of their own, or as a GIF"
            ]
    return []


def _image_files(folder: Path) -> list[Path]:
    """Return a folder's images, and name what else is there."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    images = [path for path in visible if is_image(path) and (path.is_file() or not path.exists())]
    if not images:
        raise SourceError(_no_images(folder, visible))
    if others := sorted({path.name for path in visible} - {path.name for path in images}):
        _log.warning("%s: left out is what is no image: %s", folder, listed(others))
    return images


def _kind(path: Path) -> str:
    return "folders" if path.is_dir() else path.suffix.lower() or "files without a suffix"


def _no_images(folder: Path, visible: list[Path]) -> str:
    """Return what a folder without images is, and the way on."""
    below = [str(path.relative_to(folder)) for path in _sources_below(visible, _DEEP)]
    if below:
        return f"{folder} holds no images itself; name one of what it holds: {listed(below)}"
    found = listed([f"{count} {kind}" for kind, count in sorted(Counter(map(_kind, visible)).items())])
    return f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}) but {found or 'nothing'}"


def _sources_below(paths: Iterable[Path], depth: int) -> list[Path]:
    """Return videos and recordings among paths, and folders of images among them or below."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found += [path] * (path.suffix.lower() in _OTHER_SOURCES)
        elif any(map(is_image, inside := sorted(path.iterdir()))):
            found.append(path)
        elif depth:
            found += _sources_below(inside, depth - 1)
    return found


def _content(path: Path, most: int) -> bytes:
    """Read a file of at most so many bytes; raises SourceError for what is larger, or no file."""
    size = path.stat().st_size
    if not path.is_file():
        raise SourceError("it is no regular file")
    if size > most:
        raise SourceError(f"its {size} bytes are more than max_image_pixels allows ({most})")
    return path.read_bytes()


def _read_images(source: Path, images: ImageSequence, camera: str, max_pixels: int) -> Iterator[Frame]:
    count = 0
    with Complaints(_log) as complain:
        for path, stamp in zip(images.paths, images.stamps, strict=True):
            try:
                data = _content(path, _BYTES_A_PIXEL * max_pixels)
                jpeg = data if data.startswith(_JPEG) else b""
                frame = Frame(decode_image(data, max_pixels), stamp, camera, frame_id=camera, jpeg=jpeg)
            except (ImageError, SourceError, OSError) as error:
                complain(str(path), f"is left out: {reason_of(error)}")
                continue
            count += 1
            yield frame
    if count == 0:
        raise SourceError(f"{source} holds no readable image")
