"""The statistics of repeated training runs: pure functions of scores, by training seed.

Scores such as FID vary by factors, so everything is computed on logarithms and said as ratios. The unit of replication
is the training run: two cells of one seed share its initial weights, batches and noise, and are compared as a pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

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


def runs_to_decide(
    mean: float, spread: float, alpha: float = ALPHA, power: float = 0.8, most: int = 1000
) -> int | None:
    """The fewest runs with which a two-sided t-test (at α) of a mean over its spread would find it, with that chance.

    None if it would take more than ``most``, or there is no spread to judge by.
    """
    if spread <= 0 or mean == 0:
        return None

    def chance(n: int) -> float:
        reach = stats.t.ppf(1 - alpha / 2, n - 1)
        return float(stats.nct.sf(reach, n - 1, abs(mean) / spread * math.sqrt(n)))

    if chance(most) < power:
        return None
    low, high = 2, most
    while low < high:  # the chance rises with n
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= power else (middle + 1, high)
    return low


class Spread(NamedTuple):
    """A standard deviation of log scores, and its 95% interval."""

    sd: float
    low: float
    high: float


class Components(NamedTuple):
    """Where the scatter of log scores comes from, over ``runs`` training seeds × ``draws`` sampling seeds.

    A score's logarithm is its setting's mean, and a part that its training run has whatever noise it is sampled from
    (``training``), a part that the noise has whatever network it goes through (``noise``), and the rest (``both``).
    """

    training: Spread
    noise: Spread
    both: Spread
    runs: int
    draws: int

    def error(self, runs: int, draws: int) -> float:
        """The standard error of a mean of log scores over so many training and sampling seeds."""
        parts = (self.training.sd**2 / runs, self.noise.sd**2 / draws, self.both.sd**2 / (runs * draws))
        return math.sqrt(sum(parts))


def components(logs: np.ndarray, models: int = 1, trials: int = 20_000) -> Components:
    """Variance components of a crossed design without replication, by the method of moments, negative ones set to 0.

    Mean squares are pooled over settings, with the degrees of freedom of ``models`` alone, since the ways to sample one
    network move together (and of one, for the noise, which all settings share). Intervals are those of the generalised
    pivotal quantities: each sum of squares over a draw of its χ² (Weerahandi 1993, *Generalized confidence intervals*).

    :param logs: (settings, training seeds, sampling seeds), at least two of either seed, none missing.
    :param models: how many of the settings are trained apart.
    """
    _, runs, draws = logs.shape
    train, noise, whole = logs.mean(2, keepdims=True), logs.mean(1, keepdims=True), logs.mean((1, 2), keepdims=True)
    squares = {
        "training": (draws * ((train - whole) ** 2).sum((1, 2)).mean() / (runs - 1), models * (runs - 1)),
        "noise": (runs * ((noise - whole) ** 2).sum((1, 2)).mean() / (draws - 1), draws - 1),
        "both": (
            ((logs - train - noise + whole) ** 2).sum((1, 2)).mean() / ((runs - 1) * (draws - 1)),
            models * (runs - 1) * (draws - 1),
        ),
    }
    random = np.random.default_rng(0)
    pivots = {name: mean * df / random.chisquare(df, trials) for name, (mean, df) in squares.items()}
    seen = {name: mean for name, (mean, _) in squares.items()}

    def spread(name: str, per: int) -> Spread:
        # the mean squares of either seed hold the rest's as well
        value = max(0.0, seen[name] - (0 if name == "both" else seen["both"])) / per
        drawn = (pivots[name] - (0 if name == "both" else pivots["both"])).clip(0) / per
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Spread(math.sqrt(value), math.sqrt(low), math.sqrt(high))

    return Components(spread("training", draws), spread("noise", runs), spread("both", 1), runs, draws)


class Chance(NamedTuple):
    """How likely a run of one level is to score lower than a run of another, its 95% interval, and settings compared.

    The interval is NaN with a single run.
    """

    value: float
    low: float
    high: float
    settings: int


def improvement(a: np.ndarray, b: np.ndarray) -> Chance:
    """The probability of improvement (Agarwal et al. 2021, eq. 3): P(a < b), ties counting half, mean over settings.

    The interval is Newcombe's score interval for the Mann-Whitney statistic (2006, *Confidence intervals for an effect
    size measure …* 2, method 5), with Student's quantile for the normal's: it holds for few runs, and at 0 and 1. It
    takes the settings as moving together, so that more ways to sample the same networks make no narrower interval.

    :param a: scores (settings, runs), NaN where there is none; as ``b``, with a run of either in every setting.
    """
    wins = np.sign(b[:, None, :] - a[:, :, None]) / 2 + 0.5
    value = float(np.nanmean(wins, axis=(1, 2)).mean())
    m, n = (float(np.median((~np.isnan(side)).sum(1))) for side in (a, b))
    if min(m, n) < 2:
        return Chance(value, math.nan, math.nan, len(a))
    balanced, reach = (m + n) / 2, float(stats.t.ppf((1 + CONFIDENCE) / 2, m + n - 2))

    def beyond(theta: float) -> float:
        """How far θ is from the value, less how far its standard errors reach."""
        more = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + (balanced - 1) * more) / (m * n)
        return abs(theta - value) - reach * math.sqrt(variance)

    edge = 1e-9
    inside = min(max(value, edge), 1 - edge)
    low = optimize.brentq(beyond, edge, inside) if beyond(edge) > 0 else 0.0
    high = optimize.brentq(beyond, inside, 1 - edge) if beyond(1 - edge) > 0 else 1.0
    return Chance(value, low, high, len(a))


def profile(scores: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Performance profiles (Dolan & Moré 2002): the share of problems on which each is within a factor of the best.

    :param scores: (problems, solvers), all positive, less being better.
    :param factors: (F,), from 1 up.
    :returns: (F, solvers).
    """
    ratios = scores / scores.min(1, keepdims=True)
    return (ratios[None] <= factors[:, None, None] * (1 + 1e-12)).mean(1)
