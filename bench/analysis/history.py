"""A study over commits: what each run of it gave, kept as JSON lines, and where quality or speed has changed."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from bench import files
from bench.analysis.changes import LEVEL, ChangePoint, change_points
from bench.analysis.compare import config_of
from bench.analysis.table import to_rows
from bench.errors import UserError
from bench.store.records import CellRecord, ScoredCell
from bench.store.status import survey
from bench.store.store import Store
from bench.study.study import Study

Some = Annotated[float, Field(allow_inf_nan=False)]
SECONDS = ("epoch_s", "seconds per 1,000 samples")
Logs = dict[int, dict[str, float]]
"""The place of a run → cell → the mean logarithm of a quantity."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CellRuns(_Part):
    """What the runs of a cell gave: metric → a value for each of the entry's runs, and seconds where they were taken.

    ``seconds``: of an epoch, and of 1,000 samples; the median of the runs that had their device alone.
    """

    metrics: dict[str, tuple[Some, ...]]
    seconds: dict[str, Some] = {}


class Entry(_Part):
    """A run of a study: one line of a history."""

    study: str
    commit: str | None
    dirty: bool
    code: str
    date: AwareDatetime
    machine: str
    seeds: tuple[int, ...]
    n: int
    judge: str
    cells: dict[str, CellRuns]

    @property
    def name(self) -> str:
        """The commit, as short as git shows it."""
        return f"{self.commit[:10]}{' and changes' if self.dirty else ''}" if self.commit else self.code[:10]


class Series(NamedTuple):
    """A quantity over the runs: the places of the runs that have it, its values, and the changes of its logarithm."""

    title: str
    unit: str
    places: list[int]
    values: list[float]
    changes: list[ChangePoint]


def taken(study: Study, *stores: Store) -> Entry:
    """What the store that has the newest cell of a study has of it, on whatever training seeds, by that cell's code.

    :raises UserError: if there is nothing, or a cell is missing.
    """
    wanted = {config_of(cell) for cell in study.cells}
    every = [
        (record, store)
        for store in stores
        for _, record in store.records(CellRecord)
        if isinstance(record, ScoredCell) and record.config.n == study.score.n and config_of(record.config) in wanted
    ]
    if not every:
        raise UserError(f"no results of {study.name} in {stores[0].root}; `ddpm-bench run {study.name}` makes some")
    newest, store = max(every, key=lambda pair: pair[0].created)
    code, judge = newest.environment.code, newest.provenance.classifier
    own = [record for record, where in every if where is store]
    found = [one for one in own if one.environment.code == code and one.provenance.classifier == judge]
    lacking = len(wanted - {config_of(one.config) for one in found})
    if lacking:
        raise UserError(
            f"{lacking} of {len(wanted)} settings of {study.name} have no result by the code of the newest result; "
            f"`ddpm-bench run {study.name}` makes them"
        )
    cells = sorted((one.config for one in found), key=lambda cell: (cell.job.seed, cell.job.key, cell.key))
    rows = list(to_rows(survey(cells, store, judge), study.name))
    by_label: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        by_label.setdefault(f"{cell.job.setting}, {cell.sampling.setting}", []).append(i)
    metrics = [name for name in newest.metrics if not name.endswith("_se")]
    where = newest.environment
    return Entry(
        study=study.name,
        commit=where.commit,
        dirty=where.dirty,
        code=code,
        date=newest.created,
        machine=f"{where.gpu or where.processor}, {where.threads} threads",
        seeds=tuple(sorted({cell.job.seed for cell in cells})),
        n=study.score.n,
        judge=judge[:12],
        cells={
            label: CellRuns(
                metrics={name: tuple(rows[i][name] for i in own if rows[i][name] is not None) for name in metrics},
                seconds=_seconds([rows[i] for i in own]),
            )
            for label, own in by_label.items()
        },
    )


def _seconds(rows: Sequence[dict[str, float | None]]) -> dict[str, float]:
    epochs = [row["epoch_s"] for row in rows if row["epoch_s"]]
    samples = [1000 / row["sample_images_per_s"] for row in rows if row["sample_images_per_s"]]
    both = zip(SECONDS, (epochs, samples), strict=True)
    return {name: statistics.median(values) for name, values in both if values}


def read(path: Path, study: str) -> list[Entry]:
    """The history of a study in a file, oldest first; nothing where there is no file.

    :raises UserError: naming the first line that is not an entry, or the other study whose history it is.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                entries.append(Entry.model_validate_json(line))
            except ValidationError as error:
                raise UserError(f"line {number} of {path} is not a run of a history") from error
    other = next((one.study for one in entries if one.study != study), None)
    if other is not None:
        raise UserError(f"{path} is the history of {other}, not of {study}")
    return sorted(entries, key=lambda entry: entry.date)


def append(path: Path, entry: Entry) -> bool:
    """Add a run to a history; whether it was not there yet.

    :raises UserError: if the file is of another study, or cannot be read or written.
    """
    with files.explained(path.parent), FileLock(path.with_name(f".{path.name}.lock")):
        entries = read(path, entry.study)
        if entry in entries:
            return False
        lines = [*entries, entry]
        files.write_bytes(path, "".join(f"{one.model_dump_json()}\n" for one in lines).encode())
        return True


def series(entries: Sequence[Entry], metric: str = "fid") -> list[Series]:
    """Quality and speed over the runs, and where they have changed.

    Quality is the geometric mean of a metric over the cells that all runs have. Runs by another judge than the newest,
    with another N or without the metric are left out. Speed is the same of seconds, for each kind of machine. The level
    is shared among the series.

    :raises UserError: if no run that counts has the metric.
    """
    found = [(title, unit, means) for title, unit, logs in _quantities(entries, metric) if (means := _means(logs))]
    level = LEVEL / max(1, len(found))
    return [
        Series(title, unit, list(means), list(means.values()), _changes(means, level)) for title, unit, means in found
    ]


def not_compared(entries: Sequence[Entry], metric: str = "fid") -> list[str]:
    """A line for each quantity that :func:`series` leaves out, since its runs have no cell in common."""
    return [
        f"Not compared: {title}. No cell is in all {len(logs)} runs that have it."
        for title, _, logs in _quantities(entries, metric)
        if not _means(logs)
    ]


def _quantities(entries: Sequence[Entry], metric: str) -> list[tuple[str, str, Logs]]:
    """The title, unit and logarithms of each quantity that any run has."""
    if not entries:
        return []
    last = entries[-1]
    alike = [i for i, one in enumerate(entries) if (one.judge, one.n) == (last.judge, last.n)]
    scores = _logs(entries, alike, partial(_scores, metric))
    if not scores:
        held = sorted({name for i in alike for cell in entries[i].cells.values() for name in cell.metrics})
        raise UserError(f"no run by the newest judge has a {metric} above zero; the runs have: {', '.join(held)}")
    found = [(f"{metric}, N = {last.n:,}", "", scores)]
    for machine, _ in Counter(one.machine for one in entries).most_common():
        own = [i for i, one in enumerate(entries) if one.machine == machine]
        for kind in SECONDS:
            title = f"{'seconds an epoch' if kind == 'epoch_s' else kind}, {machine}"
            found.append((title, "s", _logs(entries, own, partial(_durations, kind))))
    return [one for one in found if one[2]]


def _changes(means: Mapping[int, float], level: float) -> list[ChangePoint]:
    return change_points([math.log(value) for value in means.values()], level)


def _scores(metric: str, cell: CellRuns) -> Sequence[float]:
    return cell.metrics.get(metric, ())


def _durations(kind: str, cell: CellRuns) -> Sequence[float]:
    return [cell.seconds[kind]] if kind in cell.seconds else []


def _logs(entries: Sequence[Entry], places: Sequence[int], of: Callable[[CellRuns], Sequence[float]]) -> Logs:
    """Of each run that has any of it."""
    logs: Logs = {}
    for i in places:
        logs[i] = {
            label: statistics.fmean(map(math.log, values))
            for label, cell in entries[i].cells.items()
            if (values := [value for value in of(cell) if value > 0])
        }
    return {i: cells for i, cells in logs.items() if cells}


def _means(logs: Logs) -> dict[int, float]:
    """Place → the geometric mean over the cells that all runs have; empty if there is no such cell."""
    common = set.intersection(*(set(cells) for cells in logs.values()))
    if not common:
        return {}
    return {i: math.exp(statistics.fmean(cells[label] for label in common)) for i, cells in logs.items()}
