"""Greedy choice of tokens by residual, fast: see `networks.residual` for what is computed.

All frames of a step share the passes over pixels; tokens are then chosen camera by
camera on small preallocated maps. Gazes do not depend on the batch, on a GPU except for
the last bits of the maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogaze_ros.engines.base import Context, not_finite
from autogaze_ros.networks.canvas import Canvas, at_scale
from autogaze_ros.networks.importance import ImportanceNetwork
from autogaze_ros.networks.residual import ResidualMaps, scale_weights
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze, TokenGrid

_EDGE = AUTOGAZE_GRID.mask_size


class ResidualStream(Context):
    """One camera's history within its context.

    sharp, age: the content that its frames have shown, see `networks.canvas.Canvas`.
    """

    def __init__(self, chunk_size: int, blank: Canvas) -> None:
        self._blank = blank
        super().__init__(chunk_size)

    def restart(self) -> None:
        """Forget everything: the next frame is the first of a context."""
        super().restart()
        self.sharp, self.age = self._blank.sharp, self._blank.age

    def save(self) -> Any:
        """Return the state that `restore` needs."""
        return self.index, self.sharp, self.age

    def restore(self, saved: Any) -> None:
        """Undo the frames since `save`."""
        self.index, self.sharp, self.age = saved


@dataclass(frozen=True)
class NextFrame:
    """The next frame of a stream.

    pixels: (3, 224, 224) normalized.
    budget: largest number of tokens.
    requirement: error at which choosing stops.
    """

    stream: ResidualStream
    pixels: Tensor
    budget: int
    requirement: float


class ResidualEngine:
    """Chooses greedily the tokens that remove most of the weighted residual.

    importance: network of the importance map; None for 1 everywhere. It is moved to the device
        in place.
    """

    def __init__(
        self,
        importance: ImportanceNetwork | None,
        *,
        chunk_size: int = 16,
        device: torch.device | str = "cpu",
    ) -> None:
        self.chunk_size, self.device = chunk_size, torch.device(device)
        self._importance = None
        if importance is not None:
            network = importance.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._importance = network.eval().requires_grad_(False)
        self._blank = Canvas.blank(1, AUTOGAZE_GRID, self.device)

    def open_stream(self) -> ResidualStream:
        """Return a stream that has seen nothing."""
        return ResidualStream(self.chunk_size, self._blank)

    @torch.inference_mode()
    def gaze(self, frames: Sequence[NextFrame]) -> list[Gaze]:
        """Choose the tokens of the next frame of each stream.

        Raises CheckpointError if the network computes NaN, when streams must be restored, and
        ValueError for a stream that is named twice.
        """
        streams = [one.stream for one in frames]
        if len(set(map(id, streams))) < len(streams):
            raise ValueError("one frame of a stream at most")
        for stream in streams:
            stream.advance()
        frame = torch.stack([one.pixels.to(self.device) for one in frames])
        sharp, age = (torch.cat([getattr(one, name) for one in streams]) for name in ("sharp", "age"))
        importance = self._importance_of(frame)
        maps = ResidualMaps.of(frame, sharp, age, AUTOGAZE_GRID, importance)
        numbers = torch.cat([maps.now[:, None], maps.under], 1).cpu().numpy()
        if not np.isfinite(numbers).all():
            raise not_finite("the importance map", maps.now.dtype)
        gazes = [choose(own, one.budget, one.requirement) for own, one in zip(numbers, frames, strict=True)]
        _show(sharp, frame, maps.low, [gaze.token_ids for gaze in gazes])
        age += 1
        for number, (stream, gaze) in enumerate(zip(streams, gazes, strict=True)):
            age[number, torch.from_numpy(AUTOGAZE_GRID.mask(gaze.token_ids) > 0)] = 0
            stream.sharp, stream.age = sharp[number : number + 1], age[number : number + 1]
        return gazes

    def _importance_of(self, frames: Tensor) -> Tensor | None:
        """Return the importance (N, M, M) of frames, one by one: convolutions round by batch size."""
        if self._importance is None:
            return None
        return torch.cat([self._importance.importance(frame[None]) for frame in frames])


def _show(sharp: Tensor, frames: Tensor, low: Sequence[Tensor], gazes: Sequence[NDArray[np.uint16]]) -> None:
    """Add to canvases (N, 3, S, S) in place what gazes show of frames, as `Canvas.show` does.

    low: as in `ResidualMaps`.
    """
    grid, changed = AUTOGAZE_GRID, False
    for scale, (begin, end) in enumerate(pairwise(grid.offsets)):
        cells = [
            (row, _CELLS[token][2]) for row, ids in enumerate(gazes) for token in ids if begin <= token < end
        ]
        if cells:
            known = scale < len(low) and not changed
            shown = low[scale] if known else at_scale(frames - sharp, grid.scales[scale])
            changed = True
            for row, (down, across) in cells:
                sharp[row, :, down, across] += shown[row, :, down, across]


_ALL = (slice(None),)  # of the scales
_LEVELS = np.arange(len(AUTOGAZE_GRID.sizes))[:, None, None]


def _cells(grid: TokenGrid) -> list[tuple[int, Any, Any]]:
    """Return the scale of each token, and the slices of its cell on a map and on a frame."""
    found = []
    located = (part.tolist() for part in grid.locate(np.arange(grid.num_tokens)))
    for scale, row, column in zip(*located, strict=True):
        edges = grid.mask_size // grid.sizes[scale], grid.scales[-1] // grid.sizes[scale]
        boxes = [np.s_[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge] for edge in edges]
        found.append((scale, *boxes))
    return found


_CELLS = _cells(AUTOGAZE_GRID)
_WEIGHTS = scale_weights(AUTOGAZE_GRID)


def choose(maps: NDArray[np.float32], budget: int, requirement: float) -> Gaze:
    """Choose tokens until the budget is used up or the error left is at most the requirement.

    This is `training.teacher.GreedyTeacher.extend` for one frame, without its tensors of all gains.

    maps: (1 + scales, M * M), the error now and under each scale.
    """
    maps = maps.reshape(-1, _EDGE, _EDGE)
    error, under = maps[0].copy(), maps[1:]
    saved = error - under  # what a token of each scale would remove from each cell
    finest = np.full((_EDGE, _EDGE), -1)
    gains = np.empty(AUTOGAZE_GRID.num_tokens, np.float32)
    taken = np.zeros(AUTOGAZE_GRID.num_tokens, bool)
    ids: list[int] = []
    left = float(error.sum())
    for _ in range(budget):
        if ids and left <= requirement:
            break
        _sum_cells(saved, gains)
        gains *= _WEIGHTS
        gains[taken] = -np.inf
        token = int(gains.argmax())
        taken[token] = True
        ids.append(token)
        scale, cell, _ = _CELLS[token]
        new = finest[cell] < scale
        error[cell] = np.where(new, under[scale][cell], error[cell])
        finest[cell] = np.maximum(finest[cell], scale)
        saved[_ALL + cell] = np.where(finest[cell] < _LEVELS, error[cell] - under[_ALL + cell], 0)
        left = float(error.sum())
    return Gaze(np.array(ids, dtype=np.uint16), left)


def _sum_cells(maps: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Sum maps (scales, M, M) over each token's cell, on the map of its scale: (num_tokens,)."""
    for scale, size in enumerate(AUTOGAZE_GRID.sizes):
        edge = _EDGE // size
        begin, end = AUTOGAZE_GRID.offsets[scale : scale + 2]
        rows = np.add.reduceat(maps[scale], np.arange(0, _EDGE, edge), axis=0)
        out[begin:end] = np.add.reduceat(rows, np.arange(0, _EDGE, edge), axis=1).ravel()
