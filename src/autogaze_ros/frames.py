"""Frames, and where they come from without ROS: video files and image folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
MOST_ASPECT = 32  # beyond it the resize to a shortest edge of 224 would eat the memory
FOLDER_RATE = 10.0  # frames per second that a folder's images are taken to have


class SourceError(ValueError):
    """A source of frames that is missing, damaged or empty; the message says which."""


@dataclass(frozen=True)
class Frame:
    """One camera image.

    image: (H, W, 3) uint8 RGB, not empty, no edge over MOST_ASPECT times the other
    (SourceError). stamp: nanoseconds, of the source's own clock.
    """

    image: NDArray[np.uint8]
    stamp: int
    camera: str = "front"

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        if not 1 <= max(height, width) <= MOST_ASPECT * min(height, width):
            raise SourceError(f"an image of {width}x{height} pixels is no camera's: at most {MOST_ASPECT}:1")


@dataclass(frozen=True)
class Source:
    """A finite sequence of frames that can be read more than once.

    length: number of frames as far as it is known, else 0. rate: frames per second.
    """

    path: Path
    length: int
    rate: float

    def __iter__(self) -> Iterator[Frame]:
        return _read_folder(self.path) if self.path.is_dir() else _read_video(self.path)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open a video file or a folder of images (in order of name); raises SourceError."""
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video file or a folder of images")
    if path.is_dir():
        return Source(path, len(_images(path)), FOLDER_RATE)
    import av

    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            return Source(path, stream.frames, float(stream.average_rate or FOLDER_RATE))
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a readable video: {_reason(error)}") from error


def _images(folder: Path) -> list[Path]:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise SourceError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return images


def _read_folder(folder: Path) -> Iterator[Frame]:
    for index, path in enumerate(_images(folder)):
        image = decode_image(np.fromfile(path, np.uint8))
        if image is None:
            raise SourceError(f"{path} is not a readable image")
        yield Frame(image, round(index * 1e9 / FOLDER_RATE))


def decode_image(data: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return a compressed image (JPEG, PNG, …) as (H, W, 3) RGB, or None if it cannot be decoded."""
    import cv2

    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # empty, or larger than OpenCV allows
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_video(path: Path) -> Iterator[Frame]:
    import av

    index = 0
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            rate = float(stream.average_rate or FOLDER_RATE)
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                seconds = index / rate if decoded.time is None else decoded.time
                yield Frame(decoded.to_ndarray(format="rgb24"), round(seconds * 1e9))
                index += 1
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is damaged behind frame {index}: {_reason(error)}") from error
    if index == 0:
        raise SourceError(f"{path} holds no frames")


def _video_stream(container, path: Path):  # type: ignore[no-untyped-def]  # PyAV's own types
    if not container.streams.video:
        raise SourceError(f"{path} holds no video")
    return container.streams.video[0]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
