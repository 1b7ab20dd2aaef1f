"""Tests of a VideoMAE's scale and time embeddings: do they look trained, and does reconstruction need them?

Both tables of encoder and decoder begin at zero in the original's training. A
checkpoint that lost them on its way may hold zeros, noise or other initial
values, and reconstruct all the same, only worse. So the rows are looked at, and
the network is tried on a clip without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.decoding import ratio_for
from autogaze_ros.networks.video_mae import VideoMAE
from autogaze_ros.selectors.base import Request
from autogaze_ros.selectors.blind import UniformSelector
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

    rms: of all values. neighbours: mean correlation of successive rows; others: of
    all other pairs; NaN where there are none. untrained: what they are if they look
    as no training leaves them, else empty.
    """

    rms: float
    neighbours: float
    others: float
    untrained: str


def examine(rows: Tensor, first: int = 0) -> Rows:
    """Look at rows (R, C) of a table, the first of which has this number in it."""
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
    """(R, C) -> (R, R), 0 for a row without variance."""
    return _unit(rows) @ _unit(rows).T


def _unit(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-30)


def _untrained(rows: Tensor, first: int, correlations: Tensor) -> str:
    if not rows.any():
        return "all zero, as they begin"
    if (rows == rows.flatten()[0]).all():
        return "one value everywhere"
    if len(rows) > 1 and (rows == rows[0]).all():
        return "all rows are the same"
    if any(torch.allclose(rows, waves, atol=2e-3) for waves in _sinusoids(first, *rows.shape)):
        return "the fixed sines and cosines of an initialisation"
    if _is_noise(rows, correlations):
        return f"noise of {rows.std():.2g}, rows unrelated"
    return ""


def _sinusoids(first: int, count: int, width: int) -> list[Tensor]:
    """Return the tables (R, C) of Vaswani et al. 2017, sines and cosines in turn or one after the other."""
    place = torch.arange(first, first + count).double()[:, None]
    angles = place * 10000.0 ** (-torch.arange(0, width, 2).double() / width)
    waves = torch.stack([angles.sin(), angles.cos()], dim=1)  # (R, 2, C / 2)
    return [waves.transpose(1, 2).flatten(1)[:, :width], waves.flatten(1)[:, :width]]


def _is_noise(rows: Tensor, correlations: Tensor) -> bool:
    """Tell whether independent random values would correlate as little, in rows of so equal a strength.

    Of C such values, the correlation of two rows has variance 1 / C and a row's mean
    square the relative variance 2 / C (normal ones; others less).
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
    """Loss of a clip's reconstruction without a table: its scale rows zero, its time rows in reverse order.

    rise: of the error, as a fraction of the error with the table. moved: mean
    absolute difference to the reconstruction with it, as a fraction of the same.
    """

    rise: float
    moved: float


@torch.inference_mode()
def try_without(network: VideoMAE, frames: Tensor) -> tuple[float, dict[str, Loss]]:
    """Reconstruct frames (T, 3, S, S), normalised, from TOKENS evenly spread cells of each.

    Returns the mean absolute error with all embeddings, normalised units, and what
    is lost without each of TABLES, by its name there. Raises CheckpointError where the
    network has other scales than AutoGaze.
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
    (gaze,) = selector.select([Request(selector.open_stream(), None, ratio, 0.0)])
    return torch.from_numpy(gaze.token_ids.astype("int64"))


def _reversed(rows: Tensor, count: int) -> Tensor:
    """(R, C) -> the same with its first rows in reverse order."""
    return torch.cat([rows[:count].flip(0), rows[count:]])
