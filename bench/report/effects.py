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
    grid = np.log(matched(positive, axis))
    complete = grid.dropna() if set(levels) <= set(grid.columns) else grid.iloc[:0]
    best = complete.mean().idxmin() if len(complete) else positive.loc[positive["fid"].idxmin(), axis]
    found = []
    for level in levels:
        if level not in grid.columns:
            found.append(Effect(axis, level, best, (), ()))
            continue
        difference = (grid[level] - grid[best]).dropna()
        seeds = difference.groupby(level="seed").mean() if len(difference) else difference
        found.append(Effect(axis, level, best, tuple(np.exp(difference)), tuple(np.exp(seeds))))
    return found


def pareto(frame: pd.DataFrame, x: str, y: str = "fid") -> pd.DataFrame:
    """The rows that no other beats in both columns (less is better), by ``x``."""
    ordered = frame.dropna(subset=[x, y]).sort_values([x, y], kind="stable")
    best = ordered[y].cummin()
    return ordered[(ordered[y] == best) & ~best.duplicated()]
