"""The study's claims beside what the cells of another study say of them: which answers hold in both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from bench.analysis import beside
from bench.analysis.beside import Both, FewerSteps, Pair
from bench.analysis.claims import Verdict
from bench.analysis.frames import Results
from bench.analysis.stats import ALPHA, Contrast
from bench.analysis.steps import ENOUGH, in_words
from bench.report.blocks import Block, Cell, CodeSpan, Column, Figure, Spread, Strong, heading, table, text
from bench.report.formats import number
from bench.report.sections.common import learnt_runs
from bench.report.sections.steps import by_sampler
from bench.text import plural


def section(results: Results) -> Iterator[Block]:
    """A row a claim; nothing where the study names no other study, or claims nothing."""
    other = beside.other(results)
    if other is None or not results.study.claims or results.done.empty:
        return
    name = CodeSpan(other.study.name)
    yield heading(2, "Beside the study ", name)
    if other.done.empty:
        yield text("There are no results of the study ", name, " in this folder yet.")
        return
    found = beside.both(results, other)
    yield text("The study ", name, " asks the same questions", *_differences(results, other), ". ", *_order(found))
    yield text(_counted(found))
    columns = [Column("claim", "left"), Column("here"), Column("there"), Column("together", "left")]
    signed = any(pair.here.scale == "difference" for pair in found.pairs)
    less = " A metric that can be negative has first less second." if signed else ""
    yield table(columns, map(_row, found.pairs), f"First level over second, with the 95% interval.{less}")
    yield from _drawn(found, results.study.name, other.study.name)
    yield from _steps(results, other)


def _differences(results: Results, other: Results) -> Iterator[str]:
    found = beside.differences(results.study, other.study)
    if found:
        yield ". It differs in: "
        yield "; ".join(f"{name} ({_said(there)} there, {_said(here)} here)" for name, (here, there) in found.items())


def _said(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "all" if value is None else str(value)


def _order(found: Both) -> Iterator[str]:
    yield f"Only settings that both have count here: {found.settings:,}. "
    if found.correlation is not None:
        yield (
            f"The rank correlation of their FIDs is {found.correlation:.2f}: 1 would be the same order, 0 no relation. "
        )


def _counted(found: Both) -> str:
    counts = "; ".join(f"{word}: {count}" for word, count in found.counts.items())
    return (
        f"There are {plural(len(found.pairs), 'claim')}. {counts[0].upper()}{counts[1:]}. Verdicts are adjusted for "
        "the number of claims, intervals are not. So a claim can be undecided though its interval leaves out 1. And a "
        "study with more claims can leave the same ratio undecided."
    )


def _row(pair: Pair) -> list[Cell]:
    here, there = pair
    words = f"{here.word} here, {there.word} there" if here.word != there.word else f"{here.word} in both"
    told: Cell = (Strong(pair.together), f": {words}") if pair.together == beside.TURNED else words
    return [CodeSpan(here.claim.text), _ratio(here), _ratio(there), told]


def _ratio(one: Verdict) -> Cell:
    if one.found is None:
        return None
    return one.found.value if pd.isna(one.found.low) and one.scale == "difference" else _spread(one.found)


def _spread(found: Contrast) -> Cell:
    """A ratio with its interval, where it has one."""
    return number(found.value, "times") if pd.isna(found.low) else Spread(found.value, found.low, found.high)


def _steps(here: Results, there: Results) -> Iterator[Block]:
    """How many steps are enough in both, sampler by sampler."""
    other = dict(by_sampler(there))
    rows: list[list[Cell]] = [
        [name, in_words(mine), in_words(theirs)]
        for name, mine in by_sampler(here)
        if mine is not None and (theirs := other.get(name)) is not None
    ]
    if rows:
        yield text(
            "How many sampling steps are enough? As in the section on them: FID stays within "
            f"{ENOUGH - 1:.0%} of the sampler's own best from there on."
        )
        yield table([Column("sampler", "left"), Column("here", "left"), Column("there", "left")], rows)
    yield from _fewer_steps(beside.fewer_steps(learnt_runs(here), learnt_runs(there)))


def _fewer_steps(found: list[FewerSteps]) -> Iterator[Block]:
    """What fewer steps cost in both, and whether that differs."""
    rows: list[list[Cell]] = [
        [one.sampler, one.steps, one.most, _spread(one.here), _spread(one.there), _spread(one.between), _larger(one)]
        for one in found
    ]
    if rows:
        yield text(
            "What do fewer steps cost? The table has FID with so many steps over FID with the most, with its 95% "
            "interval over training seeds. Only models count that both studies have with all these numbers of steps. "
            f"The last column says where the cost is larger, if p is below {ALPHA:g}. This p is adjusted for the "
            "number of rows, intervals are not."
        )
        steps = (Column(title, format="plain") for title in ("steps", "of"))
        ratios = (Column(title) for title in ("here", "there", "here over there"))
        yield table([Column("sampler", "left"), *steps, *ratios, Column("larger", "left")], rows)


def _larger(one: FewerSteps) -> str:
    if pd.isna(one.between.p):
        return "not tested"
    if one.between.p >= ALPHA:
        return "cannot tell"
    return "here" if one.between.value > 1 else "there"


def _drawn(found: Both, here: str, there: str) -> Iterator[Block]:
    """The intervals of both, claim by claim, where they are ratios."""
    rows = [row for pair in found.pairs for row in _points(pair, here, there)]
    if rows:
        yield Figure(
            "beside",
            "intervals",
            {"intervals": pd.DataFrame(rows)},
            ("Each claim in both studies: first level over second, with the 95% interval.",),
            f"For each claim, its ratio and interval in the study {here} and in the study {there}.",
            {"label": "first level over second (log scale)"},
        )


def _points(pair: Pair, *names: str) -> Iterable[dict[str, object]]:
    for name, one in zip(names, pair, strict=True):
        if one.found is not None and one.scale == "ratio" and one.found.value > 0:
            yield {"claim": one.claim.text, "study": name, "ratio": one.found.value, "low": one.found.low,
                   "high": one.found.high}  # fmt: skip
