"""Classes: which were asked for, and which the classifier sees."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import AXES, MOST_PANELS, Results
from bench.report.blocks import Block, Figure, heading, table, text
from bench.report.sections.common import (
    CELL,
    MOST_ROWS,
    axis_cells,
    axis_columns,
    axis_names,
    judge_cells,
    judge_columns,
    left_out,
    levels_in_words,
    medians_note,
    numbers,
    other_judges,
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
        "training. Recall says how much of the variety of real images the samples cover. A network that is told no "
        "class may draw some classes too often, which raises its FID. So not all of the difference from it is quality.",
        " Where another section compares the networks with each other, it does so without a class."
        if results.done["net"].nunique() > 1
        else "",
    )
    yield from _figure(results, told)
    others = other_judges(results)
    rows = [
        [*axis_cells(axes, row), spread(row, several_seeds(results)), *judge_cells(others, row), *row[list(TITLES)]]
        for _, row in told.head(MOST_ROWS).iterrows()
    ]
    shares = numbers(*TITLES.values(), how="three decimals")
    columns = [*axis_columns(axes), *numbers("FID"), *judge_columns(others), *shares]
    yield table(columns, rows)
    yield from left_out(results, len(told), "settings")


def _figure(results: Results, told: pd.DataFrame) -> Iterator[Block]:
    """What a larger scale buys and costs: shares of samples over it; nothing under three scales."""
    frame = told[told["guidance"].notna()].sort_values("guidance", kind="stable")
    if frame["guidance"].nunique() < 3:
        return
    scales = frame["guidance"].map(" guidance {:g}".format)
    frame = frame.assign(method=[m.replace(scale, "") for m, scale in zip(frame["method"], scales, strict=True)])
    others = [axis for axis in AXES if frame[axis].astype(str).nunique() > 1]
    panels = [levels_in_words(results, others, row).removeprefix(", ") for _, row in frame.iterrows()]
    lines = pd.concat([
        pd.DataFrame({"panel": panels, "series": title, "x": frame["guidance"].astype(float), "y": frame[name]})
        for name, title in TITLES.items() if name != "worst_class_accuracy"
    ])  # fmt: skip
    shown = lines["panel"].unique()[:MOST_PANELS]
    yield Figure(
        name="guidance",
        mark="lines",
        data={"lines": lines[lines["panel"].isin(shown)]},
        caption=(
            "What a larger guidance scale buys, and what it costs. Precision is the share of samples that look like "
            f"real images, recall the share of real images that samples look like.{medians_note(results)}",
        ),
        alt="Class accuracy, precision and recall against the guidance scale",
        options={"x": "guidance scale", "y": "share", "marker": True, "legend": "above"},
    )
