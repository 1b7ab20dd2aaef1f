"""Residuals: the content that a gaze leaves unseen, and the tokens that remove most of it.

A canvas holds what the gazes so far have shown. A token of some scale shows the low
frequencies of the residual in its cell, and so removes what its scale can represent.
The next token is the one that removes most. Where cells overlap, the finer scale
counts. Errors weigh less where contrast is high, which masks them, more where the
canvas is old, and in proportion to the importance of a place.

Shapes: N batch, S edge of a frame, M the grid's mask_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.networks.canvas import at_scale
from autogaze_ros.tokens import TokenGrid

# Contrast that halves an error's weight, normalized units. Without contrast masking L1 is the same and LPIPS
# at 60, then 10 tokens is 2 % higher. The weight of age lowers L1 by 1 % and LPIPS at 10 tokens by 2 %.
_MASKED = 0.3
# Factor of the gains of finer scales, whose sharpness mean differences barely measure. For greedy gazes 1.65
# lowered LPIPS at 60, then 10 tokens by 7 % and raised L1 by 3 %.
_SHARPER = 1.6
_FINER = 2  # index of the first finer scale


def gains(residual: Tensor, grid: TokenGrid) -> Tensor:
    """Return the mean error that each token alone removes from residuals (N, 3, S, S): (N, num_tokens)."""
    maps = error_maps(residual, _low_frequencies(residual, grid), grid)
    return cell_sums(maps[:, :1] - maps[:, 1:], grid)


def _low_frequencies(residual: Tensor, grid: TokenGrid) -> list[Tensor]:
    """Return what tokens of each scale but the finest would show of residuals (N, 3, S, S), each alike."""
    return [at_scale(residual, scale) for scale in grid.scales[:-1]]


def error_maps(residual: Tensor, low: Sequence[Tensor], grid: TokenGrid) -> Tensor:
    """Return the errors of residuals (N, 3, S, S), now and under tokens of each scale.

    low: `_low_frequencies` of the residuals.

    Returns (N, 1 + scales, M, M) in the unit of the residual to the power of 1.25; a map sums to
    the frame's mean.
    """
    left = torch.abs(residual)  # one buffer for all scales stays in a processor's cache
    means = [left.mean(1)]
    for shown in low:
        torch.sub(residual, shown, out=left)
        means.append(left.abs_().mean(1))
    mean = torch.stack(means, 1)
    # To the power of 1.25 a large difference counts more than several small ones: for greedy gazes at
    # held-out clips it lowers LPIPS by 1 to 2 % and leaves L1 unchanged. Two square roots are many times
    # faster than a power.
    error = F.adaptive_avg_pool2d(mean.sqrt().sqrt_().mul_(mean), grid.mask_size) / grid.mask_size**2
    return F.pad(error, (0, 0, 0, 0, 0, 1))  # the finest scale leaves nothing


def cell_sums(maps: Tensor, grid: TokenGrid) -> Tensor:
    """Sum maps (N, scales, M, M) over each token's cell, on the map of its scale: (N, num_tokens)."""
    return maps.flatten(1) @ _membership(grid, maps.device)


@lru_cache
def _membership(grid: TokenGrid, device: torch.device) -> Tensor:
    """Return the membership of map cells in tokens: (scales * M * M, num_tokens), 0 or 1.

    On a GPU one product with this matrix is many times faster than sums scale by scale.
    """
    tokens = np.arange(grid.num_tokens)
    found = np.zeros((len(grid.scales), grid.mask_size**2, grid.num_tokens), np.float32)
    found[grid.locate(tokens)[0], :, tokens] = token_cells(grid)
    return torch.from_numpy(found).flatten(0, 1).to(device)


def token_cells(grid: TokenGrid) -> NDArray[np.bool_]:
    """Return the mask of each token's cell: (num_tokens, M * M)."""
    return np.stack([grid.mask([token]).ravel() > 0 for token in range(grid.num_tokens)])


def scale_weights(grid: TokenGrid) -> NDArray[np.float32]:
    """Return the factor of each token's gain, by its scale: (num_tokens,)."""
    scale = grid.locate(np.arange(grid.num_tokens))[0]
    return np.where(scale < _FINER, 1.0, _SHARPER).astype(np.float32)


@dataclass(frozen=True)
class ResidualMaps:
    """Weighted errors of N frames that a canvas leaves, on maps of M * M cells.

    now: (N, M * M), errors of the canvas as it is.
    under: (N, scales, M * M), errors that would remain under a token of each scale.
    low: for each scale but the finest (N, 3, S, S), what its tokens would show of the residual.
    """

    now: Tensor
    under: Tensor
    low: list[Tensor]

    @staticmethod
    def of(
        frame: Tensor, sharp: Tensor, age: Tensor, grid: TokenGrid, importance: Tensor | None = None
    ) -> ResidualMaps:
        """Compare frames (N, 3, S, S) with canvases; see `networks.canvas.Canvas`.

        sharp: (N, 3, S, S).
        age: (N, M, M).
        importance: (N, M, M), by default 1 everywhere.
        """
        masking = 1 / (1 + _contrast(frame, grid.mask_size) / _MASKED)
        weight = masking * masking.sqrt().sqrt() * (1 + age)
        weight = weight / weight.mean((1, 2), keepdim=True)
        if importance is not None:
            weight = weight * importance
        residual = frame - sharp
        low = _low_frequencies(residual, grid)
        maps = (error_maps(residual, low, grid) * weight[:, None]).flatten(2)
        return ResidualMaps(maps[:, 0], maps[:, 1:], low)


def _contrast(frame: Tensor, cells: int) -> Tensor:
    """Return the standard deviation of colours around each map cell, over 3x3 cells: (N, M, M)."""
    mean, square = (
        F.avg_pool2d(F.adaptive_avg_pool2d(x, cells), 3, 1, 1, count_include_pad=False)
        for x in (frame, frame**2)
    )
    return (square - mean**2).clamp(min=0).mean(1).sqrt()
