"""The greedy teacher, which takes the tokens that remove most of the residual, and its labels.

Shapes: N contexts of T frames, C steps of at most K tokens each (the tokens of one
network call), M the grid's mask_size.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from autogaze_ros.evaluation.metrics import ReconstructionLoss
from autogaze_ros.networks.canvas import Canvas
from autogaze_ros.networks.residual import ResidualMaps, cell_sums, scale_weights, token_cells
from autogaze_ros.tokens import AUTOGAZE_GRID, TokenGrid

TAKEN = -1.0  # gain of a token that was chosen before; less than any real gain


@dataclass(frozen=True)
class Step:
    """One step of a rollout.

    time: index of the frame, 0..T-1.
    taken: (N, n) int64, ids that were taken, n at most K.
    gains: (N, K, num_tokens), see `GreedyTeacher.extend`.
    left: (N, K + 1), see `GreedyTeacher.extend`.
    canvas: the canvas before the frame.
    chosen: (N, num_tokens) bool, tokens of the frame before this step.
    then: (N, num_tokens) bool, tokens of the frame after it.
    """

    time: int
    taken: Tensor
    gains: Tensor
    left: Tensor
    canvas: Canvas
    chosen: Tensor
    then: Tensor


class GreedyTeacher:
    """Chooses the tokens that lower the residual most, given the canvas and the frame's tokens so far."""

    def __init__(
        self, grid: TokenGrid = AUTOGAZE_GRID, device: torch.device | str = "cpu", step_size: int = 10
    ) -> None:
        self.grid, self.device, self.step_size = grid, torch.device(device), step_size
        tokens = np.arange(grid.num_tokens)
        self._scale = torch.from_numpy(grid.locate(tokens)[0]).to(device)
        self._cells = torch.from_numpy(token_cells(grid)).to(device)
        self._weights = torch.from_numpy(scale_weights(grid)).to(device)

    def gaze(self, frames: Tensor, counts: Sequence[int], importance: Tensor | None = None) -> list[Tensor]:
        """Choose `counts` tokens in each of T frames (N, T, 3, S, S): T tensors (N, count) int64.

        importance: (N, T, M, M), by default 1 everywhere.
        """
        steps = list(self.rollout(frames, counts, importance=importance))
        none = torch.empty(len(frames), 0, dtype=torch.int64, device=self.device)
        return [
            torch.cat([none, *(step.taken for step in steps if step.time == time)], 1)
            for time in range(len(counts))
        ]

    @torch.no_grad()
    def rollout(
        self,
        frames: Tensor,
        counts: Sequence[int],
        gazes: Sequence[Tensor] | None = None,
        importance: Tensor | None = None,
    ) -> Iterator[Step]:
        """Yield the steps of T frames (N, T, 3, S, S), with `counts` tokens in each frame.

        gazes: T tensors (N, count) of tokens to take instead of the teacher's; the gains
            are then the teacher's opinion before each of them.
        importance: as for `gaze`.
        """
        frames = frames.to(self.device)
        canvas = Canvas.blank(len(frames), self.grid, self.device)
        for time, count in enumerate(counts):
            frame = frames[:, time]
            matters = None if importance is None else importance[:, time].to(self.device)
            maps = ResidualMaps.of(frame, canvas.sharp, canvas.age, self.grid, matters)
            chosen = torch.zeros(len(frames), self.grid.num_tokens, dtype=torch.bool, device=self.device)
            for begin in range(0, count, self.step_size):
                size = min(self.step_size, count - begin)
                others = None if gazes is None else gazes[time][:, begin : begin + size]
                ids, gained, left = self.extend(maps, chosen, self.step_size, others)
                taken = ids[:, :size]
                then = chosen.scatter(1, taken, True)
                yield Step(time, taken, gained, left, canvas, chosen, then)
                chosen = then
            canvas = canvas.show(frame, chosen, self.grid)

    def extend(
        self, maps: ResidualMaps, chosen: Tensor, count: int, others: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the next `count` tokens of N frames.

        chosen: (N, num_tokens) bool, tokens of the frames so far, which are not chosen again.
        others: (N, n), tokens to take first instead of the teacher's.

        Returns ids (N, count), the gains of all tokens before each of them (N, count,
        num_tokens), TAKEN for those chosen, and the error left (N, count + 1) before each
        and at the end.
        """
        finest = self._finest(chosen)
        known = maps.under.gather(1, finest.clamp(min=0)[:, None])[:, 0]
        error = torch.where(finest < 0, maps.now, known)
        levels = torch.arange(len(self.grid.sizes), device=self.device)[:, None]
        rows = torch.arange(len(error), device=self.device)
        ids, gained, left = [], [], [error.sum(1)]
        for n in range(count):
            useful = finest[:, None] < levels
            gain = cell_sums(torch.where(useful, error[:, None] - maps.under, 0), self.grid)
            gain = (gain * self._weights).masked_fill(chosen, TAKEN)
            token = gain.argmax(1) if others is None or n >= others.shape[1] else others[:, n]
            scale = self._scale[token]
            cell = self._cells[token] & (finest < scale[:, None])
            error = torch.where(cell, maps.under[rows, scale], error)
            finest = torch.where(cell, scale[:, None], finest)
            chosen = chosen.scatter(1, token[:, None], True)
            ids.append(token)
            gained.append(gain)
            left.append(error.sum(1))
        return torch.stack(ids, 1), torch.stack(gained, 1), torch.stack(left, 1)

    def _finest(self, chosen: Tensor) -> Tensor:
        """Return the finest scale that covers each map cell, -1 for none: (N, M * M)."""
        levels = torch.where(chosen, self._scale + 1, 0)
        return (levels[:, :, None] * self._cells).amax(1) - 1


FADING = 4.0  # frames after which freshness has fallen to 1/e


@dataclass(frozen=True)
class Labels:
    """Labels of N contexts.

    counts: tokens of each of the T frames.
    taken: (N, sum of counts) int64, ids in order.
    gains: (N, C, K, num_tokens), the gain of every token before each of a step's K
        choices: first those that were taken, then the teacher's; TAKEN for those chosen before.
    losses: (N, C, K), the reconstruction loss after 0..K-1 more tokens, NaN where it was
        not computed.
    known: (N, T, 2, M, M), freshness and fineness of the canvas before each frame, 0..1,
        0 where nothing is known.
    importance: (N, T, M, M), 1 where nothing matters more than the rest.
    """

    counts: Sequence[int]
    taken: Tensor
    gains: Tensor
    losses: Tensor
    known: Tensor
    importance: Tensor


def label(
    frames: Tensor,
    counts: Sequence[int],
    teacher: GreedyTeacher,
    gazes: Sequence[Tensor] | None = None,
    scored: tuple[ReconstructionLoss, Container[int], int] | None = None,
    importance: Tensor | None = None,
) -> Labels:
    """Label normalized contexts (N, T, 3, S, S) along the teacher's gazes or given ones.

    gazes: as for `GreedyTeacher.rollout`.
    scored: the loss to compute, the numbers of the steps and the number of contexts to
        compute it for; reconstructing everything would take longer than the rest.
    importance: as for `GreedyTeacher.gaze`.
    """
    steps: list[Step] = []
    known, losses = [], []
    for number, step in enumerate(teacher.rollout(frames, counts, gazes, importance)):
        if not steps or steps[-1].time != step.time:
            known.append(_known(step.canvas, len(teacher.grid.scales)))
        steps.append(step)
        loss = torch.full(step.gains.shape[:2], torch.nan, device=step.gains.device)
        if scored is not None and number in scored[1]:
            loss_of, _, count = scored
            loss[:count] = _losses(step, frames[:, step.time], loss_of, teacher.grid, count)
        losses.append(loss)
    seen = torch.stack(known, 1)
    return Labels(
        counts,
        torch.cat([step.taken for step in steps], 1),
        torch.stack([step.gains for step in steps], 1),
        torch.stack(losses, 1),
        seen,
        torch.ones_like(seen[:, :, 0]) if importance is None else importance.to(seen.device),
    )


def greedy_gazes(
    frames: Tensor, counts: Sequence[int], teacher: GreedyTeacher, loss_of: ReconstructionLoss
) -> Iterator[tuple[list[int], list[float]]]:
    """Yield the teacher's token ids in each frame of a context, and the reconstruction losses on the way.

    frames: (T, 3, S, S) normalized.
    counts: tokens of each frame.

    The losses are those before the frame's first step and after each step.
    """
    frames = frames[None].to(teacher.device)
    for time, steps in groupby(teacher.rollout(frames, counts), lambda step: step.time):
        ids: list[int] = []
        losses: list[float] = []
        for step in steps:
            for chosen in (step.then,) if losses else (step.chosen, step.then):
                canvas = step.canvas.show(frames[:, time], chosen, teacher.grid)
                losses.append(float(loss_of(canvas, frames[:, time])))
            ids += step.taken[0].tolist()
        yield ids, losses


def _known(canvas: Canvas, scales: int) -> Tensor:
    """Return `Labels.known` for one frame: (N, 2, M, M)."""
    fresh = torch.where(canvas.level > 0, ((canvas.age + 1) / -FADING).exp(), 0.0)
    return torch.stack([fresh, canvas.level / scales], 1)


def _losses(step: Step, frame: Tensor, loss_of: ReconstructionLoss, grid: TokenGrid, count: int) -> Tensor:
    """Return the loss after 0..K-1 tokens of a step, for its first contexts: (count, K).

    It is computed before and after the step, and interpolated in proportion to the
    teacher's error in between.
    """
    frame, canvas = frame[:count], Canvas(*(part[:count] for part in vars(step.canvas).values()))
    begin, end = (
        loss_of(canvas.show(frame, chosen[:count], grid), frame) for chosen in (step.chosen, step.then)
    )
    left, taken = step.left[:count], step.taken.shape[1]
    fallen = (left[:, :-1] - left[:, taken, None]) / (left[:, 0] - left[:, taken]).clamp(min=1e-4)[:, None]
    return (end[:, None] + (begin - end)[:, None] * fallen.clamp(-1, 1)).clamp(min=0)
