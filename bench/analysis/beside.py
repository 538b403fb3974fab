"""Two studies side by side: a study's claims, tested on its own cells and on those of another study.

Only settings that both have are compared, so that a difference is not one of the grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from bench.analysis.claims import CONTRADICTED, NOT_MEASURED, SUPPORTED, Verdict, finished, judge
from bench.analysis.effects import SEEDS
from bench.analysis.frames import AXES, Results
from bench.analysis.stats import Contrast, Seeds, contrast, holm
from bench.analysis.steps import by_seeds, logs_of
from bench.study.load import load
from bench.study.study import Study

FEWEST = 5
"""Settings from which on a rank correlation says something."""
DECIDED = (SUPPORTED, CONTRADICTED)
SAME, TURNED, HERE, THERE, OPEN, MISSING = (
    "the same answer in both",
    "the opposite answers",
    "decided only here",
    "decided only there",
    "undecided in both",
    "not measured",
)
TOGETHER = (SAME, TURNED, HERE, THERE, OPEN, MISSING)
"""What two verdicts on one claim come to, in the order in which they are counted."""


class Pair(NamedTuple):
    """A claim's verdict here and there, and what the two come to."""

    here: Verdict
    there: Verdict

    @property
    def together(self) -> str:
        """One of :data:`TOGETHER`."""
        words = self.here.word, self.there.word
        if NOT_MEASURED in words:
            return MISSING
        here, there = (word in DECIDED for word in words)
        if here and there:
            return SAME if words[0] == words[1] else TURNED
        return HERE if here else THERE if there else OPEN


class Both(NamedTuple):
    """Two studies: the claims' verdicts, the number of settings that both have, and how alike their orders are.

    ``correlation`` is Spearman's, of the settings' FIDs, each the median over seeds; None for few settings.
    """

    pairs: tuple[Pair, ...]
    settings: int
    correlation: float | None

    @property
    def counts(self) -> dict[str, int]:
        """How many claims come to each of :data:`TOGETHER`, without those that none comes to."""
        found = Counter(pair.together for pair in self.pairs)
        return {word: found[word] for word in TOGETHER if found[word]}


class FewerSteps(NamedTuple):
    """What fewer sampling steps cost: FID with so many over FID with the most, in both studies, and here over there.

    The p of ``between`` is adjusted for all of these comparisons (Holm 1979).
    """

    sampler: str
    steps: int
    most: int
    here: Contrast
    there: Contrast
    between: Contrast


def other(here: Results) -> Results | None:
    """The results of the study that this one is shown beside, from the same store."""
    return Results(load(here.study.beside), here.store) if here.study.beside else None


def both(here: Results, there: Results) -> Both:
    """The claims of ``here`` on both, over the settings that both have."""
    keys = [set(_keys(results.settings)) for results in (here, there)]
    shared = keys[0] & keys[1]
    judged = [_judged(here, results, shared) for results in (here, there)]
    pairs = tuple(Pair(*verdicts) for verdicts in zip(*judged, strict=True))
    return Both(pairs, len(shared), _correlation(here.settings, there.settings))


def differences(here: Study, there: Study) -> dict[str, tuple[Any, Any]]:
    """What the studies do not have in common besides their grids: its name → its value here and there."""
    values = [_values(study) for study in (here, there)]
    return {name: (values[0][name], values[1][name]) for name in values[0] if values[0][name] != values[1][name]}


def fewer_steps(here: pd.DataFrame, there: pd.DataFrame) -> list[FewerSteps]:
    """Sampler by sampler, over the models that both have with every number of steps that both have."""
    found = [one for sampler in here["method"].unique() for one in _of_sampler(sampler, here, there)]
    adjusted = holm([one.between.p for one in found])
    return [one._replace(between=one.between._replace(p=p)) for one, p in zip(found, adjusted, strict=True)]


def _of_sampler(sampler: str, *frames: pd.DataFrame) -> Iterator[FewerSteps]:
    own = [frame[frame["method"] == sampler] for frame in frames]
    steps = sorted(set(own[0]["sample_steps"]) & set(own[1]["sample_steps"]))
    logs = [logs_of(frame, steps) for frame in own]
    models = [frame.reset_index(list(SEEDS)).index for frame in logs]
    shared = models[0].intersection(models[1])
    logs = [frame[model.isin(shared)] for frame, model in zip(logs, models, strict=True)]
    for n in steps[:-1] if len(shared) else ():
        ratios = [_ratios(frame[n] - frame[steps[-1]]) for frame in logs]
        mine, theirs = (contrast(dict.fromkeys(of, 1.0), of) for of in ratios)
        yield FewerSteps(sampler, int(n), int(steps[-1]), mine, theirs, contrast(ratios[1], ratios[0]))


def _ratios(differences: pd.Series) -> dict[Seeds, float]:
    """By seeds, the geometric mean over models."""
    return by_seeds(np.exp(differences.groupby(level=list(SEEDS)).mean()))


def _values(study: Study) -> dict[str, Any]:
    budget = study.train.model_dump()
    return {"dataset": study.dataset, **{f"train.{name}": value for name, value in budget.items()}, "N": study.score.n}


def _keys(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The settings of the rows, on every axis."""
    return list(frame[list(AXES)].itertuples(index=False, name=None))


def _judged(asked: Results, results: Results, shared: set[tuple[Any, ...]]) -> list[Verdict]:
    cells = results.shown[[key in shared for key in _keys(results.shown)]]
    return judge(asked.study.hypotheses, finished(cells), dict(asked.study.axes))


def _correlation(here: pd.DataFrame, there: pd.DataFrame) -> float | None:
    scores = [dict(zip(_keys(frame), frame["fid"], strict=True)) for frame in (here, there)]
    shared = [key for key in scores[0] if key in scores[1]]
    if len(shared) < FEWEST:
        return None
    first, second = ([found[key] for key in shared] for found in scores)
    return float(stats.spearmanr(first, second).statistic)
