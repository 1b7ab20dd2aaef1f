"""Gazing at other resolutions: a larger frame is split into tiles, which are gazed at separately.

This serves encoders with other scales and patch sizes than AutoGaze's (448 pixels with
patches of 16, 392 with patches of 14, …).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.networks.preprocessing import resize_square
from autogaze_ros.tokens import Gaze, TokenGrid


def gaze_tiles(
    engine: AutoGazeEngine,
    frames: Tensor,
    grid: TokenGrid,
    *,
    gazing_ratio: float | Sequence[float] = 1.0,
    task_loss_requirement: float | Sequence[float] = -math.inf,
) -> list[Gaze]:
    """Gaze at a clip for an encoder that takes the tokens of `grid`.

    frames: (T, 3, S, S) normalized, S the grid's largest scale, T at most the engine's
        chunk_size.
    gazing_ratio, task_loss_requirement: as for `Clip`, applied to each tile.

    Returns one Gaze per frame, with ids in ascending order (tiles have no common gaze
    order). Raises ValueError for other shapes, or a grid with another number of scales.
    """
    native, size = engine.config.grid, grid.scales[-1]
    if frames.shape[1:] != (3, size, size):
        raise ValueError(f"frames must be (T, 3, {size}, {size}), got {tuple(frames.shape)}")
    if len(grid.scales) != len(native.scales):
        raise ValueError(f"the grid must have {len(native.scales)} scales, got {len(grid.scales)}")
    edge = native.sizes[-1] * grid.patch_size
    count = math.ceil(size / edge)
    margin = count * edge - size
    padded = F.pad(frames, (0, margin, 0, margin))
    clips = [
        Clip(
            engine.open_stream(),
            resize_square(padded[:, :, y : y + edge, x : x + edge], engine.config.input_img_size),
            gazing_ratio,
            task_loss_requirement,
        )
        for y in range(0, count * edge, edge)
        for x in range(0, count * edge, edge)
    ]
    return [_stitch(native, grid, count, tiles) for tiles in zip(*engine.gaze(clips), strict=True)]


def _stitch(native: TokenGrid, grid: TokenGrid, count: int, tiles: Sequence[Gaze]) -> Gaze:
    maps = []
    for tile_cells, size in zip(
        zip(*(native.cells(g.token_ids) for g in tiles), strict=True), grid.sizes, strict=True
    ):
        rows = [np.hstack(tile_cells[row * count : (row + 1) * count]) for row in range(count)]
        maps.append(np.vstack(rows)[:size, :size].ravel())
    return Gaze(np.flatnonzero(np.concatenate(maps)).astype(np.uint16))
