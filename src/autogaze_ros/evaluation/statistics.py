"""Statistics of a study: bootstrap intervals over contexts, rank correlation, and calibration of losses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autogaze_ros.errors import needs

with needs("scipy", "rank correlation"):
    from scipy.stats import ConstantInputWarning, spearmanr

Floats = NDArray[np.float64]
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


_BINS = 8


@dataclass(frozen=True)
class Bin:
    """Frames of similar predicted loss: their number, their means, and the mean of real minus predicted."""

    frames: int
    predicted: float
    real: float
    difference: float


def rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's rho of two arrays (N,); NaN where either is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(a, b).statistic)


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
