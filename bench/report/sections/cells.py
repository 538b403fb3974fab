"""Every metric of every cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.analysis.frames import AXES, Results
from bench.report.blocks import Block, Cell, Column, Emph, WithError, heading, table, text
from bench.report.sections.common import (
    CELL,
    MOST_ROWS,
    axis_cells,
    axis_columns,
    axis_names,
    judge_cells,
    judge_columns,
    left_out,
    numbers,
    other_judges,
    several_seeds,
    spread,
)

OTHERS = (
    "The distances beside FID are those of the other judges, and two that need no network: lower is better. Each is on "
    "a scale of its own. Where they order two cells otherwise than FID does, the order is in doubt."
)
SHARES = ("precision", "recall", "confidence", "class_balance")


def section(results: Results) -> Iterator[Block]:
    """A row a setting, best first, below the floor and the ceiling."""
    if results.bounds is None:
        return
    axes, others = axis_names(results, AXES, CELL), other_judges(results)
    rows: list[list[Cell]] = [
        [Emph(name), *[""] * (len(axes) - 1), record["fid"], *judge_cells(others, record), *_scores(record)]
        for name, record in zip(("floor", "ceiling"), results.bounds, strict=True)
    ]
    rows += [
        [*axis_cells(axes, row), spread(row, several_seeds(results)), *judge_cells(others, row), *_scores(row)]
        for _, row in results.settings.head(MOST_ROWS).iterrows()
    ]
    yield heading(2, "All cells")
    yield text(
        f"Sorted by FID, below real test images (floor) and noise (ceiling). N = {results.study.score.n:,} everywhere. "
        "The standard error of KID is over draws of samples from one trained model. IS is the inception score, at most "
        "10 here. Confidence is the mean of the classifier's largest class probability. Class balance is the entropy "
        "of the predicted classes over log 10: it is 1 when all are equally frequent. Lower is better for FID and KID, "
        "higher for the others.",
        f" {OTHERS}" if others else "",
    )
    columns = [
        *axis_columns(axes), *numbers("FID"), *judge_columns(others), *numbers("KID × 1000 ± s.e."),
        Column("IS", format="two decimals"),
        *numbers(*(name.replace("_", " ") for name in SHARES), how="three decimals"),
    ]  # fmt: skip
    yield table(columns, rows)
    yield from left_out(results, len(results.settings), "settings")


def _scores(row: Any) -> list[Cell]:
    kid = WithError(1000 * row["kid"], 1000 * row["kid_se"])
    return [kid, row["inception_score"], *(row[name] for name in SHARES)]
