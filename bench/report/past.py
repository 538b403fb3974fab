"""The history of a study as a page: quality and speed over its runs, and where they have changed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import pandas as pd

from bench.analysis.changes import LEVEL, SHORTEST
from bench.analysis.history import Entry, Series, not_compared, series
from bench.report.blocks import Block, Cell, Column, Figure, Strong, heading, table, text
from bench.report.formats import short
from bench.report.plain import plain
from bench.report.web.elements import elements
from bench.report.write import draw
from bench.text import plural

MOST_RUNS = 60
"""Runs in the table, the newest ones; the file has all."""


Change = tuple[str, str, str, float, float, float, float]


def changes(entries: Sequence[Entry], found: Sequence[Series]) -> list[Change]:
    """A row for each change: quantity, the first run after it and its date, before, after, their ratio and p."""
    return [
        (one.title, entries[place].name, entries[place].date.date().isoformat(), *_levels(change), change.p)
        for one in found
        for change in one.changes
        for place in [one.places[change.at]]
    ]


def _levels(change: tuple[int, float, float, float]) -> tuple[float, float, float]:
    _, before, after, _ = change
    return math.exp(before), math.exp(after), math.exp(after - before)


def page(entries: Sequence[Entry], metric: str = "fid") -> str:
    """The page."""
    blocks = list(compose(entries, metric))
    return plain(f"History of {entries[0].study}: ddpm-bench", [elements(blocks, dict(draw(blocks)))])


def compose(entries: Sequence[Entry], metric: str) -> Iterator[Block]:
    """The blocks of the page."""
    found = series(entries, metric)
    said = changes(entries, found)
    yield heading(1, f"History of {entries[0].study}")
    yield text(
        Strong(f"{plural(len(entries), 'run')}, {plural(len(said), 'change')} found."),
        f" From {entries[0].date.date()} to {entries[-1].date.date()}.",
    )
    yield text(
        "A point is a run: the geometric mean over the cells that all runs have, and over their training seeds. "
        "Lines are the means between changes. A change is found by a permutation test of the largest shift of the "
        f"mean logarithm. If nothing has changed at all, the chance of finding one anywhere is at most {LEVEL:.0%}. "
        f"There must be {SHORTEST} runs before and after a change, so the newest runs cannot show one yet. With "
        "fewer than about ten runs in all, no p can be small enough. Quality has only runs by the newest "
        "judge. Speed has a panel for each kind of machine."
    )
    for line in not_compared(entries, metric):
        yield text(line)
    if said:
        yield heading(2, "Changes")
        columns = [
            *(Column(title, "left") for title in ("quantity", "first run", "date")),
            *(Column(title) for title in ("before", "after")), Column("after / before", format="times"), Column("p"),
        ]  # fmt: skip
        yield table(columns, said)
    if found:
        yield heading(2, "Over the runs")
        yield _figure(found)
    yield heading(2, "Runs")
    yield _runs(entries, found)


def _figure(found: Sequence[Series]) -> Block:
    runs = [
        {"title": one.title, "place": place + 1, "value": value}
        for one in found
        for place, value in zip(one.places, one.values, strict=True)
    ]
    means = []
    for one in found:
        edges = [0, *(change.at for change in one.changes), len(one.values)]
        for start, stop in itertools.pairwise(edges):
            mean = math.exp(sum(map(math.log, one.values[start:stop])) / (stop - start))
            span = {"start": one.places[start] + 1, "stop": one.places[stop - 1] + 1}
            means.append({"title": one.title, "mean": mean} | span)
    return Figure(
        name="history",
        mark="history",
        data={"runs": pd.DataFrame(runs), "means": pd.DataFrame(means)},
        caption=("Quality and speed of each run, on log scales. Lower is better. Dashed lines are changes.",),
        alt="Quality and speed over the runs of the study",
    )


def _runs(entries: Sequence[Entry], found: Sequence[Series]) -> Block:
    values = [dict(zip(one.places, one.values, strict=True)) for one in found]
    rows: list[list[Cell]] = [
        [i + 1, entry.name, entry.date.date().isoformat(), entry.machine, len(entry.seeds),
         *(short(of[i]) if i in of else None for of in values)]
        for i, entry in reversed(list(enumerate(entries)))
    ]  # fmt: skip
    columns = [Column("run", format="plain"), *(Column(name, "left") for name in ("commit", "date", "machine")),
               Column("seeds", format="plain"), *(Column(one.title) for one in found)]  # fmt: skip
    return table(columns, rows[:MOST_RUNS])
