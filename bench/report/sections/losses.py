"""Held-out errors in spaces that all objectives share."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.frames import MODEL_AXES, Results
from bench.report.blocks import Block, Cell, CodeSpan, Figure, heading, table, text
from bench.report.sections.common import (
    MODEL,
    axis_cells,
    axis_columns,
    axis_names,
    bands_note,
    left_out,
    numbers,
    panels_note,
    with_panels,
)

MOST = 60
"""Rows of the table."""
OUTSIDE = 4
"""A mean squared error that no image within the range of pixels, −1 to 1, can have."""
LAST = ["eps_mse", "x0_mse", "bpd", "loss"]
"""What the table has of the last epoch."""


def section(results: Results) -> Iterator[Block]:
    """Curves over epochs, and a row a model after the last one; nothing where nothing was trained."""
    if results.epochs.empty:
        return
    yield heading(2, "Loss curves")
    yield text(
        "The losses of two objectives cannot be compared: their targets differ in scale, and the target of ",
        CodeSpan("previous"),
        " contains noise that nothing can predict. So after each epoch the output of the averaged network is turned "
        "into ε̂ and x̂₀. Both are compared with the truth, on the same 1,000 test images, times and noise. The table "
        "has the errors after the last epoch, and the variational bound on the likelihood of those images. "
        "That bound is rough: each image is seen at one time only.",
        " x̂₀ is not clipped here. Where an objective says little about x₀, a few times make its MSE very large."
        if results.epochs["x0_mse"].max() > OUTSIDE
        else "",
    )
    if results.epochs["epoch"].max() > 1:
        yield _figure(results)
    axes = axis_names(results, MODEL_AXES, MODEL)
    rows = _last(results, axes)
    titles = numbers("MSE of ε̂", "MSE of x̂₀", "rough bound, bits/dim", "own training loss")
    yield table([*axis_columns(axes), *titles], rows[:MOST])
    yield from left_out(results, len(rows), "models", MOST)


def _last(results: Results, axes: list[str]) -> list[list[Cell]]:
    """A row a model, in the study's order: medians over seeds after the last epoch."""
    final = results.epochs.sort_values("epoch").groupby("job", sort=False).tail(1)
    grouped = final.groupby(axes, sort=False)[LAST].median().reset_index()
    order = {axis: results.levels(axis) for axis in axes}
    ranks = [tuple(order[axis].index(row[axis]) for axis in axes) for _, row in grouped.iterrows()]
    grouped = grouped.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]
    return [[*axis_cells(axes, row), *row[LAST]] for _, row in grouped.iterrows()]


def _figure(results: Results) -> Block:
    columns = ["panel", "schedule", "objective", "seed", "job", "epoch", "eps_mse", "x0_mse"]
    epochs = with_panels(results, results.epochs)[columns].reset_index(drop=True)
    return Figure(
        name="losses",
        mark="losses",
        data={"epochs": epochs},
        caption=(
            "Mean squared error per pixel on held-out images, of ε̂ and of x̂₀, after each epoch."
            f"{bands_note(results)}{panels_note(results)}",
        ),
        alt="Held-out mean squared error of ε̂ and x̂₀ after each epoch",
        options={
            "objectives": results.levels("objective"),
            "schedules": [s for s in results.levels("schedule") if s in set(epochs["schedule"])],
        },
    )
