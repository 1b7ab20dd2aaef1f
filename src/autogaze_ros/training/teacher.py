"""The greedy teacher: what a frame's next tokens should be, knowing what is still missing.

A token of some scale shows the residual's low frequencies in its cell: it takes
away what of the residual that scale can tell. The token that takes away most is
the next one. Where frequencies overlap the finer one wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor, at_scale
from autogaze_ros.tokens import TokenGrid


def gains(residual: Tensor, grid: TokenGrid) -> Tensor:
    """What each token alone takes away of a residual (N, 3, S, S): (N, num_tokens), mean over the frame."""
    before, after = error_maps(residual, grid)
    return cell_sums(before[:, None] - after, grid)


def error_maps(residual: Tensor, grid: TokenGrid) -> tuple[Tensor, Tensor]:
    """Errors of a residual (N, 3, S, S) now, (N, M, M), and under tokens of each scale, (N, scales, M, M).

    M is the grid's mask_size. The unit is that of the residual; the sum over a map
    is the frame's mean.
    """
    left = [_errors(residual - at_scale(residual, scale), grid.mask_size) for scale in grid.scales[:-1]]
    before = _errors(residual, grid.mask_size)
    return before, torch.stack([*left, torch.zeros_like(before)], 1)


def _errors(residual: Tensor, cells: int) -> Tensor:
    return F.adaptive_avg_pool2d(residual.abs().mean(1), cells) / cells**2


def cell_sums(maps: Tensor, grid: TokenGrid) -> Tensor:
    """(N, scales, M, M) -> the sum of each token's cell on its scale's map: (N, num_tokens)."""
    parts = []
    for number, size in enumerate(grid.sizes):
        edge = grid.mask_size // size
        parts.append((F.avg_pool2d(maps[:, number], edge) * edge**2).flatten(1))
    return torch.cat(parts, 1)


@dataclass(frozen=True)
class Chunk:
    """A step of a walk through N clips.

    time: the frame's place. taken: (N, n) int64 ids that were taken. wanted, gains,
    left: of as many tokens as a chunk may have, see `continue_frame`. before, after:
    (N, 3, S, S), the reconstruction without these tokens and with them.
    """

    time: int
    taken: Tensor
    wanted: Tensor
    gains: Tensor
    left: Tensor
    before: Tensor
    after: Tensor


class GreedyTeacher:
    """Chooses tokens for a reconstructor, which tells what is missing.

    The reconstructor looks before each frame and after every chunk of `chunk`
    tokens; within a chunk its answer is taken to change by the tokens alone.
    """

    def __init__(self, reconstructor: CanvasReconstructor, chunk: int = 10) -> None:
        self.reconstructor, self.chunk, self.grid = reconstructor, chunk, reconstructor.grid
        self.device = next(reconstructor.parameters()).device
        tokens = np.arange(self.grid.num_tokens)
        self._scale = torch.from_numpy(self.grid.locate(tokens)[0]).to(self.device)
        self._cells = torch.from_numpy(np.stack([self.grid.mask([token]) > 0 for token in tokens])).to(
            self.device
        )

    def gaze(self, frames: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Choose `counts` tokens in each of T frames (N, T, 3, S, S): T times (N, count) int64, in order."""
        chunks = list(self.walk(frames, counts))
        return [
            torch.cat([chunk.taken for chunk in chunks if chunk.time == time], 1)
            for time in range(len(counts))
        ]

    @torch.inference_mode()
    def walk(
        self, frames: Tensor, counts: Sequence[int], gazes: Sequence[Tensor] | None = None
    ) -> Iterator[Chunk]:
        """Go through T frames (N, T, 3, S, S) chunk by chunk, with `counts` tokens of each.

        gazes: T times (N, count), another's tokens, which are taken instead of the
        teacher's; the teacher says at each chunk how it would go on from there.
        """
        frames = frames.to(self.device)
        canvas = Canvas.blank(len(frames), self.grid, self.device)
        picture = canvas.sharp
        for time, count in enumerate(counts):
            frame, before = frames[:, time], canvas
            chosen = torch.zeros(len(frames), self.grid.num_tokens, dtype=torch.bool, device=self.device)
            for begin in range(0, count, self.chunk):
                size = min(self.chunk, count - begin)
                found = self.continue_frame(frame - picture, chosen, self.chunk)
                taken = found[0][:, :size] if gazes is None else gazes[time][:, begin : begin + size]
                chosen = chosen.scatter(1, taken, True)
                canvas = before.show(frame, chosen, self.grid)
                missing, picture = picture, self.reconstruct(canvas)
                yield Chunk(time, taken, *found, missing, picture)

    def reconstruct(self, canvas: Canvas) -> Tensor:
        """The reconstructor's frames (N, 3, S, S) for canvases."""
        with torch.autocast(self.device.type, torch.bfloat16):
            picture: Tensor = self.reconstructor(canvas)
        return picture

    def continue_frame(self, residual: Tensor, chosen: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the next `steps` tokens of frames.

        residual: (N, 3, S, S), frame less reconstruction. chosen: (N, num_tokens) bool,
        what this frame has, never chosen again. Returns ids (N, steps), the gains of
        all tokens before each step (N, steps, num_tokens), -1 for those chosen, and the
        error left (N, steps + 1), before each step and at the end.
        """
        error, under = error_maps(residual, self.grid)
        finest = self._finest(chosen)
        levels = torch.arange(len(self.grid.sizes), device=self.device)[None, :, None, None]
        ids, gained, left = [], [], [error.sum((1, 2))]
        for _ in range(steps):
            useful = finest[:, None] < levels
            gain = cell_sums(torch.where(useful, error[:, None] - under, 0), self.grid)
            gain = gain.masked_fill(chosen, -1.0)
            token = gain.argmax(1)
            scale = self._scale[token]
            rows = torch.arange(len(token), device=self.device)
            cell = self._cells[token] & (finest < scale[:, None, None])
            error = torch.where(cell, under[rows, scale], error)
            finest = torch.where(cell, scale[:, None, None], finest)
            chosen = chosen.scatter(1, token[:, None], True)
            ids.append(token)
            gained.append(gain)
            left.append(error.sum((1, 2)))
        return torch.stack(ids, 1), torch.stack(gained, 1), torch.stack(left, 1)

    def _finest(self, chosen: Tensor) -> Tensor:
        """The finest scale that covers each cell, -1 where none does: (N, M, M)."""
        levels = torch.where(chosen, self._scale + 1, 0)
        return (levels[:, :, None, None] * self._cells).amax(1) - 1
