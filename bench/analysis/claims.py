"""A study's claims, such as ``eps < previous on fid at {sampler: ddim, sample_steps: 10}``, and what its results say.

Two levels of one axis are compared over every pair of cells that differ in nothing else. Each training seed gives one
number, the geometric mean of its pairs' ratios, and the seeds decide (:mod:`bench.analysis.stats`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.analysis.stats import ALPHA, Ratio, holm, ratio, runs_to_decide
from bench.study.axes import AXES
from bench.study.claims import Claim

COLUMN = {axis.name: axis.column for axis in AXES} | {"weight": "role"}
"""Axis → the column that its levels are told apart by; ``role`` is the weight as the study names it."""
TELL = {axis.name: axis.tell for axis in AXES}
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_MEASURED = "supported", "contradicted", "undecided", "not measured"


class Verdict(NamedTuple):
    """What results say of a claim.

    ``ratio`` is first over second; ``pairs`` are cells, ``seeds`` training seeds; ``needed`` is how many seeds would
    decide with a chance of 80% if what was seen were the truth and p were adjusted by as much, None where that cannot
    be said.
    """

    claim: Claim
    word: str
    ratio: Ratio | None
    p: float
    pairs: int
    seeds: int
    needed: int | None


class _Seen(NamedTuple):
    """The ratio over seeds, each seed's logarithm, and the pairs of cells behind them."""

    ratio: Ratio
    logs: tuple[float, ...]
    pairs: int


def judge(claims: Sequence[Claim], rows: Iterable[Mapping[Any, Any]], axes: Iterable[str]) -> list[Verdict]:
    """A verdict on each; p-values are adjusted for how many claims were tested (Holm).

    :param rows: of finished cells: the columns of the stable table, and ``role`` (the weight as the study names it).
    """
    rows, axes = list(rows), list(axes)
    seen = [_compare(claim, rows, axes) for claim in claims]
    adjusted = holm([math.nan if one is None else one.ratio.p for one in seen])
    return [_verdict(*each) for each in zip(claims, seen, adjusted, strict=True)]


def _compare(claim: Claim, rows: Sequence[Mapping[Any, Any]], axes: Sequence[str]) -> _Seen | None:
    own = {claim.axis, "seed"} | ({"eta"} if claim.axis == "sampler" else set())
    rest = [COLUMN[axis] for axis in axes if axis not in own]
    column = COLUMN[claim.axis]
    cells: dict[Any, dict[Any, float]] = {}
    for row in rows:
        here = all(_same(row[COLUMN[axis]], level, axis) for axis, level in claim.where.items())
        level = next((one for one in (claim.first, claim.second) if _same(row[column], one, claim.axis)), None)
        score = row[claim.metric]
        if here and level is not None and score is not None and 0 < score < math.inf:
            key = (row["seed"], row["sample_seed"], *(_plain(row[name]) for name in rest))
            cells.setdefault(key, {})[level] = math.log(score)
    by_seed: dict[Any, list[float]] = {}
    for (seed, *_), pair in cells.items():
        if len(pair) == 2:
            by_seed.setdefault(seed, []).append(pair[claim.first] - pair[claim.second])
    if not by_seed:
        return None
    logs = {seed: statistics.fmean(found) for seed, found in by_seed.items()}
    scores = {seed: math.exp(log) for seed, log in logs.items()}
    found = ratio(dict.fromkeys(scores, 1.0), scores)
    return _Seen(found, tuple(logs.values()), sum(map(len, by_seed.values())))


def _verdict(claim: Claim, seen: _Seen | None, p: float) -> Verdict:
    if seen is None:
        return Verdict(claim, NOT_MEASURED, None, math.nan, 0, 0, None)
    word, needed = UNDECIDED, None
    if p < ALPHA:
        word = SUPPORTED if (seen.ratio.value < 1) == claim.below else CONTRADICTED
    elif len(seen.logs) > 1:
        alpha = ALPHA * seen.ratio.p / p
        needed = runs_to_decide(statistics.fmean(seen.logs), statistics.stdev(seen.logs), alpha)
        needed = needed and max(needed, len(seen.logs) + 1)  # those there are have not
    return Verdict(claim, word, seen.ratio, p, seen.pairs, len(seen.logs), needed)


def _same(value: Any, level: Any, axis: str) -> bool:
    """Whether a row is at a level, as tables tell it."""
    return bool(value == TELL[axis](level))


def _plain(value: Any) -> Any:
    """NaN is None: no level of an axis that means nothing here."""
    return None if value != value else value
