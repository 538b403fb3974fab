"""Where the mean of a series has changed: a permutation test of the largest shift, then the same in both parts.

For a split after k of n values the shift is √(k(n−k)/n) |mean after − mean before|. Its maximum over k is compared with
the maxima of shuffled series: where nothing has changed, all orders are equally likely. So the test is exact whatever
the distribution, and a series without any change is called changed with a chance of at most the stated level (binary
segmentation, Vostrikova 1981; permutations as in E-divisive, Matteson & James 2014).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
SHORTEST = 3
"""Values that a part needs before or after a change."""
SHUFFLES = 1999


class ChangePoint(NamedTuple):
    """The place of the first value after a change, the means of the parts beside it, and p."""

    at: int
    before: float
    after: float
    p: float


def change_points(values: Sequence[float], level: float = LEVEL) -> list[ChangePoint]:
    """The changes of the mean, in order. The same values always get the same answer.

    :param level: the chance that a series without a change is said to have one.
    """
    series = np.asarray(values, float)
    found = sorted(_search(series, 0, level, np.random.default_rng(0)))
    edges = [0, *(at for at, _ in found), len(series)]
    means = [float(series[a:b].mean()) for a, b in itertools.pairwise(edges) if b > a]
    return [ChangePoint(at, means[i], means[i + 1], p) for i, (at, p) in enumerate(found)]


def _search(series: np.ndarray, start: int, level: float, random: np.random.Generator) -> list[tuple[int, float]]:
    """(place, p) of the changes of a part; only a part of a series that has changed is looked at again."""
    if len(series) < 2 * SHORTEST:
        return []
    shifts = _shifts(series[None])[0]
    best = int(shifts.argmax())
    largest = shifts[best]
    shuffled = random.permuted(np.tile(series, (SHUFFLES, 1)), axis=1)
    tolerance = 1e-9 * (1.0 + abs(largest))  # sums of the same numbers in another order
    as_large = int((_shifts(shuffled).max(axis=1) >= largest - tolerance).sum())
    p = (1 + as_large) / (1 + SHUFFLES)
    if p > level:
        return []
    at = best + SHORTEST
    left = _search(series[:at], start, level, random)
    return [*left, (start + at, p), *_search(series[at:], start + at, level, random)]


def _shifts(rows: np.ndarray) -> np.ndarray:
    """The shift of each row at each split, from ``SHORTEST`` values on the left to as many on the right."""
    n = rows.shape[1]
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    left = (rows - rows.mean(axis=1, keepdims=True)).cumsum(axis=1)[:, k - 1]
    return np.abs(left) * np.sqrt(n / (k * (n - k)))
