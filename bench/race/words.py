"""The race in tables and lines: tracks, records, runs, and what came of an attempt."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.race.contest import Turn
from bench.race.entries import ENTRIES, of_track
from bench.race.records import Attempt, RaceRecord, Side, of_today, present, records
from bench.race.rules import TRACKS
from bench.text import listing, one_line

NONE_YET = "no record yet"


def tracks(folder: Path, only: str | None = None) -> str:
    """A row for each track, or for one: its target, and its present record."""
    rows = []
    for name, track in TRACKS.items():
        if only not in (None, name):
            continue
        best = present(records(name, folder))
        holder = f"{best.entry.median_s:.1f} s, {best.entry.name}" if best else NONE_YET
        target = f"FID {track.fid:g}, and {len(track.limits)} other scores"
        rows.append([name, track.about, target, track.evaluations, holder, listing(of_track(name))])
    return _table(rows, ["track", "where", "target", "evaluations a sample", "record", "entries"])


def entries(only: str | None = None) -> str:
    """A line for each entry, or for those of one track."""
    chosen = {name: entry for name, entry in ENTRIES.items() if only is None or only in entry.tracks}
    return "\n".join(f"- `{name}` ({entry.who}): {entry.about}" for name, entry in chosen.items())


def targets() -> str:
    """A row for each track: the most that each score may be."""
    every = ["fid", *dict.fromkeys(metric for track in TRACKS.values() for metric in track.limits)]
    rows = [
        [f"`{name}`", track.about, track.evaluations, track.fid, *(track.limits.get(metric) for metric in every[1:])]
        for name, track in TRACKS.items()
    ]
    return _table(rows, ["track", "where", "evaluations", *(f"`{metric}`" for metric in every)])


def standing(folder: Path, only: str | None = None) -> str:
    """Every record, or those of one track, the newest of each first; a sentence where there is none."""
    rows = [row for name in TRACKS if only in (None, name) for row in _rows(records(name, folder))]
    head = ["track", "record", "entry", "by", "training", "set-up", "FID", "before", "p", "date", "commit"]
    return _table(rows, head) if rows else "No record yet."


def _rows(every: list[RaceRecord]) -> Iterator[list[Any]]:
    best = present(every)
    for record in reversed(every):
        before = (
            f"{record.entry.median_s / record.against.median_s:.2f} × {record.against.name}" if record.against else ""
        )
        yield [
            record.track,
            f"{record.number}{' (present)' if record is best else '' if of_today(record) else ' (other rules)'}",
            record.entry.name,
            _cell(record.entry.who),
            f"{record.entry.median_s:.1f} s",
            f"{set_up(record.entry):.1f} s",
            f"{record.entry.median('fid'):.3g} (≤ {record.rules.fid:g})",
            before,
            "" if record.p is None else f"{record.p:.2g}",
            record.created.date().isoformat(),
            (record.environment.commit or "")[:10],
        ]


def _cell(text: str) -> str:
    """Text that stays in its cell of a table."""
    return one_line(text).replace("|", r"\|").replace("<", "&lt;")


def turn(one: Turn) -> str:
    """A line on a run."""
    run = one.done.run
    before = ", done before" if one.kept else ""
    fid = run.scores.get("fid", float("nan"))
    came = run.diverged or f"{run.seconds:.2f} s, FID {fid:.3g}"
    return f"run {one.number} of {one.of}: {one.racer.name}, seed {run.seed}: {came}{before}"


def outcome(attempt: Attempt) -> str:
    """A row for each run of an attempt, and the medians of each side."""
    metrics = list(attempt.rules.bounds)
    rows: list[list[Any]] = []
    for side in filter(None, (attempt.entry, attempt.against)):
        for run in side.runs:
            missed = "diverged" if run.diverged else listing(attempt.rules.missed(run) or ["no"])
            scores = [f"{run.scores.get(metric, float('nan')):.3g}" for metric in metrics]
            took = "" if run.diverged else f"{run.seconds:.2f}"
            rows.append([side.name, run.seed, took, f"{aside(run.apart_s):.1f}", *scores, missed])
        middle = [f"{side.median(metric):.3g}" for metric in metrics]
        rows.append([side.name, "median", f"{side.median_s:.2f}", f"{set_up(side):.1f}", *middle, ""])
    at_most = ["at most", "", "", "", *(f"{most:g}" for most in attempt.rules.bounds.values()), ""]
    return _table([*rows, at_most], ["entry", "seed", "training s", "set-up s", *metrics, "misses"])


def compared(attempt: Attempt) -> str:
    """A line on how an attempt's times stand to those of the present record."""
    if attempt.against is None:
        return f"{attempt.entry.name} ran alone: there is no record to compare with"
    ratio = attempt.entry.median_s / attempt.against.median_s
    return f"{attempt.entry.name} takes {ratio:.3f} of the time of {attempt.against.name}, p = {attempt.p:.3g}"


SET_UP = ("start", "load", "trial", "compile", "build")
"""Stages that come before the first batch, or that compile."""


def aside(apart_s: dict[str, float]) -> float:
    """Seconds of set-up and compiling, which stand apart from training."""
    return sum(apart_s.get(stage, 0.0) for stage in SET_UP)


def set_up(side: Side) -> float:
    """The median of that over the runs."""
    return statistics.median(aside(run.apart_s) for run in side.runs)


def spread(attempt: Attempt) -> str:
    """Of each score the median and the worst of all runs, and the bound: what a target is chosen by."""
    rows: list[list[Any]] = []
    for metric, bound in attempt.rules.bounds.items():
        values = [run.scores.get(metric, float("nan")) for run in attempt.entry.runs]
        rows.append([metric, f"{statistics.median(values):.3g}", f"{max(values):.3g}", f"{bound:g}"])
    times = attempt.entry.times
    rows.append(["training s", f"{statistics.median(times):.2f}", f"{max(times):.2f}", ""])
    return _table(rows, ["score", "median", "worst", "at most"])


def _table(rows: list[list[Any]], head: list[str]) -> str:
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)
