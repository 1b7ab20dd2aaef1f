"""Calibration of predicted losses, and of the stopping rule based on them.

The real loss is L1 in normalised units plus twice LPIPS, which is what the loss
head learns in `autogaze train`. Other checkpoints learnt another sum: of them only
rank correlations say something.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from autogaze_ros.evaluation.metrics import LPIPS_WEIGHT, MEASURES, loss_of
from autogaze_ros.evaluation.statistics import Floats, rank_correlation
from autogaze_ros.evaluation.study import Study

REAL = f"{MEASURES[0]} + {LPIPS_WEIGHT:g} {MEASURES[1]}"
_BINS = 8


@dataclass(frozen=True)
class Bin:
    """Frames of similar predicted loss: how many, their means, and the mean of real less predicted."""

    frames: int
    predicted: float
    real: float
    difference: float


@dataclass(frozen=True)
class Stop:
    """Cost and result of a requirement, means over contexts.

    first, later: tokens of the first frame, and of each later one. capped: share of
    frames that took as many tokens as they may.
    """

    requirement: float
    first: float
    later: float
    capped: float
    l1: float
    lpips: float
    predicted: float
    real: float


@dataclass(frozen=True)
class Violation:
    """A context that took more tokens at a higher requirement."""

    context: str
    lower: float
    higher: float
    tokens: tuple[int, int]


@dataclass(frozen=True)
class Calibration:
    """correlations: Spearman's, of predicted with each measure and the real loss.

    swept: over all frames at all requirements. within: over the frames of one budget,
    the mean over budgets, where only the frames differ and not the tokens. bins: of
    the swept frames, by predicted loss, equally many each.
    """

    swept: dict[str, float]
    within: dict[str, float]
    bins: list[Bin]
    stops: list[Stop]
    steps: int
    violations: list[Violation]


def calibrate(study: Study) -> Calibration:
    """Sum up what was predicted in a study, and what came."""
    sweep = study.sweep
    per_budget = [
        _correlations(predicted, measures)
        for predicted, measures in zip(study.predicted, study.measures[0], strict=True)
    ]
    return Calibration(
        swept=_correlations(sweep.predicted, sweep.measures),
        within={name: float(np.mean([row[name] for row in per_budget])) for name in per_budget[0]},
        bins=bins(sweep.predicted.ravel(), loss_of(sweep.measures).ravel()),
        stops=[_stop(study, row) for row in range(len(sweep.requirements))],
        steps=(len(sweep.requirements) - 1) * len(study.contexts),
        violations=violations(study),
    )


def _correlations(predicted: Floats, measures: Floats) -> dict[str, float]:
    real = {name: measures[..., k] for k, name in enumerate(MEASURES)} | {REAL: loss_of(measures)}
    return {name: rank_correlation(predicted.ravel(), values.ravel()) for name, values in real.items()}


def bins(predicted: Floats, real: Floats) -> list[Bin]:
    """Gather frames (N,) in bins by predicted loss, equally many each."""
    order = np.argsort(predicted, kind="stable")
    return [
        Bin(
            frames=len(part),
            predicted=float(predicted[part].mean()),
            real=float(real[part].mean()),
            difference=float((real[part] - predicted[part]).mean()),
        )
        for part in np.array_split(order, min(_BINS, len(order)))
    ]


def _stop(study: Study, row: int) -> Stop:
    sweep = study.sweep
    tokens, measures = sweep.tokens[row], sweep.measures[row]
    l1, lpips = measures.mean((0, 1))
    return Stop(
        requirement=float(sweep.requirements[row]),
        first=float(tokens[:, 0].mean()),
        later=float(tokens[:, 1:].mean()),
        capped=float((tokens >= sweep.cap).mean()),
        l1=float(l1),
        lpips=float(lpips),
        predicted=float(sweep.predicted[row].mean()),
        real=float(loss_of(measures).mean()),
    )


def violations(study: Study) -> list[Violation]:
    """Return where raising the requirement raised a context's tokens."""
    sweep = study.sweep
    found = []
    for context, tokens in zip(study.contexts, sweep.tokens.sum(2).T, strict=True):
        for (lower, more), (higher, less) in itertools.pairwise(
            zip(sweep.requirements.tolist(), tokens.tolist(), strict=True)
        ):
            if less > more:
                found.append(Violation(context.title, lower, higher, (more, less)))
    return found
