"""Intervals and correlations of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and the interval that holds 95 % of its resamples; NaN where nothing can be resampled."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Resamples contexts of several sources: first sources, then contexts within each drawn one.

    Contexts of one source are alike, and may overlap; so a source is drawn as a
    whole before its contexts are (cluster bootstrap, Davison & Hinkley 1997, 3.8).
    With a single source only its contexts are drawn, and intervals are too narrow
    where they overlap. sources: of each context.
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
        """Means of values (contexts, ...) over each resample's contexts: (resamples, ...)."""
        means: Floats = np.tensordot(self._weights, values, 1)
        return means

    def mean(self, values: Floats) -> Estimate:
        """The mean of values (contexts,)."""
        return self.interval(float(values.mean()), self.means(values))

    def interval(self, value: float, resampled: Floats) -> Estimate:
        """A value with its resamples' 2.5th and 97.5th percentiles."""
        if self.count < 2:
            return Estimate(value, math.nan, math.nan)
        low, high = np.percentile(resampled, [2.5, 97.5])
        return Estimate(value, float(low), float(high))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rho of two rows of numbers, equal ones sharing their mean rank; NaN without variance."""
    first, second = _ranks(a), _ranks(b)
    if first.std() == 0 or second.std() == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[place]
    return ranks
