"""How sure a mean is, and whether two runs differ: bootstrap intervals and paired tests over clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE, RESAMPLES, SEED = 0.95, 4000, 0
FEWEST = 5  # clips below which nothing is claimed


class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval (BCa; Efron, 1987), over clips; low and high are NaN of fewer than two."""

    mean: float
    low: float
    high: float
    clips: int

    def __str__(self) -> str:
        inside = f" [{self.low:.4g}, {self.high:.4g}]" if self.clips > 1 else ""
        return f"{self.mean:.4g}{inside}"


class Difference(NamedTuple):
    """Two runs on the same clips.

    Attributes:
        interval: of the mean of (first minus second), clip by clip.
        p: of a two-sided sign-flip permutation test of that mean: the share of sign patterns that give one as far from 0.
        wins, ties: clips where the first has the larger value, or an equal one.
    """

    interval: Interval
    p: float
    wins: int
    ties: int

    @property
    def sign(self) -> int:
        """1 or -1: which way the runs differ, where the interval leaves out 0 and there are at least 5 clips; else 0."""
        if self.interval.clips < FEWEST:
            return 0
        return (self.interval.low > 0) - (self.interval.high < 0)


def interval(values: Sequence[float]) -> Interval:
    """The mean of values and how sure it is. Seeded: equal values give equal intervals."""
    found = np.asarray(values, np.float64)
    mean = math.fsum(found) / len(found)
    if len(found) < 2:
        return Interval(mean, math.nan, math.nan, len(found))
    if np.ptp(found) == 0:
        return Interval(mean, mean, mean, len(found))
    rng = np.random.default_rng(SEED)
    result = stats.bootstrap((found,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="BCa", rng=rng)
    low, high = (float(edge) for edge in result.confidence_interval)
    if not (math.isfinite(low) and math.isfinite(high)):  # BCa is undefined where leaving one out changes nothing
        means = rng.choice(found, (RESAMPLES, len(found))).mean(axis=1)
        low, high = (float(edge) for edge in np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)))
    return Interval(mean, low, high, len(found))


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two runs clip by clip.

    Args:
        first, second: values of the same clips in the same order.
    """
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    wins, ties = int((differences > 0).sum()), int((differences == 0).sum())
    return Difference(interval(differences.tolist()), sign_flip(differences), wins, ties)


def sign_flip(differences: np.ndarray) -> float:
    """p of a two-sided sign-flip permutation test of the mean; exact up to 13 clips, else of 9999 seeded patterns."""
    if len(differences) < 2 or not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(SEED), vectorized=True
    )
    return float(result.pvalue)
