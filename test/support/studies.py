"""Studies with synthetic results, and contexts to study."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from autogaze_ros.evaluation.contexts import FRAMES, Context
from autogaze_ros.evaluation.study import Budget, Study, Sweep
from autogaze_ros.tokens import Gaze


def contexts(*counts: int) -> list[Context]:
    """Return a number of contexts of each source that share no frames."""
    image = np.zeros((224, 224, 3), np.uint8)
    return [
        Context(f"clip {number}", "clips", FRAMES * place, (image,) * FRAMES)
        for number, count in enumerate(counts)
        for place in range(count)
    ]


def study(metrics: np.ndarray, sources: list[Context], /, **sweep: np.ndarray) -> Study:
    """A study of methods autogaze, random, ... with metrics (methods, contexts, FRAMES, 2) at one budget."""
    methods = ["autogaze", "random", "uniform", "greedy_teacher"][: len(metrics)]
    shape = (2, len(sources), FRAMES)
    given = {
        "requirements": np.array([0.2, 0.4]), "cap": 198, "tokens": np.full(shape, 10),
        "predicted": np.full(shape, 0.5), "metrics": np.full((*shape, 2), 0.25), **sweep,
    }  # fmt: skip
    return Study(
        contexts=sources, budgets=[Budget(10, 10)], methods=methods, metrics=metrics[:, None],
        tokens=np.zeros((len(metrics), 1, len(sources), FRAMES, 4), np.int64),
        predicted=np.full((1, len(sources), FRAMES), 0.5), sweep=Sweep(**given),
    )  # fmt: skip


class Fixed:
    """A method that chooses by its own seed for every context and count."""

    name = "autogaze"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def gaze(self, context: Context, counts) -> list[Gaze]:
        self.asked.append((context.source, context.start))
        return [_gaze(len(context.source) + context.start, time, count) for time, count in enumerate(counts)]


@cache
def _gaze(seed: int, time: int, count: int) -> Gaze:
    return Gaze(np.random.default_rng([seed, time]).permutation(265)[:count].astype(np.uint16))


class Blind:
    """A teacher that needs no reconstructor: the finest cells in order."""

    def gaze(self, frames: torch.Tensor, counts) -> list[torch.Tensor]:
        assert frames.shape == (1, FRAMES, 3, 224, 224)
        return [torch.arange(69, 69 + count)[None] for count in counts]
