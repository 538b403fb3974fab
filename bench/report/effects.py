"""What each choice costs: ratios of FID between cells that differ in that choice alone. Pure functions of frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.report.results import AXES


@dataclass(frozen=True)
class Effect:
    """A level of an axis against the axis's best level: FID ratios over matched pairs, and their geometric mean.

    ``by_seed`` holds the geometric mean of each training seed's pairs.
    """

    axis: str
    level: Any
    best: Any
    ratios: tuple[float, ...]
    by_seed: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The geometric mean over pairs; NaN without any."""
        return geometric_mean(self.ratios)


def geometric_mean(values: tuple[float, ...]) -> float:
    """exp of the mean logarithm; NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan


def matched(done: pd.DataFrame, axis: str, value: str = "fid") -> pd.DataFrame:
    """``value`` with a column for each level of ``axis`` and a row for each combination of everything else."""
    others = [name for name in (*AXES, "seed") if name != axis]
    return done.pivot_table(index=others, columns=axis, values=value, aggfunc="first", sort=False)


def effects(done: pd.DataFrame, axis: str, levels: list[Any]) -> list[Effect]:
    """Each level of ``axis`` against the best one: the lowest geometric mean where all levels were measured.

    Where no combination has all of them, the best level is that of the best cell.
    """
    positive = done[done["fid"] > 0]
    if positive.empty:
        return []
    grid = matched(positive, axis).apply(np.log)
    complete = grid.dropna() if set(levels) <= set(grid.columns) else grid.iloc[:0]
    best: Any = complete.mean().idxmin() if len(complete) else positive.sort_values("fid").iloc[0][axis]
    found = []
    for level in levels:
        if level not in grid.columns:
            found.append(Effect(axis, level, best, (), ()))
            continue
        difference = (grid[level] - grid[best]).dropna()
        seeds = difference.groupby(level="seed").mean() if len(difference) else difference
        found.append(Effect(axis, level, best, tuple(np.exp(difference)), tuple(np.exp(seeds))))
    return found


def pareto(frame: pd.DataFrame, x: str, y: str = "fid", within: float = 0.0) -> pd.DataFrame:
    """The rows that no other beats in ``y`` (less is better) at no more of ``x``, by ``x``.

    :param within: the relative difference in ``x`` that counts as none.
    """
    ordered = frame.dropna(subset=[x, y]).sort_values([x, y], kind="stable")
    at, value = ordered[x].to_numpy(), ordered[y].to_numpy()
    beaten = [bool(((at <= a * (1 + within)) & (value < v)).any()) for a, v in zip(at, value, strict=True)]
    front = ordered[[not b for b in beaten]]
    return front.drop_duplicates(y)
