"""The study's claims, each with a verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.claims import CONTRADICTED, SUPPORTED, Verdict, judge
from bench.analysis.frames import Results
from bench.report.blocks import Block, Cell, CodeSpan, Column, Range, Strong, heading, table, text
from bench.report.sections.common import numbers


def section(results: Results) -> Iterator[Block]:
    """A row a claim; nothing where the study claims nothing."""
    if not results.study.claims:
        return
    verdicts = judge(results.study.hypotheses, results.done.to_dict("records"), dict(results.study.axes))
    yield heading(2, "Claims")
    yield text(
        "Each claim compares two levels of one axis, over all pairs of cells that differ in nothing else. A training "
        "seed gives one number, the geometric mean of its ratios. p is that of a paired t-test on the logarithms of "
        "these numbers, adjusted for the number of claims (Holm). Below 0.05 a claim is supported or contradicted. One "
        "seed cannot decide anything. The last column is the number of seeds that would decide with a chance of 80%, "
        "at the same adjustment, if the effect is as large as it looks here."
    )
    columns = [
        Column("claim", "left"), Column("verdict", "left"), Column("ratio", format="times"),
        *numbers("95% interval", "p (Holm)"), Column("pairs", format="plain"), Column("seeds", format="plain"),
        Column("would decide it", "left"),
    ]  # fmt: skip
    yield table(columns, map(_row, verdicts))


def _row(one: Verdict) -> list[Cell]:
    found = one.ratio
    word: Cell = Strong(one.word) if one.word in (SUPPORTED, CONTRADICTED) else one.word
    ratio: list[Cell] = [None, None] if found is None else [found.value, None]
    if found is not None and pd.notna(found.low):
        ratio[1] = Range(found.low, found.high)
    needed = "" if one.needed is None else f"about {one.needed:,} seeds"
    return [CodeSpan(one.claim.text), word, *ratio, one.p, one.pairs, one.seeds, needed]
