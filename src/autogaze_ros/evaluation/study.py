"""Study of AutoGaze's gazes against baselines that choose the same number of tokens.

Every method gazes at the same frames, and the same network reconstructs them. Then
AutoGaze stops by its predicted loss, at several requirements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import ParameterError
from autogaze_ros.evaluation.baselines import (
    Greedy,
    Method,
    OtherClip,
    RandomMatched,
    SelectorMethod,
    Teacher,
    UniformMatched,
)
from autogaze_ros.evaluation.contexts import FRAMES, Context
from autogaze_ros.evaluation.metrics import LOSS_METRICS, ContextMetrics, Engine, Floats, Metric
from autogaze_ros.networks.decoding import token_budget
from autogaze_ros.selectors import Selector, create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID, Gaze

Ints = NDArray[np.int64]
SELECTORS = ("random", "uniform", "patch_difference")  # baselines of every study
_REQUIREMENTS = 8


@dataclass(frozen=True)
class Budget:
    """Number of tokens in a context's first frame, and in each later one."""

    first: int
    later: int

    @property
    def name(self) -> str:
        """Return the name in tables: 10, or 60+10 where the first frame has more."""
        return str(self.later) if self.first == self.later else f"{self.first}+{self.later}"

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the number of tokens of each frame."""
        return (self.first, *[self.later] * (FRAMES - 1))


BUDGETS = (Budget(5, 5), Budget(10, 10), Budget(20, 20), Budget(50, 50), Budget(60, 10))


@dataclass(frozen=True)
class Sweep:
    """AutoGaze at R requirements in all contexts.

    requirements: (R,), ascending.
    cap: largest number of tokens of a frame.
    tokens: (R, contexts, FRAMES), number of tokens.
    predicted: (R, contexts, FRAMES), predicted losses.
    metrics: (R, contexts, FRAMES, M), of the study's metrics.
    """

    requirements: Floats
    cap: int
    tokens: Ints
    predicted: Floats
    metrics: Floats


@dataclass(frozen=True)
class Study:
    """Results of a study.

    methods: names; the first is AutoGaze.
    metrics: (methods, budgets, contexts, FRAMES, M), lower is better.
    tokens: (methods, budgets, contexts, FRAMES, scales), number of tokens.
    predicted: (budgets, contexts, FRAMES), losses that AutoGaze predicted.
    measured: (M,), names of the metrics; the first are LOSS_METRICS.
    """

    contexts: Sequence[Context]
    budgets: Sequence[Budget]
    methods: Sequence[str]
    metrics: Floats
    tokens: Ints
    predicted: Floats
    sweep: Sweep
    measured: Sequence[str] = LOSS_METRICS


class GazeStudy:
    """A study to run. Raises SourceError if a baseline finds no other context.

    metrics: by name, see `metrics.study_metrics`.
    ratio: gazing_ratio where AutoGaze stops by its predicted loss.
    requirements: number of requirements to try.
    selectors: further baselines.
    teacher: greedy teacher, the upper bound of the study; optional.
    seed: of random baselines.
    """

    def __init__(
        self,
        contexts: Sequence[Context],
        autogaze: SelectorMethod,
        engine: Engine,
        metrics: Mapping[str, Metric],
        *,
        ratio: float,
        budgets: Sequence[Budget] = BUDGETS,
        requirements: int = _REQUIREMENTS,
        selectors: Sequence[Selector] = (),
        teacher: Teacher | None = None,
        seed: int = 0,
    ) -> None:
        self._contexts, self._budgets, self._autogaze = contexts, budgets, autogaze
        self._engine, self._metrics = engine, metrics
        self._ratio, self._requirements = ratio, requirements
        self._methods: list[Method] = [
            autogaze,
            *(SelectorMethod(create_selector(name, chunk_size=FRAMES)) for name in SELECTORS),
            *map(SelectorMethod, selectors),
            RandomMatched(autogaze, seed),
            UniformMatched(autogaze),
            OtherClip(autogaze, contexts),
            *([Greedy(teacher)] if teacher else []),
        ]
        names = [method.name for method in self._methods]
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ParameterError(f"selector {twice[0]} has the name of another method of the study")

    @property
    def steps(self) -> int:
        """Return the number of calls of `report` in `run`."""
        each = len(self._budgets) * (1 + len(self._methods)) + self._requirements
        return len(self._contexts) * each

    def run(self, report: Callable[[], None] = lambda: None) -> Study:
        """Gaze, reconstruct and measure; call `report` after every step."""
        predicted = np.array([[self._predicted(c, b, report) for c in self._contexts] for b in self._budgets])
        requirements = _spanning(predicted, self._requirements)
        compared, swept = [], []
        for context in self._contexts:
            measure = ContextMetrics(context, self._engine, self._metrics)
            compared.append(self._compare(context, measure, report))
            swept.append(self._sweep(context, measure, requirements, report))
        metrics, tokens = (np.stack(part, 2) for part in zip(*compared, strict=True))
        until, lengths, found = (np.stack(part, 1) for part in zip(*swept, strict=True))
        cap = token_budget(self._ratio, AUTOGAZE_GRID.num_tokens)
        return Study(
            contexts=self._contexts,
            budgets=self._budgets,
            methods=[method.name for method in self._methods],
            metrics=metrics,
            tokens=tokens,
            predicted=predicted,
            sweep=Sweep(requirements, cap, lengths, until, found),
            measured=tuple(self._metrics),
        )

    def _predicted(self, context: Context, budget: Budget, report: Callable[[], None]) -> list[float]:
        gazes = self._autogaze.gaze(context, budget.counts)
        report()
        return [gaze.predicted_loss for gaze in gazes]

    def _compare(
        self, context: Context, measure: ContextMetrics, report: Callable[[], None]
    ) -> tuple[Floats, Ints]:
        """Return the metrics (methods, budgets, FRAMES, M) and tokens per scale of one context."""
        metrics, tokens = [], []
        for method in self._methods:
            for budget in self._budgets:
                gazes = method.gaze(context, budget.counts)
                metrics.append(measure(gazes))
                tokens.append(_per_scale(gazes))
                report()
        shape = (len(self._methods), len(self._budgets), FRAMES, -1)
        return np.reshape(metrics, shape), np.reshape(tokens, shape)

    def _sweep(
        self, context: Context, measure: ContextMetrics, requirements: Floats, report: Callable[[], None]
    ) -> tuple[Floats, Ints, Floats]:
        """Return predicted losses, tokens (R, FRAMES) and metrics (R, FRAMES, M) of one context."""
        predicted, tokens, metrics = [], [], []
        for requirement in requirements:
            gazes = self._autogaze.gaze_until(context, self._ratio, float(requirement))
            predicted.append([gaze.predicted_loss for gaze in gazes])
            tokens.append([len(gaze.token_ids) for gaze in gazes])
            metrics.append(measure(gazes))
            report()
        return np.array(predicted), np.array(tokens), np.array(metrics)


def _per_scale(gazes: Sequence[Gaze]) -> list[Ints]:
    return [AUTOGAZE_GRID.tokens_per_scale(gaze.token_ids) for gaze in gazes]


def _spanning(predicted: Floats, count: int) -> Floats:
    """Return `count` requirements that span the 5th to 95th percentile of predicted losses."""
    low, high = np.percentile(predicted, [5, 95])
    return np.linspace(low, high, count).round(3)
