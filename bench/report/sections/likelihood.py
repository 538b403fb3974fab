"""Bits a dimension of test images, where the study asked for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.analysis.frames import MODEL_AXES, Results
from bench.report.blocks import Block, Cell, Column, Figure, WithError, heading, table, text
from bench.report.sections.common import (
    MODEL,
    axis_cells,
    axis_columns,
    axis_names,
    left_out,
    numbers,
    panels_note,
    several_seeds,
    with_panels,
)
from bench.text import listing

MOST = 60
"""Rows of the table."""


def section(results: Results) -> Iterator[Block]:
    """The bound's terms as a figure, and a row a model; nothing where no likelihood was measured."""
    frame = results.likelihoods
    if frame.empty:
        return
    yield heading(2, "Likelihood")
    yield text(
        f"The likelihood of {listing(sorted(frame['n'].unique()))} test images in bits a dimension, sorted by the "
        "bound. Errors are over images. The bound is a sum: L_T, which no network can change; L₀ of the discretised "
        "decoder; and a term for each step between, which the figure shows. The column flow also has L₀. The rest of "
        "it is the likelihood of x₁ by the probability-flow equation, computed by Heun's method. It is the likelihood "
        "of a related model, the flow. The bound is that of the sampling chain, and may be below it."
    )
    yield _figure(results)
    axes = axis_names(results, MODEL_AXES, MODEL)
    rows = list(_rows(frame, axes))
    titles = [Column("flow", format="three decimals"), Column("bound", format="three decimals"), *numbers("L_T", "L₀")]
    yield table([*axis_columns(axes), *titles], rows[:MOST])
    yield from left_out(results, len(rows), "models", MOST)


def _rows(frame: pd.DataFrame, axes: list[str]) -> Iterator[list[Cell]]:
    names = ["flow", "bound", "prior", "decoder", "bound_se", "flow_se"]
    grouped = frame.groupby(axes, sort=False)[names].median().reset_index()
    for _, row in grouped.sort_values("bound", kind="stable").iterrows():
        errors = (WithError(row[name], row[f"{name}_se"]) for name in ("flow", "bound"))
        yield [*axis_cells(axes, row), *errors, row["prior"], row["decoder"]]


def _figure(results: Results) -> Block:
    frame = with_panels(results, results.likelihoods)
    frame = frame.assign(T=[len(line) for line in frame["terms"]])
    by = ["panel", "schedule", "objective", "T"]
    parts = [
        pd.DataFrame(dict(zip(by, key, strict=True)) | {
            "t": np.arange(1, part["T"].iloc[0] + 1), "bits": np.median(np.stack(list(part["terms"])), axis=0),
        })
        for key, part in frame.groupby(by, sort=False)
    ]  # fmt: skip
    over = " Medians over training seeds." if several_seeds(results) else ""
    return Figure(
        name="terms",
        mark="terms",
        data={"terms": pd.concat(parts, ignore_index=True)},
        caption=(f"The terms of the bound over t, in bits a dimension.{over}{panels_note(results)}",),
        alt="The terms of the variational bound over t",
        options={
            "objectives": results.levels("objective"),
            "schedules": [s for s in results.levels("schedule") if s in set(frame["schedule"])],
        },
    )
