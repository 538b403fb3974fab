"""The statistics of repeated training runs: pure functions of scores, by training seed.

Scores such as FID vary by factors, so everything is computed on logarithms and said as ratios. The unit of replication
is the training run: two cells of one seed share its initial weights, batches and noise, and are compared as a pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA


class Ratio(NamedTuple):
    """b over a: the ratio of geometric means, its 95% interval, the two-sided p of no difference, and how it was made.

    Interval and p are NaN where there are too few runs to tell.
    """

    value: float
    low: float
    high: float
    p: float
    pairs: int  # seeds in common; 0 if the two were compared as independent samples


def ratio(a: Mapping[Any, float], b: Mapping[Any, float]) -> Ratio:
    """Scores by seed against scores by seed, all positive.

    With two seeds in common or more, the paired t-test of log b − log a over those seeds; else Welch's t-test, where
    both sides have two runs.
    """
    common = [seed for seed in a if seed in b]
    if len(common) >= 2 or (common and min(len(a), len(b)) < 2):
        differences = np.log([b[seed] for seed in common]) - np.log([a[seed] for seed in common])
        return Ratio(*_t_interval(differences), len(common))
    x, y = np.log(list(a.values())), np.log(list(b.values()))
    value = math.exp(y.mean() - x.mean())
    if min(len(x), len(y)) < 2:
        return Ratio(value, math.nan, math.nan, math.nan, 0)
    if x.std() == y.std() == 0:
        return Ratio(value, value, value, float(value == 1), 0)
    found = stats.ttest_ind(y, x, equal_var=False)
    low, high = found.confidence_interval(CONFIDENCE)
    return Ratio(value, math.exp(low), math.exp(high), float(found.pvalue), 0)


def _t_interval(logs: np.ndarray) -> tuple[float, float, float, float]:
    """exp of the mean, of its interval's ends, and the p of a mean of zero."""
    mean = float(logs.mean())
    if len(logs) < 2:
        return math.exp(mean), math.nan, math.nan, math.nan
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    if error == 0:  # the same to the last bit, or by one factor
        return math.exp(mean), math.exp(mean), math.exp(mean), float(mean == 0)
    reach = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, len(logs) - 1))
    return math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), p


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given; NaN is no test and counts for nothing."""
    tests = [i for i, p in enumerate(ps) if not math.isnan(p)]
    adjusted, least = list(ps), 0.0
    for rank, i in enumerate(sorted(tests, key=lambda i: ps[i])):
        least = max(least, min(1.0, (len(tests) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted


def runs_to_decide(mean: float, spread: float, power: float = 0.8, most: int = 1000) -> int | None:
    """The fewest runs with which a two-sided t-test of a mean over its spread would find it, with that chance.

    None if it would take more than ``most``, or there is no spread to judge by.
    """
    if spread <= 0 or mean == 0:
        return None

    def chance(n: int) -> float:
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
        return float(stats.nct.sf(reach, n - 1, abs(mean) / spread * math.sqrt(n)))

    if chance(most) < power:
        return None
    low, high = 2, most
    while low < high:  # the chance rises with n
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= power else (middle + 1, high)
    return low
