"""FID against the number of sampling steps, and how many are enough."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import Results
from bench.analysis.steps import ENOUGH, enough, in_words
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
    said: set[str] = set()
    for prefix, frame, by in frames:
        for method, part in frame.groupby(by, sort=False):
            found = enough(part, steps)
            if found is not None:
                words = in_words(found)
                said.add(words.rstrip("0123456789,)"))
                rows.append([f"{prefix}{method}", *found.means.values(), Strong(words), found.runs])
    if not rows or len(steps) < 2:
        return
    yield text(*_how_to_read(said))
    titles = [f"{n:,}" for n in steps]
    columns = [Column("sampler", "left"), *numbers(*titles), Column("enough", "left"), Column("runs", format="plain")]
    yield table(columns, rows)


def _how_to_read(said: set[str]) -> Iterator[str]:
    """What the table holds, and its words as far as it has them."""
    yield (
        "How many steps are enough: FID by number of steps, and the fewest steps from which on FID stays within "
        f"{ENOUGH - 1:.0%} of the sampler's own best. Numbers are geometric means over the training runs that were "
        f"sampled with every number of steps. They also reached an FID {LEARNT} times lower than that of noise. A "
        "number of steps counts as enough, or as too few, where the 95% interval over training seeds shows it."
    )
    if any(" to " in word for word in said):
        yield " “10 to 25” means that the seeds cannot tell: 10 may be enough, 25 are."
    if any("or more" in word for word in said):
        yield " “10 or more” means that no number is shown to be enough, and fewer than 10 are too few."
    if "none" in said:
        yield " “None” means that FID rises again with more steps."
    if "(" in said:
        yield " In brackets there is one training seed, so nothing was tested."
