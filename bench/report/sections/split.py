"""Where the FID comes from: sample size, network and sampler, by the best way to sample the same network."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.frames import AXES, MODEL_AXES, SHARED, Results
from bench.report.blocks import Block, Cell, Column, Emph, heading, table, text
from bench.report.sections.common import (
    CELL,
    axis_cells,
    axis_columns,
    axis_names,
    judge_cells,
    judge_columns,
    left_out,
    numbers,
    other_judges,
)

MOST = 60
"""Rows of the table."""
WAYS = 3
"""A network's best way to sample says something of the network where at least so many were tried."""


def section(results: Results) -> Iterator[Block]:
    """A row a setting that the oracle has too; nothing where the oracle was not sampled beside trained networks."""
    if results.apart.empty or results.bounds is None:
        return
    axes = axis_names(results, AXES, CELL)
    judges = other_judges(results)
    rows = list(_rows(results, axes, judges, results.bounds[0]["fid"]))
    if not rows:
        return
    yield heading(2, "Where the FID comes from")
    yield text(
        "Each FID of the headline judge has three parts. ",
        Emph("Sample size"),
        " is the FID of as many real test images. ",
        Emph("Network"),
        " is the lowest FID of this network over all ways to sample it, less the part of the sample size. ",
        Emph("Sampler"),
        " is the rest: what this sampler loses against that way. Networks that were sampled in fewer "
        f"than {WAYS} ways are left out. The best way was chosen because it scored lowest, so the network's part is a "
        "little too small.",
    )
    yield text(
        "The last column is for comparison. It is the FID of the oracle, sampled alike. The oracle is the exact "
        "E[x₀ | x_t] of the training images, which has the lowest training loss there is. It gives back near copies of "
        "them. So its FID can be lower than that of real test images, and it is no goal for a model."
    )
    titles = numbers("sample size", "network", "sampler")
    share = Column("sampler's share", format="percent")
    columns = [
        *axis_columns(axes),
        *numbers("FID"),
        *judge_columns(judges),
        *titles,
        share,
        *numbers("FID of the oracle"),
    ]
    yield table(columns, rows[:MOST])
    yield from left_out(results, len(rows), "settings", MOST)


def _rows(results: Results, axes: list[str], judges: list[str], floor: float) -> Iterator[list[Cell]]:
    exact = results.exact["fid"].groupby(level=SHARED).median().to_dict()
    networks = results.settings.groupby(list(MODEL_AXES), sort=False)["fid"]
    best, ways = networks.transform("min"), networks.transform("size")
    tried = results.settings.assign(best=best)[ways >= WAYS]
    for _, row in tried.iterrows():
        oracle = exact.get(tuple(row[axis] for axis in SHARED))
        if oracle is not None:
            sampler = row["fid"] - row["best"]
            parts = [floor, row["best"] - floor, sampler, sampler / row["fid"], oracle]
            yield [*axis_cells(axes, row), row["fid"], *judge_cells(judges, row), *parts]
