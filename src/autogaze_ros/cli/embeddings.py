"""Report of `autogaze checkpoint inspect` on a VideoMAE's scale and time embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import SourceError, needs
from autogaze_ros.io.frames import Selection
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.config import AutoGazeConfig

if TYPE_CHECKING:
    from torch import Tensor

    from autogaze_ros.checkpoints.load import Inspection
    from autogaze_ros.evaluation.embeddings import Loss
    from autogaze_ros.networks.video_mae import VideoMAE

_FRAMES, _RATE = 4, 2.0  # of the clip, frames a second: far enough apart that something has moved
_COUNTS = 0.01  # a smaller change, as a fraction of the error, is none
_FAULTS = {"missing": "not there", "wrong shape": "of wrong shape", "not finite": "not finite"}


def embedding_rows(found: Inspection) -> Iterator[tuple[str, ...]]:
    """Yield for each table, or part of one, its name, its numbers and what they say."""
    from autogaze_ros.evaluation.embeddings import TABLES, examine

    faults = {fate.name: fate.fault for fate in found.fates}
    for label, name in TABLES.items():
        if faults[name]:
            yield label, "", "", "", f"{_FAULTS[faults[name]]}: {name}"
            continue
        for first, rows in _parts(found.tensors[name]):
            seen = examine(rows, first)
            yield (
                label,
                f"rows {first}-{first + len(rows) - 1}",
                f"RMS {seen.rms:.4f}",
                f"correlate {seen.neighbours:+.2f} with neighbours, {seen.others:+.2f} with others",
                f"looks untrained: {seen.untrained}" if seen.untrained else "looks trained",
            )


def _parts(table: Tensor) -> list[tuple[int, Tensor]]:
    """Split off the rows that contexts of the usual length never use: training may not have either."""
    usual = AutoGazeConfig().max_num_frames
    return [(first, rows) for first, rows in ((0, table[:usual]), (usual, table[usual:])) if len(rows)]


def trial(network: VideoMAE, clip: str | None) -> tuple[str, list[list[str]]]:
    """Reconstruct a few frames with and without each table; tell what was tried, and a row for each.

    Raises AutoGazeError where that cannot be.
    """
    import torch

    from autogaze_ros.evaluation.embeddings import TABLES, TOKENS, try_without
    from autogaze_ros.networks.preprocessing import preprocess

    size, most = network.config.image_size, network.config.max_num_frames
    images = (_frames_of(clip) if clip else _frames_of_drive())[:most]
    error, losses = try_without(network, torch.stack([preprocess(image, size) for image in images]))
    told = (
        f"Reconstruction of {len(images)} frames of {clip or 'the synthetic drive'}, {TOKENS} tokens each:"
        f" mean absolute error {error:.4f} (normalised)"
    )
    return told, [
        [
            label,
            "zeroed" if "scale" in TABLES[label] else "in reverse",
            f"error {error * (1 + loss.rise):.4f}",
            _dependence(loss),
        ]
        for label, loss in losses.items()
    ]


def _dependence(loss: Loss) -> str:
    if loss.rise >= _COUNTS:
        return f"reconstruction depends on them: error rises by {loss.rise:.1%}"
    if loss.rise <= -_COUNTS:
        return f"reconstruction is better so: error falls by {-loss.rise:.1%}"
    if loss.moved >= _COUNTS:
        return f"reconstruction differs but is as good: error changes by {abs(loss.rise):.2%}"
    return f"reconstruction does not depend on them: error changes by {abs(loss.rise):.2%}"


def _frames_of(clip: str) -> list[NDArray[np.uint8]]:
    source = open_source(clip).select(Selection(rate=_RATE))
    images = [frame.image for frame in islice(source, _FRAMES)]
    if len(images) < 2:
        raise SourceError(f"{clip} is too short: two frames at {_RATE:g} a second are needed at least")
    return images


def _frames_of_drive() -> list[NDArray[np.uint8]]:
    with needs("numba", "the synthetic drive"):
        from autogaze_ros.synthetic.cameras import BENCH2DRIVE
        from autogaze_ros.synthetic.drive import Drive
        from autogaze_ros.synthetic.traffic import TICK
    drive, images = Drive(0), []
    for _ in range(_FRAMES):
        images.append(drive.render(BENCH2DRIVE[0].sized(400, 224)).image)
        drive.step(round(1 / _RATE / TICK))
    return images
