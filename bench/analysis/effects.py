"""What each choice costs: ratios of FID between cells that differ in that choice alone. Pure functions of frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import linalg, stats

from bench.analysis.claims import ALL_STEPS
from bench.analysis.frames import AXES, MODEL_AXES
from bench.analysis.stats import Chance, Components, components, improvement, profile

SEEDS = ("seed", "sample_seed")
"""Training and sampling."""
DEPENDENT = 1e-8
"""A column that has less than this share of its own depends on the others: counts of cells give 0, or far more."""

Term = tuple[str, ...]
"""A choice, or two together."""


@dataclass(frozen=True)
class Effect:
    """A level of an axis against the axis's best level: FID ratios over matched pairs, and their geometric mean.

    ``by_seed`` holds the geometric mean of each training seed's pairs, ``chance`` how likely a run of the best level is
    to score lower than a run of this one.
    """

    axis: str
    level: Any
    best: Any
    ratios: tuple[float, ...]
    by_seed: tuple[float, ...]
    chance: Chance | None = None

    @property
    def ratio(self) -> float:
        """The geometric mean over pairs; NaN without any."""
        return geometric_mean(self.ratios)


def geometric_mean(values: tuple[float, ...]) -> float:
    """exp of the mean logarithm; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def matched(done: pd.DataFrame, axis: str, value: str = "fid") -> pd.DataFrame:
    """``value`` with a column for each level of ``axis`` and a row for each combination of everything else.

    Models of different T are matched where they take equally many sampling steps, and where each takes all of its own.
    """
    others = [name for name in (*AXES, *SEEDS) if name != axis]
    if axis == "T":
        full = done[done["sample_steps"] == done["T"]].assign(sample_steps=ALL_STEPS)
        done = pd.concat([done, full], ignore_index=True)
    return done.pivot_table(index=others, columns=axis, values=value, aggfunc="first", sort=False)


def effects(done: pd.DataFrame, axis: str, levels: list[Any]) -> list[Effect]:
    """Each level of ``axis`` against the best one: the lowest geometric mean where all levels were measured.

    Where no combination has all of them, the best level is that of the setting with the lowest median.
    """
    positive = done[done["fid"] > 0]
    if positive.empty:
        return []
    grid = matched(positive, axis).apply(np.log)
    complete = grid.dropna() if set(levels) <= set(grid.columns) else grid.iloc[:0]
    best: Any = complete.mean().idxmin() if len(complete) else _of_best_setting(positive, axis)
    found = []
    for level in levels:
        if level not in grid.columns:
            found.append(Effect(axis, level, best, (), ()))
            continue
        difference = (grid[level] - grid[best]).dropna()
        seeds = difference.groupby(level="seed").mean() if len(difference) else difference
        chance = _chance(grid[[best, level]].dropna()) if level != best and len(difference) else None
        found.append(Effect(axis, level, best, tuple(np.exp(difference)), tuple(np.exp(seeds)), chance))
    return found


def _of_best_setting(done: pd.DataFrame, axis: str) -> Any:
    medians = done.groupby(list(AXES), sort=False, dropna=False)["fid"].median().reset_index()
    return medians.sort_values("fid", kind="stable")[axis].iloc[0]


def narrower(done: pd.DataFrame, axis: str, group: Sequence[Effect], others: Sequence[str]) -> dict[str, list[Any]]:
    """Other axis → its levels that there are pairs of, where that is not all of its levels.

    Numbers of sampling steps are left out for T: each T has its own.
    """
    grid = matched(done[done["fid"] > 0], axis)
    levels = [effect.level for effect in group if effect.ratios and effect.level != effect.best]
    if not levels:
        return {}
    pairs = grid[grid[group[0].best].notna() & grid[levels].notna().any(axis=1)].index
    found = {}
    for other in others:
        if other == axis or (axis == "T" and other == "sample_steps"):
            continue
        every, here = (values.unique().tolist() for values in (done[other], pairs.get_level_values(other)))
        if set(every) - set(here):
            found[other] = [level for level in every if level in here]
    return found


def alike(group: Sequence[Effect]) -> list[list[Any]]:
    """Levels that have the same ratios in every pair, but for one that is by itself."""
    found: dict[tuple[float, ...], list[Any]] = {}
    for effect in group:
        if effect.ratios:
            found.setdefault(effect.ratios, []).append(effect.level)
    return [levels for levels in found.values() if len(levels) > 1]


def _chance(grid: pd.DataFrame) -> Chance:
    """How likely a run of the first column is to score lower than a run of the second, in the settings that have both.

    A run's score is its mean over sampling seeds.
    """
    settings = [name for name in grid.index.names if name not in SEEDS]
    a, b = (grid.iloc[:, i].groupby(level=[*settings, "seed"]).mean().unstack("seed").to_numpy() for i in (0, 1))
    return improvement(a, b)


def profiles(done: pd.DataFrame, axis: str, levels: Sequence[Any], factors: np.ndarray) -> tuple[np.ndarray, int]:
    """The performance profile of each level, (factors, levels), over the problems that all were measured on; and those.

    A problem is a setting of everything else, with its seeds.
    """
    grid = matched(done[done["fid"] > 0], axis).reindex(columns=list(levels)).dropna()
    return profile(grid.to_numpy(), factors) if len(grid) else np.empty((len(factors), len(levels))), len(grid)


def scatter(done: pd.DataFrame) -> Components | None:
    """The variance components of log FID over the settings that have every training seed with every sampling seed.

    None where fewer than two of either were drawn, or no setting has all.
    """
    positive = done[done["fid"] > 0]
    rows = positive.assign(log=np.log(positive["fid"])).pivot_table(
        index=list(AXES), columns=list(SEEDS), values="log", aggfunc="first", sort=False
    )
    runs, draws = (positive[name].nunique() for name in SEEDS)
    whole = rows.dropna().sort_index(axis=1)
    if min(runs, draws) < 2 or whole.shape[1] < runs * draws or whole.empty:
        return None
    models = len(whole.index.to_frame()[list(MODEL_AXES)].drop_duplicates())
    return components(whole.to_numpy().reshape(-1, runs, draws), models)


@dataclass(frozen=True)
class Factor:
    """A choice, or two together, and the share of the variance of log FID that it explains.

    ``low`` and ``high`` are its 95% interval over training seeds, NaN with fewer than three. ``corrected``: what chance
    explains was taken away; if not, there is no interval either. ``cells``: how many it is over.
    """

    axes: tuple[str, ...]
    share: float
    low: float
    high: float
    corrected: bool = False
    cells: int = 0


def factors(done: pd.DataFrame, axes: Sequence[str]) -> tuple[list[Factor], float]:
    """Main effects and interactions of two choices on log FID, the largest first; and the share that they leave.

    Sums of squares are of type II: what a term adds to all others that do not contain it, so that cells may be missing.
    What is left is what seeds do, and how three choices or more go together.

    Chance alone explains something too, in proportion to 1 / seeds. With two training seeds or more, the unit of
    replication, the jackknife over them takes that away. Intervals are the jackknife's (Efron & Stein 1981). It asks
    the same question without each seed. So cells of two levels that were run together with one seed alone are left out.
    Where that would leave out a level, nothing is taken away: without that seed the choice would be another one.
    """
    positive = done[done["fid"] > 0]
    several = _of_several_seeds(positive, axes)
    used = positive if several is None else several
    y = np.log(used["fid"].to_numpy())
    if len(y) == 0 or np.ptp(y) == 0:
        return [], math.nan
    at, design = _design(used, axes)
    whole, left = design.shares(at, y)
    seeds = used["seed"].to_numpy()
    without = [] if several is None else [design.shares(at[seeds != one], y[seeds != one]) for one in np.unique(seeds)]
    found = [
        Factor(of, *_jackknife(share, [shares[of] for shares, _ in without]), bool(without), len(y))
        for of, share in whole.items()
    ]
    return sorted(found, key=_largest), _jackknife(left, [rest for _, rest in without])[0]


def _of_several_seeds(frame: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame | None:
    """The cells of which each two levels were run together with several seeds; None if a level has none of them."""
    kept, before = frame, -1
    while len(kept) != before and len(kept):
        before = len(kept)
        for of in (*((axis,) for axis in axes), *itertools.combinations(axes, 2)):
            kept = kept[kept.groupby(list(of), dropna=False)["seed"].transform("nunique") > 1]
    return kept if len(kept) and all(kept[axis].nunique() == frame[axis].nunique() for axis in axes) else None


def _largest(factor: Factor) -> float:
    return -factor.share


def _jackknife(share: float, without: Sequence[float]) -> tuple[float, float, float]:
    """A share with its bias taken away and its interval, from what it is without each seed."""
    n, each = len(without), np.array(without)
    if n == 0:
        return share, math.nan, math.nan
    value = min(max(n * share - (n - 1) * float(each.mean()), 0.0), 1.0)
    if n < 3:
        return value, math.nan, math.nan
    error = math.sqrt((n - 1) / n * float(np.square(each - each.mean()).sum()))
    reach = error * float(stats.t.ppf(0.975, n - 1))
    return value, max(0.0, value - reach), min(1.0, value + reach)


def _design(frame: pd.DataFrame, axes: Sequence[str]) -> tuple[np.ndarray, _Design]:
    """The combination of levels that each row has, as a number, and the design of these combinations.

    A large grid has few of them: each is in it once for every seed.
    """
    levels = [pd.factorize(frame[axis].astype(str))[0] for axis in axes]
    number = np.ravel_multi_index(levels, [int(codes.max()) + 1 for codes in levels])
    _, first, at = np.unique(number, return_index=True, return_inverse=True)
    columns = {axis: np.eye(codes.max() + 1)[codes[first], 1:] for axis, codes in zip(axes, levels, strict=True)}
    terms: dict[Term, np.ndarray] = {(axis,): columns[axis] for axis in axes}
    for a, b in itertools.combinations(axes, 2):
        both = (columns[a][:, :, None] * columns[b][:, None, :]).reshape(len(first), -1)
        terms[a, b] = both[:, both.any(0)]
    names = [None, *(name for name, x in terms.items() for _ in range(x.shape[1]))]
    return at, _Design(tuple(terms), tuple(names), np.concatenate([np.ones((len(first), 1)), *terms.values()], axis=1))


@dataclass(frozen=True)
class _Design:
    """What terms say of combinations of levels: ``matrix`` has a row for each, ``names`` the term of each column.

    An axis has a column for each level but its first: with the mean and the terms inside a term, these span all of it.
    """

    terms: tuple[Term, ...]
    names: tuple[Term | None, ...]
    matrix: np.ndarray

    def shares(self, at: np.ndarray, y: np.ndarray) -> tuple[dict[Term, float], float]:
        """Each term's share of the sum of squares of y, and the share that is left of it.

        :param at: the row of the matrix that is each value's.
        """
        centred = y - y.mean() if len(y) else y
        total = float(centred @ centred)
        if total == 0:
            return dict.fromkeys(self.terms, math.nan), math.nan
        count = np.bincount(at, minlength=len(self.matrix))
        gram = (self.matrix * count[:, None]).T @ self.matrix
        moment = self.matrix.T @ np.bincount(at, centred, len(self.matrix))

        @cache
        def explained(by: frozenset[Term]) -> float:
            rows = [i for i, name in enumerate(self.names) if name is None or name in by]
            return _explained(gram[np.ix_(rows, rows)], moment[rows])

        shares = {}
        for term in self.terms:
            others = frozenset(other for other in self.terms if not set(term) <= set(other))
            shares[term] = max(0.0, explained(others | {term}) - explained(others)) / total
        return shares, max(0.0, 1 - explained(frozenset(self.terms)) / total)


def _explained(gram: np.ndarray, moment: np.ndarray) -> float:
    """The sum of squares that columns explain, from their products with each other and with what is explained.

    By Cholesky's way; by the pseudoinverse, which takes fifty times as long, where a column follows from the others.
    """
    try:
        root = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        own = 0.0
    else:
        own = float((np.square(root.diagonal()) / gram.diagonal()).min())  # the least that a column has of its own
    if own < DEPENDENT:
        return float(moment @ np.linalg.pinv(gram, DEPENDENT, hermitian=True) @ moment)
    part = linalg.solve_triangular(root, moment, lower=True, check_finite=False)
    return float(part @ part)


def pareto(frame: pd.DataFrame, x: str, y: str = "fid", within: float = 0.0) -> pd.DataFrame:
    """The rows that no other beats in ``y`` (less is better) at no more of ``x``, by ``x``.

    :param within: the relative difference in ``x`` that counts as none.
    """
    ordered = frame.dropna(subset=[x, y]).sort_values([x, y], kind="stable")
    at, value = ordered[x].to_numpy(), ordered[y].to_numpy()
    beaten = [bool(((at <= a * (1 + within)) & (value < v)).any()) for a, v in zip(at, value, strict=True)]
    front = ordered[[not b for b in beaten]]
    return front.drop_duplicates(y)
