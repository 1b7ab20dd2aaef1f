"""Statistics of a study: bootstrap intervals, verdicts on AutoGaze and its baselines, and calibration.

Calibration compares predicted losses with real ones, and the stopping rule that is based
on them. The real loss is L1 in normalized units plus twice LPIPS, which the loss head
learns in `autogaze train`. Other checkpoints learned another sum; for them only rank
correlations are meaningful.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autogaze_ros.errors import needs
from autogaze_ros.evaluation.baselines import Greedy
from autogaze_ros.evaluation.metrics import LOSS_METRICS, LPIPS_WEIGHT, Floats, loss_of
from autogaze_ros.evaluation.study import Study

with needs("scipy", "rank correlation"):
    from scipy.stats import ConstantInputWarning, spearmanr

_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval, NaN where nothing can be resampled."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Cluster bootstrap (Davison & Hinkley 1997, 3.8): it draws sources, then contexts within each.

    Contexts of one source are alike and may overlap. With a single source only its
    contexts are drawn, and intervals are too narrow where they overlap.

    sources: name of the source of each context.
    """

    def __init__(self, sources: Sequence[str], seed: int) -> None:
        rng = np.random.default_rng(seed)
        _, labels = np.unique(sources, return_inverse=True)
        members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
        self.count = len(labels)
        drawn = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), _RESAMPLES)
        weights: Floats = np.zeros((_RESAMPLES, self.count))
        for times, places in zip(drawn.T, members, strict=True):
            count = len(places)
            weights[:, places] = rng.multinomial(times * count, np.full(count, 1 / count))
        self._weights = weights / weights.sum(1, keepdims=True)

    def means(self, values: Floats) -> Floats:
        """Return the means of values (contexts, ...) over each resample: (resamples, ...)."""
        means: Floats = np.tensordot(self._weights, values, 1)
        return means

    def mean(self, values: Floats) -> Estimate:
        """Return the mean of values (contexts,)."""
        return self.interval(float(values.mean()), self.means(values))

    def ratio(self, numerators: Floats, denominators: Floats) -> Estimate:
        """Return the ratio of the sums of values (contexts,); NaN where the denominators are all 0.

        Resamples whose denominators are all 0 are left out.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(numerators.sum() / denominators.sum())
            resampled = self.means(numerators) / self.means(denominators)
        resampled = resampled[np.isfinite(resampled)]
        return self.interval(value, resampled) if len(resampled) else Estimate(value, math.nan, math.nan)

    def interval(self, value: float, resampled: Floats) -> Estimate:
        """Return a value with the 2.5th and 97.5th percentiles of its resamples."""
        if self.count < 2:
            return Estimate(value, math.nan, math.nan)
        low, high = np.percentile(resampled, [2.5, 97.5])
        return Estimate(value, float(low), float(high))


EARLY, LATE = 3, 15  # frames of a context that are compared to detect a drift


@dataclass(frozen=True)
class Result:
    """A metric of a method at a budget.

    mean: over contexts and frames.
    curve: mean over contexts, of each frame.
    of_contexts: mean over frames, of each context.
    """

    method: str
    budget: str
    metric: str
    mean: Estimate
    curve: list[float]
    of_contexts: list[float]


@dataclass(frozen=True)
class Comparison:
    """AutoGaze against a baseline at a budget, by a metric of which less is better.

    difference: the baseline's mean minus AutoGaze's, paired by context.
    advantage: the difference as a fraction of the baseline's mean.
    early, late: the advantage in frames EARLY and LATE.
    drift: late minus early.
    """

    baseline: str
    budget: str
    metric: str
    difference: Estimate
    advantage: float
    early: float
    late: float
    drift: Estimate

    @property
    def verdict(self) -> str:
        """Return better, worse, or undecided if the interval contains 0 or does not exist."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "undecided"

    @property
    def stays(self) -> str:
        """Describe the advantage along the context: it holds, falls, or falls within chance."""
        if self.drift.value >= 0:
            return "holds"
        if math.isnan(self.drift.high):
            return "falls, undecided"
        return "falls" if self.drift.high < 0 else "falls within chance"


@dataclass(frozen=True)
class Group:
    """Results of contexts that are reported together, and the number of contexts and of sources."""

    name: str
    contexts: int
    sources: int
    results: list[Result]
    comparisons: list[Comparison]

    def result(self, method: str, budget: str, metric: str) -> Result:
        """Return one result; raises KeyError."""
        return self._results[method, budget, metric]

    @cached_property
    def _results(self) -> dict[tuple[str, str, str], Result]:
        return {(result.method, result.budget, result.metric): result for result in self.results}


def groups(study: Study, seed: int) -> list[Group]:
    """Summarize all contexts together, and then each group of them if there are several."""
    names = list(dict.fromkeys(context.group for context in study.contexts))
    every = list(range(len(study.contexts)))
    members = {"all contexts": every} if len(names) > 1 else {}
    for name in names:
        members[name] = [place for place in every if study.contexts[place].group == name]
    return [_group(study, name, places, seed) for name, places in members.items()]


def _group(study: Study, name: str, places: list[int], seed: int) -> Group:
    sources = [study.contexts[place].source for place in places]
    bootstrap = Bootstrap(sources, seed)
    results, comparisons = [], []
    for m, method in enumerate(study.methods):
        for b, budget in enumerate(study.budgets):
            for k, metric in enumerate(study.measured):
                values, ours = study.metrics[m, b, places, :, k], study.metrics[0, b, places, :, k]
                of_contexts = values.mean(1)
                results.append(
                    Result(
                        method, budget.name, metric, bootstrap.mean(of_contexts),
                        values.mean(0).tolist(), of_contexts.tolist(),
                    )
                )  # fmt: skip
                if m:
                    comparisons.append(compare(bootstrap, (method, budget.name, metric), ours, values))
    return Group(name, len(places), len(set(sources)), results, comparisons)


def compare(bootstrap: Bootstrap, names: tuple[str, str, str], ours: Floats, baseline: Floats) -> Comparison:
    """Compare AutoGaze's values (contexts, FRAMES) with a baseline's.

    names: baseline, budget and metric.
    """
    early, late = _advantage(ours.mean(0), baseline.mean(0))[[EARLY, LATE]]
    resampled = _advantage(bootstrap.means(ours), bootstrap.means(baseline))
    return Comparison(
        *names,
        difference=bootstrap.mean(baseline.mean(1) - ours.mean(1)),
        advantage=float(_advantage(ours.mean(), baseline.mean())),
        early=float(early),
        late=float(late),
        drift=bootstrap.interval(float(late - early), resampled[:, LATE] - resampled[:, EARLY]),
    )


def _advantage(ours: Floats, baseline: Floats) -> Floats:
    return 1 - ours / baseline


def baselines(study: Study) -> list[str]:
    """Return the names of the methods that AutoGaze has to beat: all but itself and the teacher."""
    return [name for name in study.methods[1:] if name != Greedy.name]


REAL = f"{LOSS_METRICS[0]} + {LPIPS_WEIGHT:g} {LOSS_METRICS[1]}"
_BINS = 8


@dataclass(frozen=True)
class Bin:
    """Frames of similar predicted loss: their number, their means, and the mean of real minus predicted."""

    frames: int
    predicted: float
    real: float
    difference: float


@dataclass(frozen=True)
class Stop:
    """Cost and result of a requirement, means over contexts.

    first: tokens of the first frame.
    later: tokens of each later frame.
    capped: share of frames that took the largest allowed number of tokens.
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
    """Calibration of predicted losses, and of the stopping rule based on them.

    swept: Spearman's rank correlations of predicted losses with each metric and the real
        loss, over all frames at all requirements.
    within: the same over the frames of one budget, mean over budgets; there only the
        frames differ, not the number of tokens.
    bins: swept frames by predicted loss, equally many in each.
    steps: number of pairs of successive requirements, over all contexts.
    violations: those of them where the higher requirement took more tokens.
    """

    swept: dict[str, float]
    within: dict[str, float]
    bins: list[Bin]
    stops: list[Stop]
    steps: int
    violations: list[Violation]


def calibrate(study: Study) -> Calibration:
    """Compare predicted with real losses in a study."""
    sweep = study.sweep
    per_budget = [
        _correlations(predicted, metrics)
        for predicted, metrics in zip(study.predicted, study.metrics[0], strict=True)
    ]
    return Calibration(
        swept=_correlations(sweep.predicted, sweep.metrics),
        within={name: float(np.mean([row[name] for row in per_budget])) for name in per_budget[0]},
        bins=bins(sweep.predicted.ravel(), loss_of(sweep.metrics).ravel()),
        stops=[_stop(study, row) for row in range(len(sweep.requirements))],
        steps=(len(sweep.requirements) - 1) * len(study.contexts),
        violations=violations(study),
    )


def rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's rho of two arrays (N,); NaN where either is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(a, b).statistic)


def _correlations(predicted: Floats, metrics: Floats) -> dict[str, float]:
    real = {name: metrics[..., k] for k, name in enumerate(LOSS_METRICS)} | {REAL: loss_of(metrics)}
    return {name: rank_correlation(predicted.ravel(), values.ravel()) for name, values in real.items()}


def bins(predicted: Floats, real: Floats) -> list[Bin]:
    """Divide frames (N,) into bins by predicted loss, equally many in each."""
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
    tokens, metrics = sweep.tokens[row], sweep.metrics[row]
    l1, lpips = metrics.mean((0, 1))[: len(LOSS_METRICS)]
    return Stop(
        requirement=float(sweep.requirements[row]),
        first=float(tokens[:, 0].mean()),
        later=float(tokens[:, 1:].mean()),
        capped=float((tokens >= sweep.cap).mean()),
        l1=float(l1),
        lpips=float(lpips),
        predicted=float(sweep.predicted[row].mean()),
        real=float(loss_of(metrics).mean()),
    )


def violations(study: Study) -> list[Violation]:
    """Return the cases where a higher requirement took more tokens of a context."""
    sweep = study.sweep
    found = []
    for context, tokens in zip(study.contexts, sweep.tokens.sum(2).T, strict=True):
        for (lower, more), (higher, less) in itertools.pairwise(
            zip(sweep.requirements.tolist(), tokens.tolist(), strict=True)
        ):
            if less > more:
                found.append(Violation(context.title, lower, higher, (more, less)))
    return found
