"""Training data: random contexts from videos, folders, bags and synthetic drives, with known tags."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError, needs
from autogaze_ros.evaluation.labels import Labels, labels_of
from autogaze_ros.io.atomic import atomic_write
from autogaze_ros.io.sources import DRIVE_SIZE, is_drive, open_source
from autogaze_ros.networks.preprocessing import resize_shortest_edge
from autogaze_ros.training.augmentation import EDGE, Crop, change_colours, degraded

if TYPE_CHECKING:
    from autogaze_ros.synthetic.picture import View

_log = logging.getLogger(__name__)
_STRIDES = (1, 1, 1, 2, 3)  # between frames of a context, equally likely: slow and fast driving


@dataclass(frozen=True)
class Clip:
    """Frames of one source at training size.

    frames: (F, H, W, 3) uint8 RGB with EDGE pixels along the shorter edge.
    tags: (F, H, W) uint8, CARLA's tags; None where they are unknown.
    name: of the source.
    """

    frames: NDArray[np.uint8]
    tags: NDArray[np.uint8] | None = None
    name: str = ""


class Clips:
    """Frames of several sources, from which random contexts are cut.

    groups: of clips. Groups are equally likely. Within a group the probability of a clip grows
        with the square root of its length, so that a long one does not displace the others.
    """

    def __init__(self, *groups: Sequence[Clip]) -> None:
        groups = tuple(group for group in groups if len(group))
        self._groups = groups
        self.clips = [clip for group in groups for clip in group]
        roots = [np.sqrt([len(clip.frames) for clip in group]) for group in groups]
        self._weights = np.concatenate([[], *(root / root.sum() for root in roots)]) / max(1, len(groups))

    @property
    def notes(self) -> list[list[Any]]:
        """Return name, shape and whether there are tags of each clip, which tell runs on others apart."""
        return [[clip.name, list(clip.frames.shape), clip.tags is not None] for clip in self.clips]

    def tagged(self) -> Clips:
        """Return the clips that have tags, in the same groups."""
        return Clips(*([clip for clip in group if clip.tags is not None] for group in self._groups))

    def context(
        self, rng: np.random.Generator, length: int, *, degrade: bool = False
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Cut a random context with augmentation: moving crop, mirroring, colours.

        degrade: also lower contrast, sharpness and colour, add noise and compress, as cameras do.

        Returns the frames (length, EDGE, EDGE, 3) and their tags (length, EDGE, EDGE), 0 where
        they are unknown.
        """
        clip = self.clips[rng.choice(len(self.clips), p=self._weights)]
        stride = min(int(rng.choice(_STRIDES)), (len(clip.frames) - 1) // max(1, length - 1))
        begin = int(rng.integers(len(clip.frames) - stride * (length - 1)))
        places = begin + stride * np.arange(length)
        if stride == 0:  # shorter than the context: the last frame repeats
            places = np.minimum(np.arange(length), len(clip.frames) - 1)
        crop = Crop(rng, clip.frames.shape[1:3], length)
        frames = change_colours(rng, crop(clip.frames, places, cv2.INTER_LINEAR))
        if degrade:
            frames = degraded(rng, frames)
        if clip.tags is None:
            return frames, np.zeros(frames.shape[:3], np.uint8)
        return frames, crop(clip.tags, places, cv2.INTER_NEAREST)

    def batch(
        self, rng: np.random.Generator, count: int, length: int, *, degrade: bool = False
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Cut contexts as `context` does: (count, length, EDGE, EDGE, 3), (count, length, EDGE, EDGE)."""
        frames, tags = zip(*(self.context(rng, length, degrade=degrade) for _ in range(count)), strict=True)
        return np.stack(frames), np.stack(tags)


def open_clips(sources: Iterable[str], drive_seeds: Iterable[int], drive_frames: int, cache: Path) -> Clips:
    """Read sources (as `frames.open_source` takes them) and synthetic drives, through a cache on disk.

    Half of the contexts are of the sources and half synthetic, if there are both. Drives and
    Bench2Drive scenarios with a semantic camera have tags. Raises SourceError for a source that
    cannot be read or has images of several shapes, and where there is none.
    """
    recorded = [_open_source(source, cache) for source in sources]
    synthetic = [_open_drive(seed, drive_frames, cache) for seed in drive_seeds]
    if not recorded + synthetic:
        raise SourceError("nothing to train on: name clips, folders or bags, or seeds of the synthetic drive")
    return Clips(recorded, synthetic)


def _open_source(source: str, cache: Path) -> Clip:
    name, labels = _name_of(source), labels_of(source)
    frames = _cached(cache, name, partial(_source_frames, source))
    if labels is None:
        return Clip(frames, name=name)
    if labels.length != len(frames):
        _log.warning(
            "%s: the tags of %d frames are not used, since %d frames could be read: replace the images"
            " that cannot be",
            source, labels.length, len(frames),
        )  # fmt: skip
        return Clip(frames, name=name)
    tags = _cached(cache, f"{name}_tags", partial(_source_tags, labels, frames.shape))
    return Clip(frames, tags, name)


def _open_drive(seed: int, count: int, cache: Path) -> Clip:
    """Open a synthetic drive for training: traffic, weather and camera vary with the seed."""
    name = f"tagged_drive_{seed}_{count}"
    images, tags = cache / f"{name}.npy", cache / f"{name}_tags.npy"
    if not (images.exists() and tags.exists()):
        views = list(islice(_training_views(seed), count))
        _cached(cache, images.stem, lambda: (view.image for view in views))
        _cached(cache, tags.stem, lambda: (view.labels for view in views))
    return Clip(np.load(images, mmap_mode="r"), np.load(tags, mmap_mode="r"), name)


def _training_views(seed: int) -> Iterator[View]:
    """Yield views of a drive: half by Bench2Drive's front camera, half by others of any direction."""
    with needs("numba", "the synthetic drive"):
        from autogaze_ros.synthetic.drive import Drive
    from autogaze_ros.synthetic.cameras import BENCH2DRIVE
    from autogaze_ros.synthetic.picture import WEATHERS

    rng = np.random.default_rng([seed, 2])
    camera = BENCH2DRIVE[0]
    if rng.random() < 0.5:
        camera = replace(
            BENCH2DRIVE[rng.integers(len(BENCH2DRIVE))], fov=rng.uniform(45, 110),
            z=rng.uniform(1.2, 2.4), pitch=rng.uniform(-4, 8),
        )  # fmt: skip
    # Rain, fog and night are rare in a drive's own choice, but matter as much.
    weather = str(rng.choice(list(WEATHERS))) if rng.random() < 0.5 else ""
    drive = Drive(seed, weather)
    drive.step(2 * (seed % 100))  # traffic and lights are elsewhere in each
    while True:
        yield drive.render(camera.sized(*DRIVE_SIZE))
        drive.step()


def _name_of(source: str) -> str:
    if is_drive(source):
        return re.sub(r"[^0-9A-Za-z@]", "_", source)
    path = Path(source)
    if not path.exists():
        raise SourceError(f"{source} does not exist; name a video, a folder of images, a bag or drive:SEED")
    stat = path.stat()
    digest = hashlib.sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    return f"{path.stem}_{digest[:12]}"


def _cached(cache: Path, name: str, read: Callable[[], Iterator[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    path = cache / f"{name}.npy"
    if not path.exists():
        with atomic_write(path) as aside:
            np.save(aside, np.stack(list(read())))
    found: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return found


def _source_frames(source: str) -> Iterator[NDArray[np.uint8]]:
    first = None
    for number, frame in enumerate(open_source(source)):
        image = resize_shortest_edge(frame.image, EDGE)
        first = first or image.shape
        if image.shape != first:
            raise SourceError(f"{source}: frame {number} has another shape than the first; all must have one")
        yield image


def _source_tags(labels: Labels, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tags of a source's frames, whose shape at training size is (F, H, W, 3)."""
    for frame in labels.read(0, shape[0]):
        yield cv2.resize(frame.labels, shape[2:0:-1], interpolation=cv2.INTER_NEAREST_EXACT)
