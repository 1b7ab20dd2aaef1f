"""Training data: random contexts from videos, folders, bags and synthetic drives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.io.sources import is_drive, open_source
from autogaze_ros.networks.preprocessing import resize_shortest_edge

EDGE = 224
_STRIDES = (1, 1, 1, 2, 3)  # between frames of a context, equally likely: slow and fast driving


class Clips:
    """Frames of several sources, from which random contexts are cut.

    groups: of sources, each (F, H, W, 3) uint8 RGB with 224 pixels along its shorter edge.
        Groups are equally likely. Within a group the probability of a source grows with
        the square root of its length, so that a long one does not displace the others.
    """

    def __init__(self, *groups: Sequence[NDArray[np.uint8]]) -> None:
        groups = tuple(group for group in groups if len(group))
        self.sources = [frames for group in groups for frames in group]
        roots = [np.sqrt([len(frames) for frames in group]) for group in groups]
        self._weights = np.concatenate([root / root.sum() for root in roots]) / len(groups)

    def context(self, rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
        """Cut a random context (length, 224, 224, 3) with augmentation: moving crop, mirroring, colours."""
        frames = self.sources[rng.choice(len(self.sources), p=self._weights)]
        stride = min(int(rng.choice(_STRIDES)), (len(frames) - 1) // max(1, length - 1))
        begin = int(rng.integers(len(frames) - stride * (length - 1)))
        chosen = frames[begin : begin + stride * (length - 1) + 1 : stride or 1]
        if stride == 0:  # shorter than the context: the last frame repeats
            chosen = frames[np.minimum(np.arange(length), len(frames) - 1)]
        return _change_colours(rng, _crop(rng, chosen))

    def batch(self, rng: np.random.Generator, count: int, length: int) -> NDArray[np.uint8]:
        """Cut `count` contexts: (count, length, 224, 224, 3)."""
        return np.stack([self.context(rng, length) for _ in range(count)])


def _crop(rng: np.random.Generator, frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Resize the whole frames to a square, as the node does, or with probability 1/2 a drifting crop."""
    height, width = frames.shape[1:3]
    zoom = 1.0 if rng.random() < 0.5 else rng.uniform(0.55, 1.0)
    size = np.array([width, height]) * zoom * (1.0 if zoom == 1 else rng.uniform(0.85, 1.0, 2))
    room = np.array([width, height]) - size
    corner = rng.random(2) * room
    drift = rng.normal(size=2) * (1.5 if rng.random() < 0.4 else 0.0)
    mirrored = rng.random() < 0.5
    cropped = []
    for frame in frames:
        (x, y), (w, h) = np.clip(corner, 0, room), size
        matrix = np.array([[w / EDGE, 0, x + (w / EDGE - 1) / 2], [0, h / EDGE, y + (h / EDGE - 1) / 2]])
        image = cv2.warpAffine(
            frame, matrix, (EDGE, EDGE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        cropped.append(image[:, ::-1] if mirrored else image)
        corner = corner + drift
    return cropped


def _change_colours(rng: np.random.Generator, frames: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    clip = np.stack(frames)
    if rng.random() < 0.4:
        return clip
    gain = rng.uniform(0.7, 1.25) * rng.uniform(0.93, 1.07, 3)
    table = np.clip(np.arange(256)[:, None] * gain + rng.uniform(-15, 15), 0, 255).round().astype(np.uint8)
    for channel in range(3):
        clip[..., channel] = table[clip[..., channel], channel]
    return clip


def open_clips(sources: Iterable[str], drive_seeds: Iterable[int], drive_frames: int, cache: Path) -> Clips:
    """Read sources (as `frames.open_source` takes them) and synthetic drives, through a cache on disk.

    Half of the contexts are of the sources and half synthetic, if there are both. Raises
    SourceError for a source that cannot be read or has images of several shapes,
    and where there is none.
    """
    recorded = [_cached(cache, _name_of(source), partial(_source_frames, source)) for source in sources]
    synthetic = []
    for seed in drive_seeds:
        drive = f"drive:{seed}@{seed % 100}"  # traffic and lights are elsewhere in each
        frames = partial(_source_frames, drive, drive_frames)
        synthetic.append(_cached(cache, f"drive_{seed}_{drive_frames}", frames))
    if not recorded + synthetic:
        raise SourceError("nothing to train on: name clips, folders or bags, or seeds of the synthetic drive")
    return Clips(*([np.load(path, mmap_mode="r") for path in paths] for paths in (recorded, synthetic)))


def _name_of(source: str) -> str:
    if is_drive(source):
        return re.sub(r"[^0-9A-Za-z@]", "_", source)
    path = Path(source)
    if not path.exists():
        raise SourceError(f"{source} does not exist; name a video, a folder of images, a bag or drive:SEED")
    stat = path.stat()
    digest = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    return f"{path.stem}_{digest[:12]}"


def _cached(cache: Path, name: str, read: Callable[[], Iterator[NDArray[np.uint8]]]) -> Path:
    path = cache / f"{name}.npy"
    if not path.exists():
        with atomic_write(path) as aside:
            np.save(aside, np.stack(list(read())))
    return path


def _source_frames(source: str, count: int | None = None) -> Iterator[NDArray[np.uint8]]:
    first = None
    for number, frame in enumerate(islice(open_source(source), count)):
        image = resize_shortest_edge(frame.image, EDGE)
        first = first or image.shape
        if image.shape != first:
            raise SourceError(f"{source}: frame {number} has another shape than the first; all must have one")
        yield image
