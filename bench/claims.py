"""A study's claims, such as ``eps < previous on fid at {sampler: ddim, sample_steps: 10}``, and what its results say.

Two levels of one axis are compared over every pair of cells that differ in nothing else. Each training seed gives one
number, the geometric mean of its pairs' ratios, and the seeds decide (:mod:`bench.stats`).
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from bench.stats import ALPHA, Ratio, holm, ratio, runs_to_decide
from bench.study import CLIPPING

FORM = re.compile(
    r"(?P<first>.+?)\s+(?P<sign>[<>])\s+(?P<second>.+?)\s+on\s+(?P<metric>\w+)(\s+at\s+(?P<where>\{.*\}))?"
)
COLUMNS = {"clip": "clipping", "weight": "role"}
"""What a table calls an axis where its column has another name."""
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_MEASURED = "supported", "contradicted", "undecided", "not measured"


class Claim(NamedTuple):
    """``first`` is below (or above) ``second``, both levels of ``axis``, on a metric, where ``where`` holds."""

    text: str
    axis: str
    first: Any
    second: Any
    below: bool
    metric: str
    where: dict[str, Any]


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


def parse(
    text: str, axes: Mapping[str, Sequence[Any]], metrics: Iterable[str], named: Callable[[str, Any], Any]
) -> Claim:
    """A claim as a study states it.

    :param axes: each axis and its levels in the study.
    :param named: (axis, level as written) → as the axis has it.
    :raises ValueError: saying what is wrong with it.
    """
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is not of the form 'eps < previous on fid at {{sampler: ddim}}'")
    if found["metric"] not in set(metrics):
        raise ValueError(f"'{text}': no metric '{found['metric']}' (metrics: {', '.join(metrics)})")
    try:
        where = yaml.safe_load(found["where"] or "{}")
    except yaml.YAMLError:
        raise ValueError(f"'{text}': {found['where']} is not a mapping of axes to levels") from None
    for axis, level in where.items():
        if axis not in axes:
            raise ValueError(f"'{text}': no axis '{axis}' (axes: {', '.join(axes)})")
        where[axis] = _level(named(axis, level), axes[axis])
        if where[axis] is None:
            raise ValueError(f"'{text}': {axis}={level} is not on the axis ({', '.join(map(str, axes[axis]))})")
    for axis, levels in axes.items():
        first, second = (_level(_try(named, axis, found[side]), levels) for side in ("first", "second"))
        if first is not None and second is not None and first != second:
            return Claim(text, axis, first, second, found["sign"] == "<", found["metric"], where)
    raise ValueError(f"'{text}': no axis of the study has both '{found['first']}' and '{found['second']}'")


def _try(named: Callable[[str, Any], Any], axis: str, level: str) -> Any:
    try:
        return named(axis, level)
    except ValueError:  # a name with options that this axis does not have
        return level


def _level(wanted: Any, levels: Sequence[Any]) -> Any:
    """The level that is written like this, or None."""
    return next((level for level in levels if level == wanted or str(level) == str(wanted)), None)


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
    rest = [COLUMNS.get(axis, axis) for axis in axes if axis not in own]
    column = COLUMNS.get(claim.axis, claim.axis)
    cells: dict[Any, dict[Any, float]] = {}
    for row in rows:
        here = all(_same(row[COLUMNS.get(axis, axis)], level, axis) for axis, level in claim.where.items())
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
    """Whether a row is at a level; ``clip`` is said in words in tables."""
    return bool(value == (CLIPPING[level] if axis == "clip" else level))


def _plain(value: Any) -> Any:
    """NaN is None: no level of an axis that means nothing here."""
    return None if value != value else value
