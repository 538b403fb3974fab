"""What several sections need: columns for the axes of a study, frames for curves, and notes on what is left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analysis.frames import AXES, Results, different, hardware
from bench.report.blocks import Block, Cell, CodeSpan, Column, OneSeed, Spread, table, text
from bench.score.judges import panel
from bench.text import listing

CELL = ("objective", "schedule", "method", "sample_steps")
"""The axes that always have a column in a table of cells."""
MODEL = ("objective", "schedule")
"""The axes that always have a column in a table of trained models."""
COUNTS = ("T", "sample_steps")
"""The axes whose levels are numbers."""
MOST_ROWS = 200
"""Longest table; the stable table has the rest."""
LEARNT = 10
"""A cell has learnt something where its FID is under this share of noise's."""


def axis_names(results: Results, axes: Iterable[str], always: tuple[str, ...]) -> list[str]:
    """The axes that are worth a column: those that vary, and some always."""
    return [axis for axis in axes if axis in always or axis in results.varying]


def axis_columns(axes: Iterable[str]) -> list[Column]:
    """A column for each axis."""
    return [Column(AXES[axis], "right" if axis in COUNTS else "left", "plain") for axis in axes]


def axis_cells(axes: Iterable[str], row: Any) -> list[Cell]:
    """A row's levels on these axes."""
    return [int(row[axis]) if axis in COUNTS else str(row[axis]) for axis in axes]


def filled(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Block:
    """A table without the columns that have nothing in any row."""
    kept = [i for i in range(len(columns)) if any(not _empty(row[i]) for row in rows)]
    return table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _empty(cell: Cell) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def numbers(*titles: str, how: str = "short") -> list[Column]:
    """Columns of numbers that are all written alike."""
    return [Column(title, "right", how) for title in titles]


def spread(row: Any, many: bool) -> Cell:
    """A setting's FID; where the study has several training seeds, with its range over them."""
    if not many:
        return float(row["fid"])
    return OneSeed(row["fid"]) if row["seeds"] == 1 else Spread(row["fid"], row["low"], row["high"])


def several_seeds(results: Results) -> bool:
    """Whether there is more than one training seed."""
    return len(results.seeds) > 1


def several_draws(results: Results) -> bool:
    """Whether a network was sampled with more than one sampling seed."""
    return bool((results.done.groupby("job")["sample_seed"].nunique() > 1).any())


def limit(results: Results) -> float:
    """The FID under which a cell has learnt something."""
    return (results.bounds[1]["fid"] if results.bounds else math.inf) / LEARNT


def learnt(results: Results) -> pd.DataFrame:
    """The comparable cells that learnt something."""
    return results.done[results.done["fid"] < limit(results)]


def learnt_runs(results: Results) -> pd.DataFrame:
    """The comparable cells of the training runs that learnt something: that did so in the best way to sample them."""
    return results.done[results.done.groupby("job")["fid"].transform("min") < limit(results)]


def timed_on(results: Results) -> list[str]:
    """The machines whose durations count: those of jobs and cells that had their device alone."""
    cells = [kept.environment for key in results.done["key"] if (kept := results.kept[key]).exclusive]
    jobs = [job.environment for job in results.jobs.values() if job.exclusive and job.epochs]
    return list(dict.fromkeys(map(hardware, different([*jobs, *cells])))) or results.hardware


def any_time(results: Results) -> bool:
    """Whether any epoch or sampling run had its device alone."""
    return bool(results.epochs["exclusive"].any()) or len(results.batches) > 0


def versions(results: Results) -> int:
    """How many versions of the code these results come from."""
    return len(set(results.environments.get("code", [])))


def timed_seeds(results: Results) -> str:
    """Which training seeds the sampling times are from, where that is not all of them."""
    seeds = sorted(int(seed) for seed in results.done.loc[results.done["sample_time"].notna(), "seed"].unique())
    named = f"training seed{'s' * (len(seeds) > 1)} {listing(seeds)}"
    return f" Times are of {named} alone." if len(seeds) < len(results.seeds) else ""


def engines_note(results: Results) -> str:
    """A warning where sampling times are those of several engines."""
    timed = results.done[results.done["sample_time"].notna()]
    if timed["sample_engine"].nunique() < 2:
        return ""
    parts = timed.groupby("sample_engine", sort=False)["net"].unique()
    said = listing(f"{engine} (network {listing(nets)})" for engine, nets in parts.items())
    return f"Samples were drawn by more than one engine: {said}. Do not compare their times with one another."


def shared_noise(results: Results) -> str:
    """A warning where all training seeds were sampled from one noise."""
    if not results.one_noise:
        return ""
    return (
        " All training seeds were sampled from the same noise. The effect of that noise does not average out. So the "
        "stated 5% is too small: more than 5 in 100 tests find a difference that is only chance."
    )


# Figures


def with_panels(results: Results, frame: pd.DataFrame, without: str | None = None) -> pd.DataFrame:
    """The rows that figures show, with the panel of each, in the order of the panels.

    Without an axis, its values share a panel, and every row is shown.
    """
    if not results.extras:
        return frame.assign(panel="")
    if without is not None:
        return frame.assign(panel=[results.panel(row, without) for _, row in frame.iterrows()])
    named = frame.assign(panel=[results.panel(row) for _, row in frame.iterrows()])
    order = {title: i for i, title in enumerate(results.panels)}
    named = named[named["panel"].isin(list(order))]
    return named.sort_values("panel", key=lambda titles: titles.map(order), kind="stable")


def by_schedule(results: Results, frame: pd.DataFrame, without: str | None = None) -> pd.DataFrame:
    """:func:`with_panels`, each schedule a panel of its own."""
    named = with_panels(results, frame, without)
    parts = [
        part[part["schedule"] == schedule].assign(panel=", ".join(filter(None, (str(schedule), str(title)))))
        for title, part in named.groupby("panel", sort=False)
        for schedule in results.levels("schedule")
    ]
    return pd.concat(parts) if parts else named


def curve(frame: pd.DataFrame, x: str) -> pd.DataFrame:
    """The columns that the mark "curves" draws, and each setting's key."""
    columns = ["panel", "objective", "method", "x", "fid", "low", "high", "seeds", "key"]
    return frame.assign(x=frame[x])[columns].reset_index(drop=True)


def curve_options(results: Results, label: str, **more: Any) -> Mapping[str, Any]:
    """The options of the mark "curves"."""
    return {"label": label, "objectives": results.levels("objective"), "methods": results.methods} | more


# Notes


def panels_note(results: Results) -> str:
    """What a figure leaves out, so that it can be read."""
    every = results.shown.drop_duplicates(results.extras) if results.extras else results.shown[:1]
    names = listing(AXES[axis] for axis in results.extras)
    more = len(every) - len(results.panels)
    return (
        f" The figure shows {len(results.panels)} of {len(every):,} combinations of {names}: those with the best cells."
        if more
        else ""
    )


def methods_note(results: Results) -> str:
    """The samplers that a figure leaves out."""
    every, shown = results.levels("method"), results.methods
    more = len(every) > len(shown)
    return f" It shows {len(shown)} of {len(every):,} samplers: those with the best cells." if more else ""


def whiskers_note(results: Results) -> str:
    """What the points and whiskers of a curve are."""
    if not several_seeds(results):
        return ""
    seeds = "training and sampling seeds" if several_draws(results) else "training seeds"
    return f" Points are medians over {seeds}. Whiskers go from the lowest to the highest."


def medians_note(results: Results) -> str:
    """What the points of a line without whiskers are."""
    return " Points are medians over training seeds." if several_seeds(results) else ""


def bands_note(results: Results) -> str:
    """What the lines and bands of a curve are."""
    return " Lines are medians over training seeds. Bands are their range." if several_seeds(results) else ""


def left_out(results: Results, count: int, what: str, most: int = MOST_ROWS) -> Iterable[Block]:
    """How many rows a table leaves out, and where they are."""
    if count > most:
        command = CodeSpan(f"ddpm-bench table {results.study.name} --format csv")
        yield text(f"The table has the first {most} of {count:,} {what}. ", command, " writes all of them.")


def shared_note(results: Results) -> str:
    """What was left out because the device was shared."""
    named = zip(results.shared, ("epoch", "sampling run"), strict=True)
    words = [f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in named if number]
    if not words:
        return ""
    if not any_time(results):
        return "Other programs used the same device during all runs, so there are no durations."
    return (
        f"During {listing(words)} other programs used the same device. These durations are left out of all tables. A – "
        "means that no clean duration is left."
    )


def levels_in_words(results: Results, axes: Iterable[str], row: Any) -> str:
    """``, T 100, network unet``: a row's levels on those axes that vary; "" where none does."""
    return "".join(f", {AXES[axis]} {row[axis]}" for axis in axes if axis in results.varying)


def other_judges(results: Results) -> list[str]:
    """The columns of the judges that ``fid`` is not by, as far as these results have them."""
    names = panel("fid", results.reference.classifier if results.reference else None)
    return [name for name in names if name in results.settings and results.settings[name].notna().any()]


def judge_columns(names: Sequence[str]) -> list[Column]:
    """Their titles."""
    return numbers(*map(words, names))


def headline_alone(results: Results) -> str:
    """A sentence for a table that has no columns for the other judges, where there are any."""
    return " FID is by the headline judge alone." if other_judges(results) else ""


def words(name: str) -> str:
    """A score's name in words."""
    if name in ("fid", "kid"):
        return name.upper()
    return f"FID, {name.removeprefix('fid_')}" if name.startswith("fid_") else name.replace("_", " ")


def judge_cells(names: Sequence[str], scores: Mapping[str, Any] | pd.Series) -> list[Cell]:
    """The numbers of a row, or of the floor or ceiling; none where an older record lacks one."""
    found = [scores.get(name) for name in names]
    return [None if value is None or pd.isna(value) else float(value) for value in found]


def of_classes(results: Results, *names: str) -> tuple[str, ...]:
    """Those of these metrics of classes; none where the data set has no classes."""
    return names if results.settings["confidence"].notna().any() else ()
