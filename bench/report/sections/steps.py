"""FID against the number of sampling steps, and how many are enough."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from bench.analysis.frames import MODEL_AXES, Results
from bench.report.blocks import Block, Cell, Column, Figure, Strong, heading, table, text
from bench.report.formats import number
from bench.report.sections.common import (
    LEARNT,
    by_schedule,
    curve,
    curve_options,
    learnt,
    methods_note,
    numbers,
    panels_note,
    whiskers_note,
)

ENOUGH = 1.1
"""A number of steps is enough where FID is within this factor of the sampler's best."""


def section(results: Results) -> Iterator[Block]:
    """Curves and a table; nothing where every cell has one number of steps."""
    if results.done.empty or "sample_steps" not in results.varying:
        return
    yield heading(2, "Sampling steps")
    yield _figure(results)
    yield from _enough(results)


def _figure(results: Results) -> Block:
    even = bool((results.done["evaluations"] == results.done["sample_steps"]).all())
    x, label = ("sample_steps", "sampling steps") if even else ("evaluations", "network evaluations a sample")
    what = (
        "sampling steps. That is the number of network evaluations a sample."
        if even
        else "network evaluations a sample. (Heun's method takes two a step, except for the last.)"
    )
    points = by_schedule(results, results.settings[results.settings["method"].isin(results.methods)])
    single = points.groupby("panel")[x].transform("nunique") == 1
    if not single.all():  # a single number of steps is no curve, and there is a table of all
        points = points[~single]
    alone = results.settings.groupby(["schedule", *results.extras])[x].nunique()
    partly = (alone == 1).any() and (alone > 1).any()
    floor, ceiling = (bound["fid"] for bound in results.bounds) if results.bounds else (None, None)
    return Figure(
        name="steps",
        mark="curves",
        data={"points": curve(points, x), "front": pd.DataFrame({"panel": [], "x": [], "fid": []})},
        caption=(
            f"FID against the number of {what}{whiskers_note(results)} The dashed line is the floor. Noise is off the "
            f"scale, at {number(ceiling)}.{panels_note(results)}{methods_note(results)}"
            + (" Models with one number of sampling steps are left out." if partly else ""),
        ),
        alt=f"FID against the number of {label}",
        options=curve_options(results, f"{label} (log scale)", floor=floor, ticks=True),
    )


def _enough(results: Results) -> Iterator[Block]:
    """How many steps each sampler needs."""
    steps = sorted(results.done["sample_steps"].unique())
    frames = [("", learnt(results), "method")]
    if len(results.exact) and results.shown is not results.cells:
        frames.append(("exact network, ", results.exact.reset_index(), "way"))
    rows: list[list[Cell]] = []
    for prefix, frame, by in frames:
        for method, part in frame.groupby(by, sort=False):
            means, runs = _means(part, steps)
            if runs:
                enough = next(n for n in steps if means[n] <= ENOUGH * means.min())
                rows.append([f"{prefix}{method}", *means, Strong(f"{enough:,}"), runs])
    if not rows or len(steps) < 2:
        return
    yield text(
        "How many steps are enough: FID by number of steps, and the fewest steps with an FID within "
        f"{ENOUGH - 1:.0%} of the sampler's own best. Numbers are geometric means over the training runs that were "
        f"sampled with every number of steps. They also reached an FID {LEARNT} times lower than that of noise."
    )
    titles = [f"{n:,}" for n in steps]
    yield table([Column("sampler", "left"), *numbers(*titles, "enough"), Column("runs", format="plain")], rows)


def _means(frame: pd.DataFrame, steps: list[int]) -> tuple[pd.Series, int]:
    """The geometric mean of FID by number of steps, over the runs that have all; and how many runs."""
    models = [*MODEL_AXES, "seed"]
    table_of = frame.pivot_table(index=models, columns="sample_steps", values="fid", aggfunc="first")
    whole = table_of.reindex(columns=steps).where(lambda fid: fid > 0).dropna()
    logs = whole.apply(np.log)
    return logs.mean().map(math.exp), len(logs)
