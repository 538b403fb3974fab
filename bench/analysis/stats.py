"""The statistics of repeated training runs: pure functions of scores, by training seed.

Scores such as FID vary by factors, so they are compared on logarithms and said as ratios; scores that may be negative
are compared as differences. The unit of replication is the training run: two cells of one seed share its initial
weights, batches and noise, and are compared as a pair.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from scipy import optimize, special, stats

from bench.analysis.whole import block

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
SAME = 1e-12
"""A spread that is this small beside the mean is rounding."""

TRUST, MOST_TRUST = {2: 0.0, 3: 0.5}, 0.85
"""How far the p with Satterthwaite's degrees of freedom is trusted, by the rows or columns of a table, whichever are
fewer; the rest is a p that is too large. Chosen by simulation, so that about 5% of verdicts are wrong."""

FEWEST = 5
"""With fewer training seeds the spread of a difference is known too badly to plan by, and a chance says nothing."""

Seeds = tuple[int, int]
"""Training seed and sampling seed."""
Scale = Literal["ratio", "difference"]
"""How two scores are compared: as a ratio, on logarithms, or as a difference where a score may be negative."""


class Contrast(NamedTuple):
    """b against a: b over a of geometric means, or b less a of means, with its 95% interval and p, and how it was made.

    ``p`` is the two-sided one of no difference. Interval and p are NaN where there are too few runs to tell. ``pairs``
    are the training seeds in common, 0 if the two were compared as independent samples. ``shared``: training seeds were
    sampled from one noise, whose part in the difference could not be seen, so that p is too small. ``dropped``: how
    many differences are in neither value nor test, because they do not belong to the largest whole grid of seeds.
    """

    value: float
    low: float
    high: float
    p: float
    pairs: int
    shared: bool = False
    dropped: int = 0


def contrast(a: Mapping[Seeds, float], b: Mapping[Seeds, float], scale: Scale = "ratio") -> Contrast:
    """Scores by seeds against scores by seeds; for a ratio all are positive.

    A pair has the training seed and the sampling seed in common. With pairs of two training seeds or more,
    :func:`paired` over all pairs, and what has no partner is left out. Else Welch's t-test over training seeds, where
    both sides have two.
    """
    a, b = ({seeds: math.log(v) if scale == "ratio" else v for seeds, v in side.items()} for side in (a, b))
    common = {seeds: b[seeds] - a[seeds] for seeds in a if seeds in b}
    x, y = (np.array(list(by_training(side).values())) for side in (a, b))
    if len(by_training(common)) >= 2 or (common and min(len(x), len(y)) < 2):
        return paired(common, scale)
    value, low, high, p = y.mean() - x.mean(), math.nan, math.nan, math.nan
    if min(len(x), len(y)) >= 2:
        if all(np.ptp(side) <= SAME * abs(side).max() for side in (x, y)):
            low, high, p = _without_spread(float(value), min(len(x), len(y)))
        else:
            found = stats.ttest_ind(y, x, equal_var=False)
            (low, high), p = found.confidence_interval(CONFIDENCE), float(found.pvalue)
    shared = share_noise(a) or share_noise(b)
    return _on(scale, Contrast(float(value), float(low), float(high), p, 0, shared))


def paired(differences: Mapping[Seeds, float], scale: Scale = "difference") -> Contrast:
    """Whether the mean of differences (of logarithms, for a ratio) is zero.

    Where training seeds have sampling seeds of their own, the t-test over training seeds. Where several were each
    sampled from the same two noises or more, the test of :func:`crossed`, with the parts of either seed. Of a grid with
    holes it takes the largest part that has none. Without such a part it is the t-test again, marked as ``shared``.
    """
    whole = grid_of(differences)
    if whole is not None:
        grid = np.array([[differences[seed, draw] for draw in whole[1]] for seed in whole[0]])
        mean, error, tail = crossed(grid)
        return _on(scale, _tested(mean, error, tail, len(grid))._replace(dropped=len(differences) - grid.size))
    values = np.array(list(by_training(differences).values()))
    shared = share_noise(differences)
    mean, n = float(values.mean()), len(values)
    if n < 2:
        return _on(scale, Contrast(mean, math.nan, math.nan, math.nan, n))
    error = float(values.std(ddof=1)) / math.sqrt(n)
    found = _tested(mean, error, partial(_two_sided, df=n - 1), n)
    return _on(scale, found._replace(shared=shared))


def share_noise(values: Collection[Seeds]) -> bool:
    """Whether a sampling seed serves several networks."""
    return len({draw for _, draw in values}) < len(values)


def by_training(values: Mapping[Seeds, float]) -> dict[int, float]:
    """The mean of each training seed."""
    found: dict[int, list[float]] = {}
    for (seed, _), value in values.items():
        found.setdefault(seed, []).append(value)
    return {seed: statistics.fmean(each) for seed, each in found.items()}


def grid_of(seeds: Iterable[Seeds]) -> tuple[list[int], list[int]] | None:
    """Training and sampling seeds of the largest whole part of the grid; None if it has no two of either."""
    have: dict[int, list[int]] = {}
    for seed, draw in seeds:
        have.setdefault(seed, []).append(draw)
    # by what is left to tell the parts of both seeds by; training seeds before sampling seeds
    rows, draws = block(have, lambda rows, columns: ((len(rows) - 1) * (len(columns) - 1), len(rows)))
    return None if min(len(rows), len(draws)) < 2 else (sorted(rows), draws)


def most_pairs(seeds: Sequence[Seeds], compared: Sequence[object]) -> tuple[int, int]:
    """What a whole block of seeds is worth: as many cells as possible, and a further training seed more than these."""
    cells = len(seeds) * len(compared)
    return cells * (len({training for training, _ in seeds}) - 1), cells


def crossed(grid: np.ndarray) -> tuple[float, float, Callable[[float], float]]:
    """Mean and standard error of a two-way table whose rows and columns are both drawn by chance, and t → p.

    The variance of the mean is (A + B − E) / RD of the mean squares of rows, of columns and of the rest, and at least
    that of either alone. No p is exact here. That with Satterthwaite's degrees of freedom is a little too small. The
    mean of both t-tests' by their share in the variance (as that of Cochran & Cox) is a little too large. The result is
    between the two (:data:`TRUST`): of two rows or columns the mean square is hardly known, so it is the larger one.

    :param grid: (R, D), at least two of either.
    """
    rows, columns = grid.shape
    mean, df = float(grid.mean()), (rows - 1, columns - 1)
    a = columns * float(grid.mean(1).var(ddof=1))
    b = rows * float(grid.mean(0).var(ddof=1))
    rest = grid - grid.mean(1, keepdims=True) - grid.mean(0) + mean
    e = float(np.square(rest).sum()) / (df[0] * df[1])
    error = math.sqrt(max(a + b - e, a, b) / grid.size)
    share = a / (a + b) if a + b > 0 else 1.0
    both = 1 / (share**2 / df[0] + (1 - share) ** 2 / df[1])
    trust = TRUST.get(min(grid.shape), MOST_TRUST)

    def tail(t: float) -> float:
        careful = share * _two_sided(t, df[0]) + (1 - share) * _two_sided(t, df[1])
        return trust * _two_sided(t, both) + (1 - trust) * careful

    return mean, error, tail


def _two_sided(t: float, df: float) -> float:
    """The p of Student's t, in microseconds."""
    return 2 * float(special.stdtr(df, -abs(t)))


def _tested(mean: float, error: float, tail: Callable[[float], float], pairs: int) -> Contrast:
    """The mean with the interval of the values that a test at α does not refuse.

    :param tail: |t| → the two-sided p.
    """
    if error <= SAME * abs(mean):
        return Contrast(mean, *_without_spread(mean, pairs), pairs)
    most = 1.0
    while tail(most) > ALPHA:
        most *= 2
    reach = error * float(optimize.brentq(lambda t: tail(t) - ALPHA, 0, most))
    return Contrast(mean, mean - reach, mean + reach, tail(abs(mean) / error), pairs)


def _without_spread(value: float, runs: int) -> tuple[float, float, float]:
    """Interval and p where all runs have one difference to the last bits.

    None at all is the same, however few runs there are. By one factor is what a change without chance does, such as a
    metric on another scale. Few runs can also agree by chance, where a metric counts images, and have no spread to
    judge that by.
    """
    if value != 0 and runs < FEWEST:
        return math.nan, math.nan, math.nan
    return value, value, float(value == 0)


def _on(scale: Scale, found: Contrast) -> Contrast:
    """As ratios, where that is how scores are compared."""
    if scale == "difference":
        return found
    return found._replace(value=math.exp(found.value), low=math.exp(found.low), high=math.exp(found.high))


def holm(ps: Sequence[float], most: float = 1.0) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given; NaN is no test and counts for nothing.

    :param most: the largest that there is. Without it (∞), an adjusted p over its p says how much was multiplied.
    """
    tests = [i for i, p in enumerate(ps) if not math.isnan(p)]
    adjusted, least = list(ps), 0.0
    for rank, i in enumerate(sorted(tests, key=lambda i: ps[i])):
        least = max(least, min(most, (len(tests) - rank) * ps[i]))
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


class Needed(NamedTuple):
    """How many runs would decide: from ``low`` to ``high``, None where nobody can say how many at most."""

    low: int
    high: int | None


def needed_runs(logs: Sequence[float], alpha: float = ALPHA) -> Needed | None:
    """:func:`runs_to_decide` for the effect that these runs found, at both ends of its 50% interval.

    The interval is that of the effect over its spread, by its generalised pivot: the effect seen with the scatter of
    normal runs taken from it. It holds the truth half of the time: a single number would be taken for more than a
    guess. None with fewer than :data:`FEWEST` runs, or without spread.
    """
    n = len(logs)
    if n < FEWEST or (spread := statistics.stdev(logs)) <= 0:
        return None
    random = np.random.default_rng(0)
    scale = np.sqrt(random.chisquare(n - 1, 20_000) / (n - 1))
    effects = statistics.fmean(logs) / spread * scale - random.standard_normal(20_000) / math.sqrt(n)
    low, high = map(float, np.quantile(effects, [0.25, 0.75]))
    fewest = runs_to_decide(max(abs(low), abs(high)), 1.0, alpha)
    most = None if low <= 0 <= high else runs_to_decide(min(abs(low), abs(high)), 1.0, alpha)
    return None if fewest is None else Needed(max(fewest, n + 1), most and max(most, n + 1))  # those there are have not


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
