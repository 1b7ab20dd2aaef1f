"""Contexts of consecutive frames to evaluate on, cut from any source."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.errors import SourceError
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.preprocessing import preprocess, resize_shortest_edge

FRAMES = 16
DRIVE = "synthetic drive"
_EDGE = 224  # pixels of the shorter edge after preprocessing


@dataclass(frozen=True)
class Context:
    """FRAMES consecutive frames of a camera.

    source: name of the source.
    group: name under which several sources are reported together.
    start: index of the first frame in the source.
    images: (H, W, 3) uint8 RGB each, resized as in the first step of preprocessing: the
        shorter edge has 224 pixels.
    """

    source: str
    group: str
    start: int
    images: tuple[NDArray[np.uint8], ...]

    @property
    def title(self) -> str:
        """Return a title of one line."""
        return f"{Path(self.source).name} from frame {self.start}"

    def pixels(self) -> Tensor:
        """Return the frames as the networks see them: (FRAMES, 3, 224, 224) normalized."""
        return torch.stack([preprocess(image, _EDGE) for image in self.images])


def source_contexts(path: str, count: int) -> list[Context]:
    """Cut at most `count` evenly spaced contexts, which overlap where the source is short.

    Raises SourceError, also where the source is shorter than a context.

    path: as for `sources.open_source`.
    """
    source = open_source(path)
    total = sum(1 for _ in source)  # the length of a video or a damaged folder is known only after reading it
    if total < FRAMES:
        raise SourceError(f"{path} holds {total} frames, a context takes {FRAMES}; name a longer source")
    starts = sorted({int(start) for start in np.linspace(0, total - FRAMES, count)})
    images: dict[int, NDArray[np.uint8]] = {}
    for place, frame in enumerate(source):
        if any(start <= place < start + FRAMES for start in starts):
            images[place] = resize_shortest_edge(frame.image, _EDGE)
    return [
        Context(path, path, start, tuple(images[start + time] for time in range(FRAMES))) for start in starts
    ]


def drive_context(seed: int) -> Context:
    """Return the first frames of a synthetic drive."""
    images = [frame.image for frame in islice(open_source(f"drive:{seed}"), FRAMES)]
    return Context(f"drive {seed}", DRIVE, 0, tuple(images))
