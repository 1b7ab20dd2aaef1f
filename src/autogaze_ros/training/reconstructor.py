"""Training the reconstructor on canvases of gazes of all kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autogaze_ros.evaluation.metrics import ReconstructionLoss
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.networks.residual import gains
from autogaze_ros.tokens import TokenGrid
from autogaze_ros.training.data import Clips
from autogaze_ros.training.run import Losses, Run, Schedule
from autogaze_ros.training.teacher import GreedyTeacher

_CLIPS, _FRAMES = (
    4,
    16,
)  # contexts of a batch and their frames; late in a context canvases hold many old cells
_LEARNED = 6  # frames of each context that are reconstructed
_LPIPS_WEIGHT = 1.5
_TEACHERS = 0.4  # share of batches with the greedy teacher's gazes


def train_reconstructor(
    clips: Clips,
    folder: Path,
    schedule: Schedule,
    *,
    seed: int = 0,
    start: CanvasReconstructor | None = None,
    device: torch.device | str = "cpu",
) -> CanvasReconstructor:
    """Train a reconstructor, resuming a run in the folder; return it with averaged weights.

    The loss is L1 in normalized units plus 1.5 times LPIPS. Raises MissingPackageError where LPIPS
    has no weights, and CheckpointError where the folder holds another run.

    start: network to continue from; by default a new one.
    """
    torch.manual_seed(seed)
    network = start or CanvasReconstructor(CanvasConfig())
    network.to(device).requires_grad_(True)
    loss = ReconstructionLoss(network, _LPIPS_WEIGHT)
    teacher = GreedyTeacher(network.grid, device)
    notes = {"kind": "reconstructor", "sources": clips.notes}
    run = Run(network, folder, schedule, seed=seed, notes=notes)

    def losses(rng: np.random.Generator, progress: float) -> Losses:
        images, _ = clips.batch(rng, _CLIPS, _FRAMES)
        frames = normalize(torch.from_numpy(images).to(device))
        canvases, targets = _canvases(rng, frames, teacher)
        with torch.autocast(frames.device.type, torch.bfloat16):
            pictures = network(canvases)
        return loss.of_batch(pictures, targets)

    network.load_state_dict(run.train(losses))
    return network


def _canvases(rng: np.random.Generator, frames: Tensor, teacher: GreedyTeacher) -> tuple[Canvas, Tensor]:
    """Gaze at frames (N, T, …) as the teacher or at random; return canvases after some frames, and those."""
    count, length = frames.shape[:2]
    counts, grid = _counts(rng, length), teacher.grid
    gazes = teacher.gaze(frames, counts) if rng.random() < _TEACHERS else None
    habit = _Habit(rng, count, frames.device)
    canvas = Canvas.blank(count, grid, frames.device)
    learned = sorted(rng.choice(length, min(_LEARNED, length), replace=False).tolist())
    shown = []
    for time in range(learned[-1] + 1):
        if gazes is None:
            chosen = habit.choose(rng, frames[:, time], canvas, grid, counts[time])
        else:
            none = torch.zeros(count, grid.num_tokens, dtype=torch.bool, device=frames.device)
            chosen = none.scatter(1, gazes[time], True)
        canvas = canvas.show(frames[:, time], chosen, grid)
        if time in learned:
            shown.append(canvas)
    together = Canvas(*(torch.cat([getattr(c, name) for c in shown]) for name in vars(canvas)))
    return together, frames[:, learned].transpose(0, 1).flatten(0, 1)


def _counts(rng: np.random.Generator, length: int) -> list[int]:
    """Draw the tokens of each frame: 4..200 in the first, 2..60 in later ones, often equally many."""

    def some(low: int, high: int) -> int:
        return int(np.exp(rng.uniform(np.log(low), np.log(high))))

    first, later = some(4, 200), some(2, 60)
    if rng.random() < 0.5:
        return [first] + [later] * (length - 1)
    return [first, *(some(2, 60) for _ in range(length - 1))]


class _Habit:
    """Random selector of one batch: it draws cells by residual, by scale, or by both.

    So reconstructors serve selectors alike whether they look at the image or not.
    """

    def __init__(self, rng: np.random.Generator, count: int, device: torch.device) -> None:
        self._seeing = torch.from_numpy(rng.choice([0.0, 0.0, 1.0, 2.0, 8.0], count)).float().to(device)
        self._tilt = torch.from_numpy(rng.choice([0.0, 0.0, 0.5, 1.0], count)).float().to(device)

    def choose(
        self, rng: np.random.Generator, frames: Tensor, canvas: Canvas, grid: TokenGrid, budget: int
    ) -> Tensor:
        """Choose `budget` cells of each frame: (N, num_tokens) bool."""
        sizes = torch.tensor([float(size * size) for size in grid.sizes], device=frames.device)
        areas = sizes.repeat_interleave(sizes.long())
        gain = gains(frames - canvas.sharp, grid).clamp(min=0)
        gain = gain / gain.mean(1, keepdim=True).clamp(min=1e-6) + 0.05
        logits = self._seeing[:, None] * gain.log() - self._tilt[:, None] * areas.log()
        noise = torch.from_numpy(rng.gumbel(size=logits.shape)).float().to(logits.device)
        best = (logits + noise).topk(budget, dim=1).indices
        return torch.zeros_like(logits, dtype=torch.bool).scatter(1, best, True)
