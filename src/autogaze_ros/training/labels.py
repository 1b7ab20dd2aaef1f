"""Gaze labels: what the greedy teacher says at every chunk of contexts, whoever gazes at them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from autogaze_ros.evaluation.metrics import LPIPS_WEIGHT
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.reconstructor import perceptual
from autogaze_ros.training.teacher import Chunk, GreedyTeacher

FADING = 4.0  # frames in which freshness falls to 1/e


@dataclass(frozen=True)
class Labels:
    """N contexts of T frames, with C chunks of at most K tokens together.

    counts: tokens of each frame. taken: (N, sum of counts) int64 ids as they stand in
    the context. gains: (N, C, K, num_tokens) of every token before each of a chunk's K
    choices, those that were taken and then the teacher's; TAKEN for those chosen before.
    losses: (N, C, K), the reconstruction's loss after 0..K-1 more tokens, NaN where none
    was made. known: (N, T, 2, M, M), what the canvas knows at each frame's beginning: how
    fresh each place is, and how fine; 0..1, 0 for nothing.
    """

    counts: Sequence[int]
    taken: Tensor
    gains: Tensor
    losses: Tensor
    known: Tensor


class Critic:
    """Says how far reconstructions are from frames: L1 in normalised units plus so many times LPIPS."""

    def __init__(self, reconstructor: CanvasReconstructor, lpips_weight: float = LPIPS_WEIGHT) -> None:
        self._reconstructor, self._lpips_weight = reconstructor, lpips_weight
        self._distance: Callable[[Tensor, Tensor], Tensor] = perceptual()

    @torch.no_grad()
    def __call__(self, canvas: Canvas, frame: Tensor) -> Tensor:
        """Reconstruct from a canvas of N frames (N, 3, S, S), and compare: (N,)."""
        with torch.autocast(frame.device.type, torch.bfloat16):
            picture = self._reconstructor(canvas)
            perceived = self._distance(picture, frame).float()
        return (picture - frame).abs().mean((1, 2, 3)) + self._lpips_weight * perceived


def label(
    frames: Tensor,
    counts: Sequence[int],
    teacher: GreedyTeacher,
    gazes: Sequence[Tensor] | None = None,
    judged: tuple[Critic, Container[int], int] | None = None,
) -> Labels:
    """Label normalised contexts (N, T, 3, S, S) along the teacher's gazes, or another's.

    gazes: as for `GreedyTeacher.walk`. judged: who judges, which chunks, and of how many
    contexts: reconstructing everything would take longer than all the rest.
    """
    chunks: list[Chunk] = []
    known, losses = [], []
    for number, chunk in enumerate(teacher.walk(frames, counts, gazes)):
        if not chunks or chunks[-1].time != chunk.time:
            known.append(_known(chunk.canvas, len(teacher.grid.scales)))
        chunks.append(chunk)
        loss = torch.full(chunk.gains.shape[:2], torch.nan, device=chunk.gains.device)
        if judged is not None and number in judged[1]:
            critic, _, count = judged
            loss[:count] = _losses(chunk, frames[:, chunk.time], critic, teacher.grid, count)
        losses.append(loss)
    return Labels(
        counts,
        torch.cat([chunk.taken for chunk in chunks], 1),
        torch.stack([chunk.gains for chunk in chunks], 1),
        torch.stack(losses, 1),
        torch.stack(known, 1),
    )


def greedy_gazes(
    frames: Tensor, counts: Sequence[int], teacher: GreedyTeacher, critic: Critic
) -> Iterator[tuple[list[int], list[float]]]:
    """Return what the teacher chooses in a context (T, 3, S, S), normalised, and what is lost on the way.

    Yields of each frame its `counts` token ids, in order, and the loss before its first
    chunk and after each.
    """
    frames = frames[None].to(teacher.device)
    for time, chunks in groupby(teacher.walk(frames, counts), lambda chunk: chunk.time):
        ids: list[int] = []
        losses: list[float] = []
        for chunk in chunks:
            for chosen in (chunk.then,) if losses else (chunk.chosen, chunk.then):
                losses.append(
                    float(critic(chunk.canvas.show(frames[:, time], chosen, teacher.grid), frames[:, time]))
                )
            ids += chunk.taken[0].tolist()
        yield ids, losses


def _known(canvas: Canvas, scales: int) -> Tensor:
    """Return what a canvas knows of the next frame, see `Labels`."""
    fresh = torch.where(canvas.level > 0, ((canvas.age + 1) / -FADING).exp(), 0.0)
    return torch.stack([fresh, canvas.level / scales], 1)


def _losses(chunk: Chunk, frame: Tensor, critic: Critic, grid: TokenGrid, count: int) -> Tensor:
    """The loss after 0..K-1 tokens of a chunk, of its first contexts: (count, K).

    It is known before and after the chunk; in between it is taken to fall as the
    teacher's account of the error does.
    """
    frame, canvas = frame[:count], Canvas(*(part[:count] for part in vars(chunk.canvas).values()))
    begin, end = (
        critic(canvas.show(frame, chosen[:count], grid), frame) for chosen in (chunk.chosen, chunk.then)
    )
    left, taken = chunk.left[:count], chunk.taken.shape[1]
    fallen = (left[:, :-1] - left[:, taken, None]) / (left[:, 0] - left[:, taken]).clamp(min=1e-4)[:, None]
    return (end[:, None] + (begin - end)[:, None] * fallen.clamp(-1, 1)).clamp(min=0)
