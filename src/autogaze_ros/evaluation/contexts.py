"""Contexts of consecutive frames to study gazes on, cut from any source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.errors import SourceError, needs
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.preprocessing import preprocess, resize_shortest_edge

FRAMES = 16
DRIVE = "synthetic drive"
_EDGE = 224  # which is all that preprocessing leaves


@dataclass(frozen=True)
class Context:
    """FRAMES consecutive frames of a camera.

    source: where they come from. group: the sources that are reported together.
    start: the first frame's place in the source. images: (H, W, 3) uint8 RGB each,
    reduced as by the first step of preprocessing: the shorter edge has 224 pixels.
    """

    source: str
    group: str
    start: int
    images: tuple[NDArray[np.uint8], ...]

    @property
    def title(self) -> str:
        """Name it in a line."""
        return f"{Path(self.source).name} from frame {self.start}"

    def pixels(self) -> Tensor:
        """Return the frames as the networks see them: (FRAMES, 3, 224, 224) normalised."""
        return torch.stack([preprocess(image, _EDGE) for image in self.images])


def source_contexts(path: str, count: int) -> list[Context]:
    """Cut at most `count` contexts at evenly spread starts; they overlap where the source is short.

    path: as for `frames.open_source`. Raises SourceError, also where no context fits.
    """
    source = open_source(path)
    total = sum(1 for _ in source)  # of a video or a damaged folder it is known only then
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
    """Render the first frames of a synthetic drive at 10 Hz: Bench2Drive's front camera, 400x224."""
    with needs("numba", "the synthetic drive"):
        from autogaze_ros.synthetic.cameras import BENCH2DRIVE
        from autogaze_ros.synthetic.drive import Drive
    camera = next(camera for camera in BENCH2DRIVE if camera.name == "rgb_front").sized(400, _EDGE)
    drive, images = Drive(seed), []
    for _ in range(FRAMES):
        images.append(drive.render(camera).image)
        drive.step()
    return Context(f"drive {seed}", DRIVE, 0, tuple(images))
