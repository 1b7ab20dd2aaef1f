"""Semantic labels beside a source's frames, and their depth where it is known.

Labels lie in a folder of PNGs, in the semantic_* folders of a Bench2Drive scenario, or come
from the synthetic drive itself. They are read when they are asked for.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.classes import CLASSES, Classes
from autogaze_ros.io.frames import DEFAULT_RATE, reason_of
from autogaze_ros.io.image_folders import arrange, find_cameras, is_image
from autogaze_ros.io.sniffing import check_size
from autogaze_ros.io.sources import DRIVE_FRAMES, DRIVE_SIZE, is_drive, open_drive
from autogaze_ros.parameters import MAX_PIXELS
from autogaze_ros.reporting import listed

_FRONT = "rgb_front"  # Bench2Drive's camera
_DEPTH_RANGE = 1000.0  # metres at which CARLA's depth ends
_IHDR_BITS, _IHDR_COLOUR = 24, 25  # bytes of a PNG: bits of a sample, and colour type
_GREY = 0  # colour type of grey
# What Cityscapes and CamVid append to the names of frames and labels.
_ENDINGS = re.compile(r"(_leftImg8bit|_gt(Fine|Coarse)_label(Train)?Ids|_L)$")
_KINDS = {"cityscapes": "_labelIds.png", "cityscapes-train": "_labelTrainIds.png"}


_Pixels = TypeVar("_Pixels")


@dataclass(frozen=True)
class FrameLabels:
    """Labels of one frame.

    labels: (H, W) uint8, ids of the classes.
    depth: (H, W) float32, metres along the optical axis; None if it is unknown.
    """

    labels: NDArray[np.uint8]
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Labels:
    """Labels of all frames of a source.

    length: number of frames.
    classes: the classes of the ids.
    read: yields the labels of `count` frames from frame `start` on; raises SourceError.
    """

    length: int
    classes: Classes
    read: Callable[[int, int], Iterator[FrameLabels]]

    def at(self, places: Sequence[int]) -> Labels:
        """Return the labels of the frames at ascending places, renumbered from 0."""

        def read(start: int, count: int) -> Iterator[FrameLabels]:
            wanted = places[start : start + count]
            first = wanted[0] if wanted else 0
            for place, frame in enumerate(self.read(first, wanted[-1] - first + 1 if wanted else 0), first):
                if place in wanted:
                    yield frame

        return Labels(len(places), self.classes, read)

    def context(self, start: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Return labels (count, H, W) of consecutive frames, and their depth if it is known.

        Raises SourceError, also where there are fewer frames or their sizes differ.
        """
        if start < 0 or start + count > self.length:
            raise SourceError(
                f"there are labels of {self.length} frames, not of {start}..{start + count - 1}"
            )
        frames = list(self.read(start, count))
        shapes = [frame.labels.shape for frame in frames]
        for place, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise SourceError(
                    f"the labels of frame {start + place} have {_size(shape)} pixels,"
                    f" those of frame {start} {_size(shapes[0])}"
                )
        depths = [frame.depth for frame in frames if frame.depth is not None]
        depth = np.stack(depths) if len(depths) == count else None
        return np.stack([frame.labels for frame in frames]), depth


def cameras_of(source: str | os.PathLike[str], wanted: str) -> list[str]:
    """Return the cameras to evaluate: those named, separated by commas, or `all` of a scenario or drive.

    Without a name it is the default camera, [""]. Raises SourceError for `all` of another source.
    """
    names = list(dict.fromkeys(name.strip() for name in wanted.split(",")))
    if names != ["all"]:
        return names
    if is_drive(source):
        from autogaze_ros.synthetic.cameras import BENCH2DRIVE

        return [camera.name for camera in BENCH2DRIVE]
    path = Path(source)
    cameras = find_cameras(path) if path.is_dir() else None
    if cameras is None:
        raise SourceError(f"{source} has no cameras: only Bench2Drive scenarios and drives do")
    return sorted(
        folder.name for folder in cameras.iterdir() if folder.is_dir() and folder.name.startswith("rgb_")
    )


def labels_of(source: str | os.PathLike[str], camera: str = "") -> Labels | None:
    """Return the labels that a source brings: a synthetic drive's or a scenario's; None of others.

    Raises SourceError.
    """
    if is_drive(source):
        return drive_labels(os.fspath(source), camera)
    path = Path(source)
    cameras = find_cameras(path) if path.is_dir() else None
    if cameras is None or not _sibling(cameras, "semantic", camera).is_dir():
        return None
    return scenario_labels(path, camera)


def drive_labels(name: str, camera: str = "", size: tuple[int, int] = DRIVE_SIZE) -> Labels:
    """Return labels and depth of a synthetic drive; arguments and errors as of `open_drive`."""
    open_drive(name, camera, size)  # raises what is wrong
    from autogaze_ros.synthetic.cameras import BENCH2DRIVE
    from autogaze_ros.synthetic.drive import Drive

    seed, _, first = name.removeprefix("drive:").partition("@")
    view = next(one for one in BENCH2DRIVE if one.name == (camera or _FRONT)).sized(*size)

    def read(start: int, count: int) -> Iterator[FrameLabels]:
        drive = Drive(int(seed))
        drive.step(2 * (int(first or 0) + start))
        for _ in range(count):
            seen = drive.render(view, depth=True)
            yield FrameLabels(seen.labels, seen.depth)
            drive.step()

    return Labels(DRIVE_FRAMES, CLASSES["carla"], read)


def scenario_labels(path: str | os.PathLike[str], camera: str = "") -> Labels:
    """Open the tags of a Bench2Drive scenario's camera, and its depth if that is there.

    The tags of rgb_front are those in semantic_front, its depth is in depth_front. Raises
    SourceError.
    """
    path = Path(path)
    cameras = find_cameras(path)
    if cameras is None:
        raise SourceError(f"{path} is no Bench2Drive scenario: it has no folder of cameras")
    tags, frames = _sibling(cameras, "semantic", camera), cameras / (camera or _FRONT)
    for folder in (frames, tags):
        if not folder.is_dir():
            raise SourceError(f"{path} has no {folder.name}")
    names = frame_names(frames)
    found = open_labels(tags, CLASSES["carla"], names)
    depths = _sibling(cameras, "depth", camera)
    if not depths.is_dir():
        return found
    files = _matched(depths, _files(depths, ""), names)

    def read(start: int, count: int) -> Iterator[FrameLabels]:
        for frame, file in zip(found.read(start, count), files[start:], strict=False):
            depth = read_depth(file)
            if depth.shape != frame.labels.shape:
                raise SourceError(
                    f"{file}: {_size(depth.shape)} pixels of depth, {_size(frame.labels.shape)} of labels"
                )
            yield FrameLabels(frame.labels, depth)

    return Labels(found.length, found.classes, read)


def _sibling(cameras: Path, kind: str, camera: str) -> Path:
    return cameras / f"{kind}_{(camera or _FRONT).removeprefix('rgb_')}"


def open_labels(
    folder: str | os.PathLike[str],
    classes: Classes,
    frames: Sequence[str] | int,
    size: tuple[int, int] | None = None,
) -> Labels:
    """Open a folder of labels, one PNG a frame; raises SourceError.

    The value of a pixel is its id: grey, the index into a palette, or the red channel. Labels
    belong to frames by their names if any names agree, apart from leading zeros and the
    endings of Cityscapes and CamVid; otherwise by their order.

    frames: names of the frames without suffix, or their number where they have none.
    size: width and height that labels must have, in pixels.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder of labels")
    files = _matched(folder, _files(folder, _KINDS.get(classes.title, "")), frames)

    def read(start: int, count: int) -> Iterator[FrameLabels]:
        for file in files[start : start + count]:
            labels = read_labels(file, classes)
            if size and labels.shape != size[::-1]:
                raise SourceError(
                    f"{file}: labels of {_size(labels.shape)} pixels, frames of {size[0]}x{size[1]}"
                )
            yield FrameLabels(labels)

    return Labels(len(files), classes, read)


def frame_names(source: str | os.PathLike[str], camera: str = "") -> list[str]:
    """Return the names, without suffix, of the images of a folder or scenario in order; none of others."""
    images = _images(source, camera)
    return [file.stem for file in arrange(images, DEFAULT_RATE).paths] if images else []


def _images(source: str | os.PathLike[str], camera: str) -> list[Path]:
    path = Path(source)
    if is_drive(source) or not path.is_dir():
        return []
    folder = path
    if cameras := find_cameras(path):
        folder = cameras / (camera or _FRONT)
    return [file for file in folder.iterdir() if is_image(file)]


def frame_places(source: str | os.PathLike[str], camera: str = "", rate: float = 0.0) -> dict[int, int]:
    """Return the place of each image of a folder or scenario by its stamp; none of others.

    An image that cannot be read is left out of the source, but its labels are there.

    rate: frames per second of images whose names have no stamps; 0: ten.
    """
    images = _images(source, camera)
    stamps = arrange(images, rate or DEFAULT_RATE).stamps if images else []
    return {stamp: place for place, stamp in enumerate(stamps)} if len(set(stamps)) == len(stamps) else {}


def _files(folder: Path, kind: str) -> list[Path]:
    """Return a folder's PNGs in order; kind: ending of the names that are taken if there are any."""
    found = [file for file in folder.iterdir() if file.suffix.lower() == ".png" and is_image(file)]
    found = [file for file in found if kind and file.name.endswith(kind)] or found
    if not found:
        raise SourceError(f"{folder} holds no labels (.png)")
    return sorted(found, key=_order)


def _order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers by value."""
    parts = re.split(r"(\d+)", file.stem)
    return [
        (len(part.lstrip("0")), part.lstrip("0")) if n % 2 else (0, part) for n, part in enumerate(parts)
    ], file.name


def _key(name: str) -> str:
    return re.sub(r"\d+", lambda number: number[0].lstrip("0") or "0", _ENDINGS.sub("", name))


def _matched(folder: Path, files: Sequence[Path], frames: Sequence[str] | int) -> list[Path]:
    """Return the label file of each frame."""
    names = [] if isinstance(frames, int) else list(frames)
    count = frames if isinstance(frames, int) else len(names)
    by_name = {_key(file.stem): file for file in files}
    if any(_key(name) in by_name for name in names):
        doubles = [key for key, times in Counter(_key(file.stem) for file in files).items() if times > 1]
        if doubles:
            raise SourceError(f"{folder} holds several labels of one frame: {listed(doubles)}")
        missing = [name for name in names if _key(name) not in by_name]
        if missing:
            raise SourceError(
                f"{folder}: {count} frames, {len(files)} labels; the first frame without labels is"
                f" {missing[0]}"
            )
        return [by_name[_key(name)] for name in names]
    if len(files) < count:
        first = names[len(files)] if names else f"number {len(files)}"
        raise SourceError(
            f"{folder}: {count} frames, {len(files)} labels; the first frame without labels is {first}"
        )
    if len(files) > count:
        raise SourceError(
            f"{folder}: {count} frames, {len(files)} labels; the first labels without a frame are"
            f" {files[count].name}"
        )
    return list(files)


def read_labels(file: Path, classes: Classes) -> NDArray[np.uint8]:
    """Read the labels (H, W) of a PNG: grey, palette index, or red channel; raises SourceError."""
    labels = np.ascontiguousarray(_read_png(file, _ids))
    if unknown := classes.unknown(labels):
        counts = listed([f"{number} ({count:,} pixels)" for number, count in unknown.items()])
        raise SourceError(f"{file}: ids that {classes.title} does not have: {counts}")
    return labels


def read_depth(file: Path) -> NDArray[np.float32]:
    """Read CARLA's depth (H, W) in metres from a PNG; raises SourceError."""
    return _read_png(file, _metres)


def _ids(image: PIL.Image.Image, data: bytes) -> NDArray[np.uint8]:
    if image.mode in ("RGB", "RGBA"):
        return np.asarray(image)[..., 0]
    if image.mode not in ("1", "L", "LA", "P"):
        raise ValueError("labels must have 8 bits a channel")
    pixels = np.asarray(image.getchannel(0) if image.mode == "LA" else image).astype(np.uint8)
    bits = data[_IHDR_BITS]
    if data[_IHDR_COLOUR] == _GREY and 1 < bits < 8:  # which Pillow stretches to 0..255
        pixels //= np.uint8(255 // (2**bits - 1))
    return pixels


def _metres(image: PIL.Image.Image, data: bytes) -> NDArray[np.float32]:
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError("CARLA's depth takes three channels, R + 256 G + 65536 B")
    channels = np.asarray(image)[..., :3].astype(np.float32)
    return channels @ (np.array([1, 256, 65536], np.float32) * np.float32(_DEPTH_RANGE / (2**24 - 1)))


def _read_png(file: Path, convert: Callable[[PIL.Image.Image, bytes], _Pixels]) -> _Pixels:
    try:
        data = file.read_bytes()
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            check_size(*image.size, MAX_PIXELS)
            image.load()
            return convert(image, data)
    except Exception as error:  # whatever foreign bytes make a decoder raise
        raise SourceError(f"{file} cannot be read: {reason_of(error).split(' <_io')[0]}") from error


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
