"""Where the FID comes from: sample size, sampler and model, by the oracle's cell that is sampled alike."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.frames import AXES, SHARED, Results
from bench.report.blocks import Block, Cell, Column, heading, table, text
from bench.report.sections.common import CELL, axis_cells, axis_columns, axis_names, left_out, numbers

MOST = 60
"""Rows of the table."""


def section(results: Results) -> Iterator[Block]:
    """A row a setting that the oracle has too; nothing where the oracle was not sampled beside trained networks."""
    if results.exact.empty or results.shown is results.cells or results.bounds is None:
        return
    axes = axis_names(results, AXES, CELL)
    rows = list(_rows(results, axes, results.bounds[0]["fid"]))
    if not rows:
        return
    yield heading(2, "Where the FID comes from")
    yield text(
        "The oracle is the best network that training could reach: the exact E[x₀ | x_t] of the training images. Its "
        "samples show the sampler's own error. So each FID has three parts. Sample size is the FID of as many real "
        "test images. Sampler is what the oracle's samples score above that. Model is the rest. A negative part means "
        "that errors cancel."
    )
    titles = numbers("FID", "sample size", "sampler", "model")
    yield table([*axis_columns(axes), *titles, Column("sampler's share", format="percent")], rows[:MOST])
    yield from left_out(results, len(rows), "settings", MOST)


def _rows(results: Results, axes: list[str], floor: float) -> Iterator[list[Cell]]:
    best = results.exact["fid"].groupby(level=SHARED).median().to_dict()
    for _, row in results.settings.iterrows():
        exact = best.get(tuple(row[axis] for axis in SHARED))
        if exact is not None:
            sampler, model = exact - floor, row["fid"] - exact
            yield [*axis_cells(axes, row), row["fid"], floor, sampler, model, max(sampler, 0) / row["fid"]]
