"""Clips to evaluate on, their labels, and the contexts that they are cut into."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError
from autogaze_ros.evaluation.labels import Labels
from autogaze_ros.io.frames import Frame
from autogaze_ros.motion import Motion
from autogaze_ros.networks.preprocessing import preprocess, resize_shortest_edge

if TYPE_CHECKING:
    from torch import Tensor

FRAMES = 16  # of a context that AutoGaze was trained with
_EDGE = 224  # pixels of the shorter edge after preprocessing


@dataclass(frozen=True)
class Clip:
    """Frames of one camera, and their labels if there are any.

    source: name of the source, as the user gave it.
    camera: name of the camera; empty where a source has only one.
    images: (H, W, 3) uint8 RGB each, of one size, resized as in the first step of
        preprocessing: the shorter edge has 224 pixels.
    size: width and height of the source's images in pixels.
    rate: frames per second.
    notes: one line each on what the reader of a report should know of the clip.
    motions: of each frame in the compressed video, in pixels of the source; empty where it is unknown.
    """

    source: str
    camera: str
    images: tuple[NDArray[np.uint8], ...]
    size: tuple[int, int]
    rate: float
    labels: Labels | None = None
    notes: tuple[str, ...] = ()
    motions: tuple[Motion, ...] = field(default=(), repr=False)

    @property
    def title(self) -> str:
        """Return a title of one line."""
        name = Path(self.source).name or self.source
        return f"{name} {self.camera}".strip()

    @cached_property
    def sha256(self) -> str:
        """Digest of the images: equal for the same frames in any kind of source."""
        digest = hashlib.sha256(f"{self.size}".encode())
        for image in self.images:
            digest.update(image.tobytes())
        return digest.hexdigest()

    @cached_property
    def motion_sha256(self) -> str:
        """Digest of the motion, empty where it is unknown: it depends on how the frames were coded."""
        digest = hashlib.sha256()
        for motion in self.motions:
            digest.update(motion.vectors.tobytes() + motion.intra.tobytes())
        return digest.hexdigest() if self.motions else ""

    @cached_property
    def labels_sha256(self) -> str:
        """Digest of labels, depth and classes; empty without labels.

        Raises SourceError for labels that cannot be read, or have another size than the source's images.
        """
        if self.labels is None:
            return ""
        digest = hashlib.sha256(repr(self.labels.classes).encode())
        for place, frame in enumerate(self.labels.read(0, len(self.images))):
            height, width = frame.labels.shape
            if (width, height) != self.size:
                raise SourceError(
                    f"{self.source}: frame {place} has labels of {width}x{height} pixels,"
                    f" images of {self.size[0]}x{self.size[1]}"
                )
            digest.update(frame.labels.tobytes())
            digest.update(frame.depth.tobytes() if frame.depth is not None else b"")
        return digest.hexdigest()

    def contexts(self, chunk_size: int) -> list[Context]:
        """Return the consecutive contexts of `chunk_size` frames, or one of all frames if there are fewer."""
        length = min(chunk_size, len(self.images))
        return [
            Context(self, start, self.images[start : start + length])
            for start in range(0, len(self.images) - length + 1, length)
        ]


@dataclass(frozen=True)
class Context:
    """Consecutive frames of a clip, which a selector sees as one context.

    start: index of the first frame in the clip.
    """

    clip: Clip
    start: int
    images: tuple[NDArray[np.uint8], ...] = field(repr=False)

    @property
    def key(self) -> str:
        """Name of the context that is the same in every run."""
        return f"{self.clip.sha256[:16]}@{self.start}+{len(self.images)}"

    @property
    def title(self) -> str:
        """Return a title of one line."""
        return f"{self.clip.title} from frame {self.start}"

    @property
    def motions(self) -> Sequence[Motion | None]:
        """Motion of each frame; None where it is unknown."""
        known = self.clip.motions[self.start : self.start + len(self.images)]
        return known or [None] * len(self.images)

    def pixels(self) -> Tensor:
        """Return the frames as the networks see them: (T, 3, 224, 224) normalized."""
        import torch

        return torch.stack([preprocess(image, _EDGE) for image in self.images])


def read_clip(
    source: str,
    frames: Iterable[Frame],
    rate: float,
    *,
    camera: str = "",
    most: int,
    square: int = 0,
    labels: Labels | None = None,
    notes: tuple[str, ...] = (),
) -> Clip:
    """Read the first frames of a source; raises SourceError for none, or for images of several sizes.

    most: largest number of frames to read.
    square: edge in pixels to which images are resized first, to squares; 0: they are not.
    """
    images: list[NDArray[np.uint8]] = []
    motions: list[Motion] = []
    size: tuple[int, int] | None = None
    for place, frame in enumerate(islice(frames, most)):
        height, width = frame.image.shape[:2]
        size = size or (width, height)
        if size != (width, height):
            raise SourceError(
                f"{source}: frame {place} has {width}x{height} pixels, frame 0 has {size[0]}x{size[1]};"
                " evaluate frames of one size"
            )
        image = frame.image
        if square:
            image = np.asarray(cv2.resize(image, (square, square), interpolation=cv2.INTER_AREA), np.uint8)
        images.append(resize_shortest_edge(image, _EDGE))
        motions += [frame.motion] if frame.motion else []
    if size is None:
        raise SourceError(f"{source} has no frames")
    return Clip(source, camera, tuple(images), size, rate, labels, notes, tuple(motions))
