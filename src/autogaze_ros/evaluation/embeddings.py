"""Tests of a VideoMAE's scale and time embeddings, for `autogaze checkpoint inspect`.

In the original's training all four tables start at zero. A checkpoint that lost them may
hold zeros, noise or other initial values, and still reconstruct, only worse. So the rows
are examined, and a clip is reconstructed without them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.checkpoints.load import Inspection
from autogaze_ros.errors import CheckpointError, SourceError
from autogaze_ros.io.frames import Selection
from autogaze_ros.io.sources import open_source
from autogaze_ros.networks.config import AutoGazeConfig
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.networks.preprocessing import preprocess
from autogaze_ros.networks.video_mae import VideoMAE
from autogaze_ros.selectors.base import Request
from autogaze_ros.selectors.untrained import UniformSelector
from autogaze_ros.tokens import AUTOGAZE_GRID

TABLES = {
    "encoder scales": "vit.embeddings.scale_embed",
    "encoder times": "vit.embeddings.time_embed",
    "decoder scales": "decoder.decoder_scale_embed",
    "decoder times": "decoder.time_embed",
}
TOKENS = 40  # gazed in each frame that is tried
_CHANCE = 6.0  # standard deviations within which a number may be chance


@dataclass(frozen=True)
class Rows:
    """Statistics of a table's rows.

    rms: root mean square of all values.
    neighbours: mean correlation of successive rows, NaN where there are none.
    others: mean correlation of all other pairs, NaN where there are none.
    untrained: description of the values if they look untrained, else empty.
    """

    rms: float
    neighbours: float
    others: float
    untrained: str


def examine(rows: Tensor, first: int = 0) -> Rows:
    """Examine rows (R, C) of a table, beginning with row number `first`."""
    rows = rows.double()
    correlations = _correlations(rows)
    neighbours = correlations.diagonal(1)
    others = correlations[torch.ones_like(correlations).triu(2) > 0]
    return Rows(
        rms=float(rows.square().mean().sqrt()),
        neighbours=float(neighbours.mean()),
        others=float(others.mean()),
        untrained=_untrained(rows, first, torch.cat([neighbours, others])),
    )


def _correlations(rows: Tensor) -> Tensor:
    """Return the correlations of rows (R, C), 0 for a row without variance: (R, R)."""
    return _unit(rows) @ _unit(rows).T


def _unit(rows: Tensor) -> Tensor:
    centered = rows - rows.mean(1, keepdim=True)
    return centered / centered.norm(dim=1, keepdim=True).clamp(min=1e-30)


def _untrained(rows: Tensor, first: int, correlations: Tensor) -> str:
    if not rows.any():
        return "all zero, as initialized"
    if (rows == rows.flatten()[0]).all():
        return "one value everywhere"
    if len(rows) > 1 and (rows == rows[0]).all():
        return "all rows are the same"
    if any(torch.allclose(rows, table, atol=2e-3) for table in _sinusoids(first, *rows.shape)):
        return "the fixed sines and cosines of an initialization"
    if _is_noise(rows, correlations):
        return f"noise of {rows.std():.2g}, rows unrelated"
    return ""


def _sinusoids(first: int, count: int, width: int) -> list[Tensor]:
    """Return the two tables (R, C) of Vaswani et al. 2017: sines and cosines interleaved, or concatenated."""
    positions = torch.arange(first, first + count).double()[:, None]
    angles = positions * 10000.0 ** (-torch.arange(0, width, 2).double() / width)
    table = torch.stack([angles.sin(), angles.cos()], dim=1)  # (R, 2, C / 2)
    return [table.transpose(1, 2).flatten(1)[:, :width], table.flatten(1)[:, :width]]


def _is_noise(rows: Tensor, correlations: Tensor) -> bool:
    """Return True if the rows correlate no more, and differ no more in strength, than random values.

    For C independent values, the correlation of two rows has variance 1 / C, and a row's
    mean square has relative variance 2 / C (normal distribution; others less).
    """
    count, width = rows.shape
    if count < 2:
        return False
    strengths = rows.square().mean(1)
    common = float(correlations.square().mean()) * width
    unequal = float(strengths.var() / strengths.mean() ** 2) * width / 2
    limit_common = 1 + _CHANCE * math.sqrt(2 / len(correlations))
    limit_unequal = 1 + _CHANCE * math.sqrt(2 / (count - 1))
    return common < limit_common and unequal < limit_unequal


@dataclass(frozen=True)
class Loss:
    """Effect of a table on a clip's reconstruction: scale rows are zeroed, time rows reversed.

    rise: increase of the error, as a fraction of the error with the table.
    moved: mean absolute difference to the reconstruction with the table, as a fraction of
        the same.
    """

    rise: float
    moved: float


@torch.inference_mode()
def try_without(network: VideoMAE, frames: Tensor) -> tuple[float, dict[str, Loss]]:
    """Reconstruct frames (T, 3, S, S), normalized, from TOKENS evenly spread cells of each.

    Returns the mean absolute error with all embeddings, normalized units, and the effect of
    each of TABLES, by its name there. Raises CheckpointError where the network has other scales
    than AutoGaze.
    """
    if network.config.grid != AUTOGAZE_GRID:
        raise CheckpointError(f"scales {network.config.scales} are not AutoGaze's")
    clip = (frames, [_gaze()] * len(frames), range(len(frames)))
    whole = network(*clip)
    error = float((whole - frames).abs().mean())
    losses = {}
    for label, name in TABLES.items():
        rows = network.get_parameter(name)
        spoilt = torch.zeros_like(rows) if "scale" in name else _reversed(rows, len(frames))
        found = torch.func.functional_call(network, {name: spoilt}, clip)
        rise = float((found - frames).abs().mean()) / error - 1
        losses[label] = Loss(rise, float((found - whole).abs().mean()) / error)
    return error, losses


def _gaze() -> Tensor:
    selector = UniformSelector(chunk_size=1)
    ratio = ratio_for(TOKENS, AUTOGAZE_GRID.num_tokens)
    ((gaze,),) = selector.select([[Request(selector.open_stream(), None, ratio, 0.0)]])
    return torch.from_numpy(gaze.token_ids.astype("int64"))


def _reversed(rows: Tensor, count: int) -> Tensor:
    """Return rows (R, C) with the first `count` of them reversed."""
    return torch.cat([rows[:count].flip(0), rows[count:]])


_FRAMES, _RATE = 4, 2.0  # frames of a clip, and their rate in Hz: low enough that something has moved
_COUNTS = 0.01  # smallest change that counts, as a fraction of the error
_FAULTS = {"missing": "missing", "wrong shape": "of wrong shape", "not finite": "not finite"}


def embedding_rows(found: Inspection) -> Iterator[tuple[str, ...]]:
    """Yield one row of text per table or part of one: name, statistics, conclusion."""
    faults = {report.name: report.fault for report in found.reports}
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
    """Split off the rows beyond the usual context, which training may not have used."""
    usual = AutoGazeConfig().max_num_frames
    return [(first, rows) for first, rows in ((0, table[:usual]), (usual, table[usual:])) if len(rows)]


def trial(network: VideoMAE, clip: str) -> tuple[str, list[list[str]]]:
    """Reconstruct a few frames with and without each table; return a heading and a row of text per table.

    Raises AutoGazeError where that is not possible.
    """
    size, most = network.config.image_size, network.config.max_num_frames
    images = _frames_of(clip)[:most]
    error, losses = try_without(network, torch.stack([preprocess(image, size) for image in images]))
    heading = (
        f"Reconstruction of {len(images)} frames of {clip}, {TOKENS} tokens each:"
        f" mean absolute error {error:.4f} (normalized)"
    )
    return heading, [
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
        return f"reconstruction is better without them: error falls by {-loss.rise:.1%}"
    if loss.moved >= _COUNTS:
        return f"reconstruction differs but is equally good: error changes by {abs(loss.rise):.2%}"
    return f"reconstruction does not depend on them: error changes by {abs(loss.rise):.2%}"


def _frames_of(clip: str) -> list[NDArray[np.uint8]]:
    source = open_source(clip).select(Selection(rate=_RATE))
    images = [frame.image for frame in islice(source, _FRAMES)]
    if len(images) < 2:
        raise SourceError(f"{clip} is too short: it needs at least two frames at {_RATE:g} Hz")
    return images
