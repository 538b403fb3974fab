"""How many sampling steps are enough, as far as seeds can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.effects import SEEDS
from bench.analysis.frames import MODEL_AXES
from bench.analysis.stats import Seeds, paired

ENOUGH = 1.1
"""A number of steps is enough where FID is within this factor of the best number's, there and with more steps."""


class Enough(NamedTuple):
    """FID by number of steps, and how many are enough.

    ``surely``: the fewest that seeds show to be enough, with every larger number. ``maybe``: the fewest that they do
    not show to be too few. None where there is none, as where more steps make it worse. ``tested``: whether there were
    seeds to tell by; if not, both are what the numbers look like. ``runs``: training runs behind them.
    """

    means: dict[int, float]
    surely: int | None
    maybe: int | None
    tested: bool
    runs: int

    @property
    def largest(self) -> bool:
        """Whether the number that is enough is the largest that was tried: it counts as enough without a test."""
        return self.surely is not None and self.surely == max(self.means)


def enough(frame: pd.DataFrame, steps: Sequence[int]) -> Enough | None:
    """The cells of one sampler; None where no training run was sampled with every number of steps.

    A number is compared with the best one by training seed: the mean difference of log FID and its 95% interval.
    """
    logs = logs_of(frame, steps)
    if logs.empty:
        return None
    by_seed = logs.groupby(level=list(SEEDS)).mean()
    means, limit = by_seed.mean(), math.log(ENOUGH)
    found = [paired(by_seeds(by_seed[n] - by_seed[means.idxmin()])) for n in steps]
    tested = not all(math.isnan(one.low) for one in found)
    within = [(one.high if tested else one.value) <= limit for one in found]
    not_outside = [not (one.low if tested else one.value) > limit for one in found]  # without an interval nor is it
    runs = len(logs.groupby(level=[*MODEL_AXES, "seed"]).size())
    shown = dict(zip(steps, map(math.exp, logs.mean()), strict=True))
    return Enough(shown, _from(steps, within), _from(steps, not_outside), tested, runs)


def logs_of(frame: pd.DataFrame, steps: Sequence[int]) -> pd.DataFrame:
    """log FID of one sampler, a column for each number of steps, of the training runs that have them all."""
    index = [*MODEL_AXES, *SEEDS]
    wide = frame.pivot_table(index=index, columns="sample_steps", values="fid", aggfunc="first")
    return wide.reindex(columns=list(steps)).where(lambda fid: fid > 0).dropna().apply(np.log)


def by_seeds(column: pd.Series) -> dict[Seeds, float]:
    """A column whose rows are training and sampling seeds, as a dict."""
    return dict(zip(((int(seed), int(draw)) for seed, draw in column.index), column.to_list(), strict=True))


def _from(steps: Sequence[int], holds: Sequence[bool]) -> int | None:
    """The fewest steps from which on it holds for all."""
    found = None
    for n, here in zip(reversed(steps), reversed(holds), strict=True):
        if not here:
            break
        found = n
    return found


def in_words(found: Enough) -> str:
    """``25``, ``10 to 25`` (cannot tell which), ``10 or more``, ``none``; in brackets where nothing was tested.

    A star says that the number is the largest that was tried.
    """
    least, most = found.maybe, found.surely
    if least is None:
        said = "none"
    elif most is None:
        said = f"{least:,} or more"
    else:
        said = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    star = "*" if found.largest else ""
    return f"{said}{star}" if found.tested else f"({said}{star})"
