"""Quality against sampling time, and the settings that no other beats in both."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.effects import pareto
from bench.analysis.frames import AXES, Results
from bench.report.blocks import Block, Figure, Strong, heading, table, text
from bench.report.sections.common import (
    CELL,
    axis_cells,
    axis_columns,
    axis_names,
    by_schedule,
    curve,
    curve_options,
    engines_note,
    judge_cells,
    judge_columns,
    methods_note,
    numbers,
    of_classes,
    other_judges,
    panels_note,
    several_seeds,
    shared_note,
    spread,
    timed_on,
    timed_seeds,
    whiskers_note,
)
from bench.text import listing, plural

SAME_TIME = 0.05
"""Sampling times that differ by less than this share count as equal."""


def section(results: Results) -> Iterator[Block]:
    """A figure and the Pareto front as a table; nothing where no sampling was timed."""
    if results.done.empty:
        return
    timed = results.settings.dropna(subset=["sample_time"])
    if timed.empty:
        if shared_note(results):
            yield heading(2, "Quality against time")
            yield text("No sampling run had its device alone, so there is no time to show.")
        return
    best = pareto(timed, "sample_time", within=SAME_TIME)
    yield heading(2, "Quality against time")
    if engines_note(results):
        yield text(Strong(engines_note(results)))
    if len(timed) < len(results.settings):
        yield text(Strong(_untimed(results, timed)))
    yield _figure(results, timed, best)
    yield _table(results, best)


def _untimed(results: Results, timed: pd.DataFrame) -> str:
    """What the figure and the front cannot show, because no run of it had its device alone."""
    without = [
        f"{AXES[axis]} {level}"
        for axis in AXES
        if axis in results.varying
        for level in results.levels(axis)
        if level in set(results.settings[axis]) - set(timed[axis])
    ]
    lacking = f" So nothing is said of {listing(without)}." if without else ""
    return (
        f"A time is known for {len(timed):,} of {plural(len(results.settings), 'setting')}: those with a run that had "
        f"its device alone. The others are neither in the figure nor on the front.{lacking}"
    )


def _figure(results: Results, timed: pd.DataFrame, best: pd.DataFrame) -> Block:
    one_curve = "T" if results.full_chain and "T" in results.varying else None  # a number of steps is a T then
    points = by_schedule(results, timed[timed["method"].isin(results.methods)], without=one_curve)
    front = best.assign(x=best["sample_time"], panel=points["panel"].reindex(best.index).fillna(""))
    return Figure(
        name="frontier",
        mark="curves",
        data={"points": curve(points, "sample_time"), "front": front[["panel", "x", "fid", "key"]]},
        caption=(
            f"FID against the time to draw 1,000 samples on {listing(timed_on(results))}. Circled settings form the "
            "Pareto front (the grey band, the same in every panel): no other timed setting has a lower FID in the same "
            f"time or less. Times within {SAME_TIME:.0%} of each other are equal.{whiskers_note(results)}"
            f"{timed_seeds(results)}{panels_note(results)}{methods_note(results)}",
        ),
        alt="FID against sampling time, with the Pareto front",
        options=curve_options(results, "seconds per 1,000 samples (log scale)", floor=None, ticks=False),
    )


def _table(results: Results, best: pd.DataFrame) -> Block:
    axes = axis_names(results, AXES, CELL)
    sure, others = of_classes(results, "confidence"), other_judges(results)
    rows = [
        [*axis_cells(axes, row), row["sample_time"], spread(row, several_seeds(results)),
         *judge_cells((*others, *sure), row)]
        for _, row in best.iterrows()
    ]  # fmt: skip
    what = f"has {len(best)} settings, fastest first" if len(best) > 1 else "is a single setting"
    confidence = numbers(*sure, how="three decimals")
    columns = [*axis_columns(axes), *numbers("s per 1,000 samples", "FID"), *judge_columns(others), *confidence]
    return table(columns, rows, f"The Pareto front {what}:")
