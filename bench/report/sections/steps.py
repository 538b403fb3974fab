"""How many steps: FID against T and against the number of sampling steps, and how many of these are enough."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import AXES, MOST_PANELS, STEPS, Results
from bench.analysis.steps import ENOUGH, Enough, enough, in_words
from bench.report.blocks import Block, Cell, Column, Figure, Strong, heading, table, text
from bench.report.formats import number
from bench.report.sections.common import (
    CELL,
    LEARNT,
    MOST_ROWS,
    axis_cells,
    axis_columns,
    axis_names,
    by_schedule,
    curve,
    curve_options,
    headline_alone,
    learnt_runs,
    methods_note,
    numbers,
    panels_note,
    several_seeds,
    whiskers_note,
    with_panels,
)
from bench.text import listing

NO_FRONT = pd.DataFrame({"panel": [], "x": [], "fid": []})
ALL = "all T steps"


def section(results: Results) -> Iterator[Block]:
    """Curves and tables; nothing where every cell has one T and one number of sampling steps."""
    if results.done.empty or not {"T", "sample_steps"} & set(results.varying):
        return
    yield heading(2, "T and sampling steps" if "T" in results.varying else "Sampling steps")
    if note := headline_alone(results):
        yield text(note.strip())
    if "T" in results.varying:
        yield from _diffusion(results)
    if "sample_steps" in results.varying:
        yield _figure(results)
        yield from _enough(results)


def _diffusion(results: Results) -> Iterator[Block]:
    """FID against T, with all T steps and with numbers of steps that several T share."""
    frame = pd.concat([_taken(results.settings, True), _taken(results.settings, False)], ignore_index=True)
    key = ["how", *(axis for axis in AXES if axis not in STEPS)]
    frame = frame[frame.groupby(key)["T"].transform("nunique") > 1]
    if frame.empty:
        yield text("No model was measured at two T with equally many sampling steps, or with all T steps.")
        return
    yield _diffusion_figure(results, frame)
    yield _diffusion_table(results, frame)


def _taken(settings: pd.DataFrame, full: bool) -> pd.DataFrame:
    """The settings with a word on how many steps they take: those that take all of them, or each by its number."""
    if full:
        return settings[settings["sample_steps"] == settings["T"]].assign(how=ALL)
    return settings.assign(how=[f"{steps:,.0f} steps" for steps in settings["sample_steps"]])


def _diffusion_figure(results: Results, frame: pd.DataFrame) -> Block:
    shown = with_panels(results, frame[frame["method"].isin(results.methods)], without="T")
    titles = zip(shown["schedule"], shown["panel"], shown["how"], strict=True)
    every = shown.assign(panel=[", ".join(filter(None, map(str, title))) for title in titles])
    panels = list(every.sort_values("fid", kind="stable")["panel"].unique())
    points = every[every["panel"].isin(panels[:MOST_PANELS])]
    more = f" The {MOST_PANELS} of {len(panels)} panels with the best cells." if len(panels) > MOST_PANELS else ""
    floor, ceiling = (bound["fid"] for bound in results.bounds) if results.bounds else (None, None)
    return Figure(
        name="diffusion-steps",
        mark="curves",
        data={"points": curve(points, "T"), "front": NO_FRONT},
        caption=(
            "FID against T, the number of steps of the diffusion. Each panel says how many of them sampling took."
            f"{whiskers_note(results)} The dashed line is the floor. Noise is at {number(ceiling)}.{more}"
            f"{methods_note(results)}",
        ),
        alt="FID against the number of diffusion steps T",
        options=curve_options(results, "T, steps of the diffusion (log scale)", floor=floor, ticks=True),
    )


def _diffusion_table(results: Results, frame: pd.DataFrame) -> Block:
    """A row for each objective, sampler and number of steps; a column for each T."""
    levels = results.levels("T")
    by = [axis for axis in axis_names(results, AXES, CELL) if axis not in STEPS]
    rank = {axis: {level: i for i, level in enumerate(results.levels(axis))} for axis in by}
    ordered = frame.sort_values(by, key=lambda column: column.map(rank[str(column.name)]), kind="stable")
    rows: list[list[Cell]] = []
    for _, part in ordered.groupby([*by, "how"], sort=False):
        fids = dict(zip(part["T"], part["fid"], strict=True))
        first = part.iloc[0]
        rows.append([*axis_cells(by, first), str(first["how"]), *(fids.get(T) for T in levels)])
    columns = [*axis_columns(by), Column(AXES["sample_steps"], "left"), *numbers(*(f"T = {T:,}" for T in levels))]
    over = "medians over training seeds, " if several_seeds(results) else ""
    cut = f"the first {MOST_ROWS} of {len(rows):,} rows, " if len(rows) > MOST_ROWS else ""
    return table(columns, rows[:MOST_ROWS], f"FID by T ({over}{cut}a dash where there is no such cell):")


def _figure(results: Results) -> Block:
    even = bool((results.done["evaluations"] == results.done["sample_steps"]).all())
    x, label = ("sample_steps", "sampling steps") if even else ("evaluations", "network evaluations a sample")
    what = (
        "sampling steps. That is the number of network evaluations a sample."
        if even
        else "network evaluations a sample. (Heun's method takes two a step. Some others take one more in all.)"
    )
    points = by_schedule(results, results.settings[results.settings["method"].isin(results.methods)])
    single = points.groupby(["panel", "objective", "method"])[x].transform("nunique") == 1
    if not single.all():  # a single number of steps is no curve, and there is a table of all
        points = points[~single]
    alone = results.settings.groupby(["schedule", "objective", "method", *results.extras])[x].nunique()
    partly = (alone == 1).any() and (alone > 1).any()
    floor, ceiling = (bound["fid"] for bound in results.bounds) if results.bounds else (None, None)
    return Figure(
        name="steps",
        mark="curves",
        data={"points": curve(points, x), "front": NO_FRONT},
        caption=(
            f"FID against the number of {what}{whiskers_note(results)} The dashed line is the floor. Noise is off the "
            f"scale, at {number(ceiling)}.{panels_note(results)}{methods_note(results)}"
            + (" What was sampled with one number of steps alone is left out." if partly else ""),
        ),
        alt=f"FID against the number of {label}",
        options=curve_options(results, f"{label} (log scale)", floor=floor, ticks=True),
    )


def _enough(results: Results) -> Iterator[Block]:
    """How many steps each sampler needs, as a table."""
    steps, every = sorted(results.done["sample_steps"].unique()), dict(by_sampler(results))
    found = {name: (one, in_words(one)) for name, one in every.items() if one is not None}
    if not found or len(steps) < 2:
        return
    rows: list[list[Cell]] = [
        [name, *map(one.means.get, steps), Strong(words), one.runs] for name, (one, words) in found.items()
    ]
    missing = [name for name in every if name not in found]
    left = f" Not listed: {listing(missing)}. There no training run was sampled with every number of steps."
    yield text(*_how_to_read([one for one, _ in found.values()]), left if missing else "")
    titles = [f"{n:,}" for n in steps]
    columns = [Column("sampler", "left"), *numbers(*titles), Column("enough", "left"), Column("runs", format="plain")]
    yield table(columns, rows)


def by_sampler(results: Results) -> Iterator[tuple[str, Enough | None]]:
    """Each sampler, of each T where there are several, and how many steps it needs.

    None where no training run was sampled with every number of steps.
    """
    steps, several = sorted(results.done["sample_steps"].unique()), "T" in results.varying
    frames = [("", learnt_runs(results), "method")]
    if len(results.apart):
        frames.append(("oracle, ", results.apart.reset_index(), "way"))
    for prefix, frame, by in frames:
        for method, T in _in_order(frame, by):
            own = frame[(frame[by] == method) & (frame["T"] == T)]
            yield f"{prefix}{method}{f', T = {T:,}' if several else ''}", _of_one(own, T, steps, several)


def _in_order(frame: pd.DataFrame, by: str) -> list[tuple[str, int]]:
    """Each sampler with each of its T, samplers as they come, T from small to large."""
    pairs = [(str(method), int(T)) for method, T in frame[[by, "T"]].drop_duplicates().itertuples(index=False)]
    samplers = [method for method, _ in pairs]
    return sorted(pairs, key=lambda pair: (samplers.index(pair[0]), pair[1]))


def _of_one(part: pd.DataFrame, T: int, steps: list[int], several: bool) -> Enough | None:
    """What a sampler's cells of one T say; where there are several T, each has the numbers of steps it was given."""
    own = [n for n in steps if n <= T and (not several or n in set(part["sample_steps"]))]
    return None if several and len(own) < 2 else enough(part, own)


def _how_to_read(found: list[Enough]) -> Iterator[str]:
    """What the table holds, and its words as far as it has them."""
    yield (
        "How many steps are enough? The table has FID by number of steps, and the fewest steps from which on FID stays "
        f"within {ENOUGH - 1:.0%} of the sampler's own best. Numbers are geometric means over the training runs that "
        "were sampled with every number of steps. Only networks count that reached an FID at least "
        f"{LEARNT} times lower than that of noise in some way of sampling. A number of steps is called enough, or too "
        "few, if the 95% interval over training seeds shows it. The number with the lowest FID counts as enough "
        "without a test."
    )
    if any(one.largest for one in found):
        yield " A star marks the largest number that was tried: more steps may be better still."
    if any(None not in (one.maybe, one.surely) and one.maybe != one.surely for one in found):
        yield " “10 to 25” means that the seeds cannot tell: 10 may be enough, and 25 count as enough."
    if any(one.maybe is not None and one.surely is None for one in found):
        yield " “10 or more” means that no number is shown to be enough, and fewer than 10 are too few."
    if any(one.maybe is None for one in found):
        yield " “None” means that FID is higher again with more steps."
    if not all(one.tested for one in found):
        yield " In brackets there is one training seed, so nothing was tested, and chance may explain it."
