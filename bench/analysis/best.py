"""The best of many settings: which may be it, how sure that is, and what its score is without the luck of being chosen.

The lowest of many scores is lower than it will be again: it was chosen for its luck as well. Pure functions of
log scores, (settings, training seeds), lower being better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.frames import AXES, MODEL_AXES, Results
from bench.analysis.stats import ALPHA

NEAR = np.log(2)
"""Settings whose mean is this near the lowest are looked at: others cannot be the best, and scatter differently."""
MOST = 300
"""Settings that are looked at at most."""
DRAWS = 1000
"""Draws of chance."""


@dataclass(frozen=True)
class Best:
    """What can be said of a setting that was chosen because it scored lowest, among ``of`` settings.

    ``mean`` is its mean log score over seeds, ``value`` that of the best corrected for the choice, ``chance`` that it
    really is the best. ``members`` are the settings that cannot be told from the best, lowest first; in 95 of 100
    studies the best is one of them. ``likeliest`` is the setting with the lowest mean log score, which need not be the
    one with the lowest median; its own mean and chance stand beside it.
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


def best(logs: np.ndarray, models: Sequence[Any], named: int) -> Best:
    """What can be said of the setting ``named``.

    :param logs: (settings, training seeds), at least two seeds, none missing.
    :param models: the trained network that each setting samples: settings of one network share its luck.
    """
    means = logs.mean(1)
    order = np.argsort(means, kind="stable")
    near = [int(i) for i in order[:MOST] if means[i] <= means[order[0]] + NEAR]
    near = near if named in near else [*near, named]
    codes = np.unique([str(models[i]) for i in near], return_inverse=True)[1]
    scatter = _Scatter.of(logs[near], codes)
    chances = _chances(means[near], codes, scatter)
    members = tuple(near[i] for i in _members(means[near], codes, scatter))
    return Best(
        named=named,
        of=len(logs),
        mean=float(means[named]),
        value=unlucky(logs),
        chance=float(chances[near.index(named)]),
        members=members,
        likeliest=near[0],
        likeliest_mean=float(means[near[0]]),
        likeliest_chance=float(chances[0]),
    )


def best_of(results: Results) -> Best | None:
    """The same of the first of ``results.settings``; numbers are rows of it.

    Settings that lack a training seed are not compared. None where there is one seed, or one setting, or the first
    lacks a seed.
    """
    settings, positive = results.settings, results.done[results.done["fid"] > 0]
    if len(results.seeds) < 2 or len(settings) < 2:
        return None
    logs = positive.assign(log=np.log(positive["fid"])).pivot_table(
        index=list(AXES), columns="seed", values="log", sort=False
    )
    table = logs.reindex(pd.MultiIndex.from_frame(settings[list(AXES)])).to_numpy()
    whole = np.flatnonzero(np.isfinite(table).all(1))
    if len(whole) < 2 or whole[0] != 0:
        return None
    models = [tuple(row) for row in settings[list(MODEL_AXES)].iloc[whole].to_numpy()]
    found = best(table[whole], models, 0)
    members = tuple(int(whole[i]) for i in found.members)
    return replace(found, members=members, likeliest=int(whole[found.likeliest]))


def unlucky(logs: np.ndarray) -> float:
    """The best's log score without the luck of being chosen: chosen by all seeds but one, read at the one left out.

    The mean over the seeds that are left out. The choice is by the median, as in the tables.
    """
    seeds = range(logs.shape[1])
    chosen = [int(np.median(np.delete(logs, seed, 1), 1).argmin()) for seed in seeds]
    return float(np.mean([logs[setting, seed] for setting, seed in zip(chosen, seeds, strict=True)]))


@dataclass(frozen=True)
class _Scatter:
    """Variances over seeds that settings differ by: of a setting's own luck, and of its network's."""

    own: float
    network: float
    own_df: int
    network_df: int
    seeds: int

    @classmethod
    def of(cls, logs: np.ndarray, codes: np.ndarray) -> _Scatter:
        """Two-way residuals (what a seed does to all settings is no difference), nested by network."""
        count, seeds = logs.shape
        left = logs - logs.mean(1, keepdims=True)
        left = left - left.mean(0, keepdims=True)
        sizes = np.bincount(codes)
        networks = np.stack([np.bincount(codes, left[:, k]) / sizes for k in range(seeds)], axis=1)
        own_df, network_df = ((count - len(sizes)) * (seeds - 1), (len(sizes) - 1) * (seeds - 1))
        own = float(np.square(left - networks[codes]).sum()) / own_df if own_df else 0.0
        between = float(np.square(networks).sum()) / network_df if network_df else 0.0
        return cls(own, max(0.0, between - own * float((1 / sizes).mean())), own_df, network_df, seeds)

    def covariance(self, codes: np.ndarray) -> np.ndarray:
        """Of the means over seeds."""
        same = codes[:, None] == codes[None, :]
        return (self.own * np.eye(len(codes)) + self.network * same) / self.seeds


def _chances(means: np.ndarray, codes: np.ndarray, scatter: _Scatter) -> np.ndarray:
    """How likely each setting is the best, by empirical Bayes: true means are taken as normal about their mean.

    Their variance is what the scatter of seeds leaves of that of the means seen.
    """
    noise = scatter.covariance(codes)
    count = len(means)
    spread = max(float(means.var(ddof=1)) - float(np.trace(noise)) / count, 0.0) if count > 1 else 0.0
    if spread == 0:
        return np.full(count, 1 / count)
    gain = spread * np.linalg.inv(spread * np.eye(count) + noise)
    expected, left = means.mean() + gain @ (means - means.mean()), spread * (np.eye(count) - gain)
    drawn = np.random.default_rng(0).multivariate_normal(expected, (left + left.T) / 2, DRAWS, method="eigh")
    return np.bincount(drawn.argmin(1), minlength=count) / DRAWS


def _members(means: np.ndarray, codes: np.ndarray, scatter: _Scatter) -> list[int]:
    """Multiple comparisons with the best (Hsu 1984): the settings that no other is surely lower than, at 95% for all.

    What a difference may be by chance is found by simulation, the uncertainty of both variances included.
    """
    count, random = len(means), np.random.default_rng(0)
    noise = random.multivariate_normal(np.zeros(count), scatter.covariance(codes), DRAWS, method="eigh")
    ratios = [df / random.chisquare(df, DRAWS) if df else np.ones(DRAWS) for df in (scatter.own_df, scatter.network_df)]
    own, network = scatter.own / ratios[0], scatter.network / ratios[1]  # as estimates of them would scatter
    alike, apart = (np.sqrt(2 * v / scatter.seeds) for v in (own, own + network))
    found = []
    for i in range(count):
        others = np.arange(count) != i
        same = (codes == codes[i])[others]
        error = np.where(same[None, :], alike[:, None], apart[:, None])
        seen = np.where(same, scatter.own, scatter.own + scatter.network) * 2 / scatter.seeds
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = np.nan_to_num((noise[:, [i]] - noise[:, others]) / error, posinf=0.0, neginf=0.0)
            lower = np.nan_to_num((means[i] - means[others]) / np.sqrt(seen))
        if count == 1 or lower.max() <= np.quantile(reached.max(1), 1 - ALPHA):
            found.append(i)
    return found
