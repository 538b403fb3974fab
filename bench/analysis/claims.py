"""A study's claims, such as ``eps < previous on fid at {sampler: ddim, sample_steps: 10}``, and what its results say.

Two levels of an axis, or of several axes at once, are compared over every pair of cells that differ in nothing else.
Two T are compared where both take equally many sampling steps, and where each takes all of its own. Each training seed
gives one number, the mean of its pairs' differences (of logarithms, for a ratio), and the seeds decide
(:mod:`bench.analysis.stats`). Each gives it over the same pairs: a mean over other pairs is another number.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.analysis import panel
from bench.analysis.stats import ALPHA, Contrast, Needed, Scale, Seeds, holm, most_pairs, needed_runs, paired
from bench.analysis.whole import block
from bench.rows import entries
from bench.study.axes import AXES
from bench.study.claims import Claim, Levels

if TYPE_CHECKING:
    import pandas as pd

COLUMN = {axis.name: axis.column for axis in AXES} | {"weight": "role"}
"""Axis → the column that its levels are told apart by; ``role`` is the weight as the study names it."""
TELL = {axis.name: axis.tell for axis in AXES}
ALL_STEPS = 0
"""In place of the number of sampling steps: all T of them, whatever T is."""
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_MEASURED = "supported", "contradicted", "undecided", "not measured"


class LeftOut(NamedTuple):
    """Pairs that a verdict is without, and why.

    ``no_ratio``: a score that has no logarithm. ``failed``: a cell that failed, on the first side, the second, or both.
    ``uneven``: pairs that not every seed has. ``worst``: a score of 0, where more is better, on the first side, the
    second, or both.
    """

    no_ratio: int = 0
    failed: tuple[int, int, int] = (0, 0, 0)
    uneven: int = 0
    worst: tuple[int, int, int] = (0, 0, 0)


class Verdict(NamedTuple):
    """What results say of a claim.

    ``found`` is first over second, or first less second (``scale``). ``pairs`` are cells, ``seeds`` training seeds.
    ``needed`` is how many seeds would decide with a chance of 80%, were p adjusted by as much, None where that cannot
    be said. ``panel``: the same claim's verdict under each other judge.
    """

    claim: Claim
    word: str
    found: Contrast | None
    p: float
    pairs: int
    seeds: int
    needed: Needed | None
    scale: Scale = "ratio"
    left_out: LeftOut = LeftOut()
    panel: Mapping[str, str] = {}


class _Seen(NamedTuple):
    """The contrast over seeds, the difference of each seed, the pairs of cells behind them, and those left out."""

    found: Contrast | None
    differences: dict[Seeds, float]
    pairs: int
    left_out: LeftOut


def finished(cells: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of comparable cells, and of those that failed. One with a FID that is not finite has failed."""
    rows = cells[cells["status"].isin(("done", "failed"))]
    finite = (rows["status"] == "done") & rows["fid"].between(0, 1e300)
    return rows.assign(status=finite.map({True: "done", False: "failed"})).to_dict("records")


def judge(claims: Sequence[Claim], rows: Iterable[Mapping[Any, Any]], axes: Iterable[str]) -> list[Verdict]:
    """A verdict on each, and what the other judges of its metric say.

    p-values are adjusted for how many claims were tested (Holm), for each judge alone.

    :param rows: of cells, as :func:`finished` has them: the columns of the stable table, and ``role`` (the weight as
        the study names it). Without a ``status`` a cell is done.
    """
    rows, axes = list(rows), list(axes)
    own = _judge(claims, rows, axes)
    panels: list[dict[str, str]] = [{} for _ in claims]
    seats = [panel.others(claim.metric, rows) for claim in claims]
    for name in dict.fromkeys(name for seat in seats for name in seat):
        asked = [i for i, seat in enumerate(seats) if name in seat]
        there = _judge([claims[i]._replace(metric=seats[i][name]) for i in asked], rows, axes)
        for i, verdict in zip(asked, there, strict=True):
            panels[i][name] = verdict.word
    return [verdict._replace(panel=said) for verdict, said in zip(own, panels, strict=True)]


def _judge(claims: Sequence[Claim], rows: Sequence[Mapping[Any, Any]], axes: Sequence[str]) -> list[Verdict]:
    """A verdict on each, under the judge that its metric names."""
    scales = [scale_of(claim.metric) for claim in claims]
    seen = [_compare(claim, rows, axes, scale) for claim, scale in zip(claims, scales, strict=True)]
    ps = [math.nan if one.found is None else one.found.p for one in seen]
    return [_verdict(*each) for each in zip(claims, seen, holm(ps), holm(ps, math.inf), scales, strict=True)]


def scale_of(metric: str) -> Scale:
    """Whether the metric is compared by ratios or by differences; another judge's column is a ratio."""
    row = entries("metric").get(metric)
    return "ratio" if row is None else row.compared


def _score(row: Mapping[Any, Any], metric: str) -> float | None:
    """None where nobody measured it, infinite where the cell failed."""
    if row.get("status", "done") != "done":
        return math.inf
    value = row[metric]
    return None if value is None or value != value else float(value)


Kind = tuple[Any, ...]
"""What the cells of a pair are besides their seeds."""
Side = dict[Any, list[float]]
"""Scores by η: a side has several where a sampler has several η."""


def _cells(
    claim: Claim, rows: Sequence[Mapping[Any, Any]], axes: Sequence[str]
) -> dict[tuple[Seeds, Kind], tuple[Side, Side]]:
    """The scores of both sides, by their seeds and by what else they have in common."""
    own = claim.first.keys() | {"seed"} | ({"eta"} if "sampler" in claim.first else set())
    rest = [COLUMN[axis] for axis in axes if axis not in own]
    across = "T" in claim.first and "sample_steps" not in claim.first
    sides = claim.first, claim.second
    cells: dict[tuple[Seeds, Kind], tuple[Side, Side]] = {}
    for row in rows:
        side = next((i for i, levels in enumerate(sides) if _at(row, levels)), None)
        if side is not None and _at(row, claim.where) and (score := _score(row, claim.metric)) is not None:
            for at in _matches(row, across):
                key = (row["seed"], row["sample_seed"]), tuple(_plain(at[name]) for name in rest)
                cells.setdefault(key, ({}, {}))[side].setdefault(_plain(row.get("eta")), []).append(score)
    return cells


def _compare(claim: Claim, rows: Sequence[Mapping[Any, Any]], axes: Sequence[str], scale: Scale) -> _Seen:
    pairs: dict[Seeds, dict[Kind, float]] = {}
    failed: list[tuple[bool, bool]] = []
    worst: list[tuple[bool, bool]] = []
    no_ratio, shift, row = 0, math.log(claim.times), entries("metric").get(claim.metric)
    share = scale == "ratio" and row is not None and row.better == "higher"
    for (seeds, kind), sides in _cells(claim, rows, axes).items():
        each = ([((eta, i), score) for eta, scores in side.items() for i, score in enumerate(scores)] for side in sides)
        for (one, a), (other, b) in itertools.product(*each):
            if any(lost := (not math.isfinite(a), not math.isfinite(b))):
                failed.append(lost)
            elif share and any(none := (a == 0, b == 0)):
                worst.append(none)
            elif scale == "ratio" and min(a, b) <= 0:
                no_ratio += 1
            else:
                difference = math.log(a) - math.log(b) - shift if scale == "ratio" else a - b
                pairs.setdefault(seeds, {})[*kind, one, other] = difference
    seeds_kept, kinds = block(pairs, most_pairs)
    differences = {seeds: statistics.fmean(pairs[seeds][kind] for kind in kinds) for seeds in seeds_kept}
    found = paired(differences, scale) if differences else None
    count = 0 if found is None else (len(differences) - found.dropped) * len(kinds)
    if found is not None and claim.times != 1:  # tested against that many times as much, and shown as it is
        value, low, high = (claim.times * number for number in (found.value, found.low, found.high))
        found = found._replace(value=value, low=low, high=high)
    uneven = sum(map(len, pairs.values())) - count
    return _Seen(found, differences, count, LeftOut(no_ratio, _by_side(failed), uneven, _by_side(worst)))


def _by_side(odd: Sequence[tuple[bool, bool]]) -> tuple[int, int, int]:
    """Of pairs of which one side is odd, or both: on how many it is the first alone, the second alone, both."""
    return odd.count((True, False)), odd.count((False, True)), odd.count((True, True))


def _matches(row: Mapping[Any, Any], across: bool) -> list[Mapping[Any, Any]]:
    """The row as its partners are found by: twice where it takes all T steps and T is compared (``across``)."""
    full = across and row["sample_steps"] == row["T"]
    return [row, {**row, "sample_steps": ALL_STEPS}] if full else [row]


def _verdict(claim: Claim, seen: _Seen, p: float, raised: float, scale: Scale) -> Verdict:
    """:param raised: p times as much as Holm's correction asks for, 1 or not: what ``needed`` is adjusted by."""
    found = seen.found
    if found is None:
        return Verdict(claim, NOT_MEASURED, None, math.nan, 0, 0, None, scale, seen.left_out)
    word, needed = UNDECIDED, None
    if p < ALPHA:
        limit = claim.times if scale == "ratio" else 0
        word = SUPPORTED if (found.value < limit) == claim.below else CONTRADICTED
    elif found.pairs == len(seen.differences):  # planned with the training seeds' spread alone
        needed = needed_runs(list(seen.differences.values()), ALPHA * found.p / raised)
    return Verdict(claim, word, found, p, seen.pairs, found.pairs, needed, scale, seen.left_out)


def _at(row: Mapping[Any, Any], levels: Levels) -> bool:
    """Whether a row is at these levels, as tables tell it."""
    return all(bool(_plain(row[COLUMN[axis]]) == TELL[axis](level)) for axis, level in levels.items())


def _plain(value: Any) -> Any:
    """NaN is None: no level of an axis that means nothing here."""
    return None if value != value else value
