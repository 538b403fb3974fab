"""Classes: which were asked for, and which the classifier sees."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.frames import AXES, Results
from bench.report.blocks import Block, heading, table, text
from bench.report.sections.common import (
    CELL,
    MOST_ROWS,
    axis_cells,
    axis_columns,
    axis_names,
    left_out,
    numbers,
    several_seeds,
    spread,
)

TITLES = {
    "class_accuracy": "class accuracy",
    "worst_class_accuracy": "worst class",
    "precision": "precision",
    "recall": "recall",
}


def section(results: Results) -> Iterator[Block]:
    """A row a setting whose network was told of a class; nothing where there is none."""
    told = results.settings[results.settings["class_accuracy"].notna()] if len(results.settings) else results.settings
    if told.empty:
        return
    axes = axis_names(results, AXES, CELL)
    yield heading(2, "Classes and guidance")
    yield text(
        "These cells asked the network for a class, each of the ten in turn. Class accuracy is the share of samples "
        "that the classifier takes for the class that was asked for: the mean over classes, and the class with the "
        "lowest share. Guidance scale 0 uses no class, and 1 uses the class alone. Scale 0 is no stand-in for a plain "
        "network: this network learned to draw without a class only from the few images whose class was hidden in "
        "training. Recall is the variety of the samples."
    )
    rows = [
        [*axis_cells(axes, row), spread(row, several_seeds(results)), *row[list(TITLES)]]
        for _, row in told.head(MOST_ROWS).iterrows()
    ]
    columns = [*axis_columns(axes), *numbers("FID"), *numbers(*TITLES.values(), how="three decimals")]
    yield table(columns, rows)
    yield from left_out(results, len(told), "settings")
