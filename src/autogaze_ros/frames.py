"""Frames, and where they come from without ROS running.

Video files, folders of images, Bench2Drive scenarios and rosbag2 recordings all
give the same `Frame`. Single images that cannot be read are left out with a
warning; what ends a source raises SourceError.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.bags import Bag, BagError, is_bag, open_bag, picture
from autogaze_ros.images import ImageError, decode_image
from autogaze_ros.needs import needs

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
_JPEG_SUFFIXES = frozenset({".jpeg", ".jpg"})
MOST_ASPECT = 32  # beyond it the resize to a shortest edge of 224 would eat the memory
_CUT = 1.0  # seconds that a video must miss to be called cut off: containers round
FOLDER_RATE = 10.0  # frames per second that numbered images have (Bench2Drive's)
_log = logging.getLogger(__name__)


class SourceError(ValueError):
    """A source of frames that is missing, damaged or empty; the message says which."""


@dataclass(frozen=True)
class Frame:
    """One camera image.

    image: (H, W, 3) uint8 RGB, not empty, no edge over MOST_ASPECT times the other
    (SourceError). stamp: nanoseconds, of the source's own clock. frame_id: of the
    message's header, else the camera's name. received: nanoseconds of a bag's
    recorder, else None. jpeg: the file that the image was decoded from, if it was
    a JPEG. epoch: what a frame of another epoch showed does not count any more.
    """

    image: NDArray[np.uint8]
    stamp: int
    camera: str = "front"
    frame_id: str = "front"
    received: int | None = None
    jpeg: bytes = b""
    epoch: int = 0

    def __post_init__(self) -> None:
        height, width = self.image.shape[:2]
        if not 1 <= max(height, width) <= MOST_ASPECT * min(height, width):
            raise SourceError(f"an image of {width}x{height} pixels is no camera's: at most {MOST_ASPECT}:1")


class Thinning:
    """Decides which frames are kept, in the order in which they come."""

    def __init__(self) -> None:
        self._place = 0
        self._kept: int | None = None

    def keeps(self, stamp: int, stride: int = 1, rate: float = 0.0) -> bool:
        """Whether the next one is: every stride-th, of these at most rate a second by stamp (0: all)."""
        place, self._place = self._place, self._place + 1
        if place % stride:
            return False
        # A hair early is in time, since stamps are rounded; back in time is a new beginning.
        if rate and self._kept is not None and 0 <= stamp - self._kept < 0.999e9 / rate:
            return False
        self._kept = stamp
        return True


@dataclass(frozen=True)
class Selection:
    """Which frames of a source are wanted.

    first, last: places in the source, both included, from 0. stride: every how
    many of these. rate: at most so many a second, by their stamps; 0: all.
    """

    first: int = 0
    last: int | None = None
    stride: int = 1
    rate: float = 0.0

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the wanted frames."""
        thinning = Thinning()
        for place, frame in enumerate(frames):
            if self.last is not None and place > self.last:
                return
            if place >= self.first and thinning.keeps(frame.stamp, self.stride, self.rate):
                yield frame


@dataclass(frozen=True)
class Source:
    """A finite sequence of frames that can be read more than once.

    length: number of frames as far as it is known, else 0. rate: frames per second.
    """

    length: int
    rate: float
    read: Callable[[], Iterator[Frame]]

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def select(self, selection: Selection) -> Source:
        """Return the source of the wanted frames only."""
        end = self.length if selection.last is None else min(self.length, selection.last + 1)
        rate = self.rate / selection.stride
        slower = bool(selection.rate) and selection.rate < rate
        return Source(
            length=0 if slower else len(range(selection.first, end, selection.stride)),
            rate=selection.rate if slower else rate,
            read=lambda: selection(self.read()),
        )


def open_source(path: str | os.PathLike[str], *, camera: str = "", topic: str = "") -> Source:
    """Open a video file, a folder of images, a Bench2Drive scenario or a rosbag2; raises SourceError.

    camera: of a scenario, by default rgb_front. topic: of a bag, needed where it
    has several with images.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; name a video, a folder of images or a bag")
    if is_bag(path):
        return _open_bag(path, topic)
    if path.is_dir():
        cameras = _scenario(path)
        return _open_scenario(path, cameras, camera) if cameras else _open_images(path)
    return _open_video(path)


def _open_video(path: Path) -> Source:
    with needs("av", "reading videos", SourceError):
        import av

    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            length, rate = stream.frames, float(stream.average_rate or FOLDER_RATE)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a readable video: {_reason(error)}") from error
    return Source(length, rate, lambda: _read_video(path, rate))


def _read_video(path: Path, rate: float) -> Iterator[Frame]:
    import av

    index, seconds, whole = 0, 0.0, True
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            for decoded in container.decode(stream):
                if whole and decoded.is_corrupt:  # once: one fault spoils what is predicted from it too
                    whole = False
                    _log.warning("%s is damaged at frame %d: from there on images may be wrong", path, index)
                seconds = index / rate if decoded.time is None else decoded.time
                yield Frame(decoded.to_ndarray(format="rgb24"), round(seconds * 1e9))
                index += 1
            # Other streams may last longer than the video.
            declared = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0
            if whole and index and declared > seconds + 1 / rate + _CUT:
                _log.warning("%s is cut off: it ends after %.1f of %.1f s", path, seconds, declared)
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is damaged behind frame {index}: {_reason(error)}") from error
    if index == 0:
        raise SourceError(f"{path} holds no frames")


def _video_stream(container: Any, path: Path) -> Any:
    if not container.streams.video:
        raise SourceError(f"{path} holds no video")
    return container.streams.video[0]


def _scenario(path: Path) -> Path | None:
    """Return a Bench2Drive scenario's folder of cameras, in the scenario or one level below."""
    found = [folder for folder in (path / "camera", *sorted(path.glob("*/camera"))) if folder.is_dir()]
    if len(found) > 1:
        raise SourceError(
            f"{path} holds several scenarios; name one of {', '.join(str(f.parent) for f in found)}"
        )
    return found[0] if found else None


def _open_scenario(path: Path, cameras: Path, camera: str) -> Source:
    chosen = cameras / (camera or "rgb_front")
    if not chosen.is_dir():
        known = sorted(folder.name for folder in cameras.iterdir() if folder.is_dir())
        raise SourceError(f"{path} has no camera {chosen.name!r}; it has {', '.join(known)}")
    return _open_images(chosen, chosen.name)


def _image_files(folder: Path) -> list[Path]:
    """Return a folder's images, in order of name."""
    named = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    folders = [path for path in named if path.is_dir()]
    for path in folders:
        _log.warning("%s is left out: it is a folder", path)
    return [path for path in named if path not in folders]


def _open_images(folder: Path, camera: str = "front") -> Source:
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
    return Source(len(images), FOLDER_RATE, lambda: _read_images(images, numbers, camera))


def _read_images(images: list[Path], numbers: list[int], camera: str) -> Iterator[Frame]:
    count = 0
    for path, number in zip(images, numbers, strict=True):
        try:
            data = path.read_bytes()
            stamp = round(number * 1e9 / FOLDER_RATE)
            jpeg = data if path.suffix.lower() in _JPEG_SUFFIXES else b""
            yield Frame(decode_image(data), stamp, camera, frame_id=camera, jpeg=jpeg)
            count += 1
        except (ImageError, SourceError, OSError) as error:
            _log.warning("%s is left out: %s", path, _reason(error))
    if count == 0:
        raise SourceError(f"{images[0].parent} holds no readable image")


def _open_bag(path: Path, topic: str) -> Source:
    with _bag(path) as bag:
        if bag.cut:
            _log.warning(bag.cut)
        chosen = bag.image_topic(topic)
        count = bag.count(chosen)
        rate = (count - 1) / bag.duration if count > 1 and bag.duration else FOLDER_RATE
    return Source(count, rate, lambda: _read_bag(path, chosen))


def _read_bag(path: Path, topic: str) -> Iterator[Frame]:
    count = 0
    with _bag(path) as bag:
        connections = [connection for connection in bag.connections if connection.topic == topic]
        for place, (connection, received, data) in enumerate(bag.messages(connections)):
            try:
                message = bag.decode(connection, data)
                stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
                yield Frame(picture(message), stamp, frame_id=message.header.frame_id, received=received)
                count += 1
            except (BagError, ImageError, SourceError) as error:
                _log.warning("%s: message %d on %s is left out: %s", path, place, topic, error)
    if count == 0:
        raise SourceError(f"{path} holds no readable image on {topic}")


@contextmanager
def _bag(path: Path) -> Iterator[Bag]:
    try:
        with open_bag(path) as bag:
            yield bag
    except BagError as error:
        raise SourceError(str(error)) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
