"""What the names in a study mean: a line for each objective, schedule, sampler and so on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from bench.analysis.frames import Results
from bench.report.blocks import Block, Column, heading, table, text
from bench.rows import DEFAULT, FAMILIES, ORACLE, entries
from bench.study.axes import LISTED
from ddpm.spec import Variant

BESIDES = {
    ORACLE: "No network: the exact answer for the training images.",
    DEFAULT: "The objective's own weight.",
}


def section(results: Results) -> Iterator[Block]:
    """A row for each name that the study lists, but for axes that it leaves at their usual value."""
    rows = [
        (axis.title, name, said)
        for axis in LISTED
        if axis.family and (levels := getattr(results.study.axes, axis.name)) != [axis.usual]
        for name in dict.fromkeys(level.name for level in levels if isinstance(level, Variant))
        if (said := meaning(axis.family, name))
    ]
    if not rows:
        return
    yield heading(2, "What the names mean")
    yield text("The documentation has a page on each kind, with what each is good for.")
    yield table([Column("choice", "left"), Column("name", "left"), Column("meaning", "left")], rows)


def meaning(family: str, name: str) -> str:
    """The first line of what a row says of itself; "" where it is not here, or says nothing."""
    options, row = FAMILIES[family].options, entries(family).get(name)
    if row is None or options is None:
        return BESIDES.get(name, "")
    return next(iter((inspect.getdoc(options(row)) or "").splitlines()), "").replace("`", "").replace("*", "")
