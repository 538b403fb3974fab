"""The best of many settings: which may be it, how sure that is, and what its score is without the luck of being chosen.

The lowest of many scores is lower than it will be again: it was chosen for its luck as well. Pure functions of
log scores, (settings, training seeds), lower being better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special

from bench.analysis.frames import AXES, MODEL_AXES, Results
from bench.analysis.stats import ALPHA, Seeds, grid_of, most_pairs, share_noise
from bench.analysis.whole import block

NEAR = 6
"""Settings whose mean is above the lowest by up to this many standard errors are looked at. Others cannot be the best,
and may scatter differently."""
MOST = 300
"""Settings that are looked at at most."""
DRAWS = 1000
"""Draws of chance."""
ROUNDING = 1e-20
"""A variance of log scores that is no more than this is none."""


@dataclass(frozen=True)
class Best:
    """What can be said of a setting that was chosen because it scored lowest, among ``of`` settings.

    ``mean`` is its mean log score over seeds, ``value`` that of the best corrected for the choice, ``chance`` that it
    really is the best. ``members`` are the settings that cannot be told from the best, lowest first; in simulations
    the best is one of them in 92 to 100 of 100 studies. ``likeliest`` is the setting with the lowest mean log score,
    which need not be the one with the lowest median; its own mean and chance stand beside it. ``runs``: training seeds
    that this is over. ``shared``: they were sampled from one noise, whose part nobody can see, so that ``members`` are
    too few.
    """

    named: int
    of: int
    mean: float
    value: float
    chance: float
    members: tuple[int, ...]
    likeliest: int
    likeliest_mean: float
    likeliest_chance: float
    runs: int
    shared: bool = False


def best(logs: np.ndarray, models: Sequence[Any], named: int) -> Best:
    """What can be said of the setting ``named``.

    :param logs: (settings, training seeds) or (settings, training seeds, sampling seeds), none missing; at least two
        training seeds, and two sampling seeds if they have an axis.
    :param models: the trained network that each setting samples: settings of one network share its luck.
    """
    runs = logs if logs.ndim == 2 else logs.mean(2)
    means = runs.mean(1)
    order = np.argsort(means, kind="stable")[:MOST]
    near = order[_near(logs[order])]
    near = near if named in near else np.append(near, named)
    codes = _codes(models, near)
    chances = _chances(means[near], _covariance(logs[near], codes))
    return Best(
        named=named,
        of=len(logs),
        mean=float(means[named]),
        value=unlucky(runs),
        chance=float(chances[near.tolist().index(named)]),
        members=tuple(near[_Compared.of(logs[near], codes).members()].tolist()),
        likeliest=int(near[0]),
        likeliest_mean=float(means[near[0]]),
        likeliest_chance=float(chances[0]),
        runs=runs.shape[1],
    )


def _near(logs: np.ndarray) -> np.ndarray:
    """The settings that are near the first, which is the lowest, by their own standard error or the usual one."""
    apart = logs - logs[0]
    if logs.ndim == 2:
        squared = apart.var(1, ddof=1) / apart.shape[1]
    else:
        parts = apart.mean(2), apart.mean(1)
        squared = np.sum([each.var(1, ddof=1) / each.shape[1] for each in parts], axis=0)
    error = np.sqrt(squared)
    usual = float(np.median(error[1:])) if len(error) > 1 else 0.0
    return np.flatnonzero(apart.reshape(len(logs), -1).mean(1) <= NEAR * np.maximum(error, usual))


def _codes(models: Sequence[Any], of: np.ndarray) -> np.ndarray:
    """A number for each different model."""
    return np.unique([str(models[i]) for i in of], return_inverse=True)[1]


def best_of(results: Results) -> Best | None:
    """The same of the first of ``results.settings``; numbers are rows of it.

    It is over seeds that the first setting has, and as many other settings as possible. Settings that lack one of these
    are not compared. None where that leaves one training seed, or one setting.
    """
    settings, positive = results.settings, results.done[results.done["fid"] > 0]
    if len(results.seeds) < 2 or len(settings) < 2:
        return None
    logs = positive.assign(log=np.log(positive["fid"])).pivot_table(
        index=list(AXES), columns=["seed", "sample_seed"], values="log", sort=False
    )
    table = logs.reindex(pd.MultiIndex.from_frame(settings[list(AXES)]))
    columns: list[Seeds] = [(int(at[0]), int(at[1])) for at in table.columns.to_flat_index()]
    there = dict(zip(columns, np.isfinite(table.to_numpy()).T, strict=True))
    seeds, whole = block({at: np.flatnonzero(own).tolist() for at, own in there.items() if own[0]}, most_pairs)
    if len(whole) < 2 or len({seed for seed, _ in seeds}) < 2:
        return None
    models = [tuple(row) for row in settings[list(MODEL_AXES)].iloc[whole].to_numpy()]
    found = best(_scores(table.iloc[whole], seeds), models, whole.index(0))
    return replace(
        found,
        named=0,
        members=tuple(whole[i] for i in found.members),
        likeliest=whole[found.likeliest],
        shared=grid_of(seeds) is None and share_noise(seeds),
    )


def _scores(table: pd.DataFrame, seeds: Sequence[Seeds]) -> np.ndarray:
    """By training and sampling seeds where these are a grid, else the mean of each training seed."""
    grid = grid_of(seeds)
    if grid is None:
        rows = sorted({seed for seed, _ in seeds})
        return np.stack([table[[at for at in seeds if at[0] == seed]].to_numpy().mean(1) for seed in rows], axis=1)
    return np.stack([table[[(seed, draw) for draw in grid[1]]].to_numpy() for seed in grid[0]], axis=1)


def unlucky(logs: np.ndarray) -> float:
    """The best's log score without the luck of being chosen: chosen by all seeds but one, read at the one left out.

    The mean over the seeds that are left out. The choice is by the median, as in the tables.
    """
    seeds = range(logs.shape[1])
    chosen = [int(np.median(np.delete(logs, seed, 1), 1).argmin()) for seed in seeds]
    return float(np.mean([logs[setting, seed] for setting, seed in zip(chosen, seeds, strict=True)]))


def _covariance(logs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Of the means of settings over seeds, as far as settings differ: a setting's own luck, and its network's.

    From two-way residuals (what a seed does to all settings is no difference), nested by network. With sampling seeds
    it is the sum of that over either kind, which counts what both do together twice.
    """
    if logs.ndim == 3:
        return _covariance(logs.mean(2), codes) + _covariance(logs.mean(1), codes)
    count, seeds = logs.shape
    left = logs - logs.mean(1, keepdims=True)
    left = left - left.mean(0, keepdims=True)
    sizes = np.bincount(codes)
    networks = np.stack([np.bincount(codes, left[:, k]) / sizes for k in range(seeds)], axis=1)
    own_df, network_df = ((count - len(sizes)) * (seeds - 1), (len(sizes) - 1) * (seeds - 1))
    own = float(np.square(left - networks[codes]).sum()) / own_df if own_df else 0.0
    between = float(np.square(networks).sum()) / network_df if network_df else 0.0
    network = max(0.0, between - own * float((1 / sizes).mean()))
    same = codes[:, None] == codes
    return (own * np.eye(count) + network * same) / seeds


def _chances(means: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """How likely each setting is the best, by empirical Bayes: true means are taken as normal about their mean.

    Their variance is what the covariance of the noise leaves of that of the means seen.
    """
    count = len(means)
    spread = max(float(means.var(ddof=1)) - float(np.trace(noise)) / count, 0.0) if count > 1 else 0.0
    if spread == 0:
        return np.full(count, 1 / count)
    gain = spread * np.linalg.inv(spread * np.eye(count) + noise)
    expected, left = means.mean() + gain @ (means - means.mean()), spread * (np.eye(count) - gain)
    drawn = np.random.default_rng(0).multivariate_normal(expected, (left + left.T) / 2, DRAWS, method="eigh")
    return np.bincount(drawn.argmin(1), minlength=count) / DRAWS


@dataclass(frozen=True)
class _Compared:
    """Each setting (row) against each other (column): how far its mean is above, in standard errors (``t``).

    The scatter of a difference is that of this difference over seeds. It sees what both share, and that some settings
    scatter more than others. Of few seeds it is hardly known, so all differences lend to it (:func:`_moderated`).

    ``df`` are the degrees of freedom by training seeds and by sampling seeds, ``share`` the training seeds' part in the
    variance.
    """

    t: np.ndarray
    df: tuple[np.ndarray, np.ndarray]
    share: np.ndarray

    @classmethod
    def of(cls, logs: np.ndarray, codes: np.ndarray) -> _Compared:
        """:param logs: as :func:`best` has them."""
        by_run = logs if logs.ndim == 2 else logs.mean(2)
        runs = by_run.shape[1]
        training, df = _moderated(_squares(by_run) / (runs - 1), runs - 1, codes)
        variance, share, df_draws = training / runs, np.ones_like(training), df
        if logs.ndim == 3:  # both kinds of seeds, as in :func:`bench.analysis.stats.crossed`
            by_draw, draws = logs.mean(1), logs.shape[2]
            noise, df_draws = _moderated(_squares(by_draw) / (draws - 1), draws - 1, codes)
            rest = logs - by_run[:, :, None] - by_draw[:, None, :] + by_run.mean(1)[:, None, None]
            both = _squares(rest.reshape(len(logs), -1)) / ((runs - 1) * (draws - 1) * runs * draws)
            a, b = variance, noise / draws
            variance, share = np.maximum.reduce([a + b - both, a, b]), a / np.maximum(a + b, ROUNDING)
        means = by_run.mean(1)
        return cls((means[:, None] - means) / np.sqrt(np.maximum(variance, ROUNDING)), (df, df_draws), share)

    def members(self) -> np.ndarray:
        """Multiple comparisons with the best (Hsu 1984): the settings that no other is surely lower than.

        At 95% for all, by Bonferroni over the others.
        """
        training, sampling = (special.stdtr(df, -self.t) for df in self.df)
        p = self.share * training + (1 - self.share) * sampling
        return np.flatnonzero((p * max(len(p) - 1, 1) > ALPHA).all(1))


def _squares(values: np.ndarray) -> np.ndarray:
    """The sum of squares of each difference of two rows, about its mean."""
    centred = values - values.mean(1, keepdims=True)
    products = centred @ centred.T
    own = products.diagonal()
    return np.maximum(own[:, None] + own - 2 * products, 0.0)


def _moderated(variances: np.ndarray, df: int, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of differences that lend to each other, and what degrees of freedom they have then.

    Smyth (2004, *Linear models and empirical Bayes methods*): each is drawn towards what they have in common, the more
    so the less they differ beyond chance. Those of two settings of one network are smaller and stand apart. They know
    no more together than as many networks, or settings, as there are.
    """
    found, trust = variances.copy(), np.full(variances.shape, float(df))
    networks, same = len(np.unique(codes)), codes[:, None] == codes
    for pairs, most in ((same, len(codes) - networks), (~same, networks - 1)):
        seen = variances[pairs & np.tri(len(codes), k=-1, dtype=bool)]
        seen = seen[seen > ROUNDING]
        if len(seen) < 2:
            continue
        logs = np.log(seen) - special.digamma(df / 2) + math.log(df / 2)
        prior, common = _prior(float(logs.var(ddof=1) - special.polygamma(1, df / 2))), float(seen.mean())
        if math.isfinite(prior):
            common = math.exp(logs.mean() + special.digamma(prior / 2) - math.log(prior / 2))
            found[pairs] = (prior * common + df * variances[pairs]) / (prior + df)
        else:
            found[pairs] = common
        trust[pairs] = min(prior + df, max(most, 1) * df)
    return found, trust


def _prior(extra: float) -> float:
    """The degrees of freedom of a scatter of log variances: of which trigamma(df / 2) is that much."""
    most = 1e4
    if extra <= special.polygamma(1, most / 2):
        return math.inf
    return float(optimize.brentq(lambda df: special.polygamma(1, df / 2) - extra, 1e-3, most))
