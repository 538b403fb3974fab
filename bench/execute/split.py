"""``--workers auto``: how many jobs at once, and how many threads for each. A short trial on this machine decides.

The trial lets each split of the cores do the study's own work for a second: steps of training and of sampling, in as
many processes as there would be jobs. What counts is how many jobs would be done in an hour.

The number of threads changes rounding, and so the bytes of results. A study therefore keeps the split that was chosen
for it first on a machine. It lies in the results folder. Without it the threads of the study's finished jobs decide.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from filelock import Timeout

from bench.execute.executor import EXECUTORS
from bench.execute.local import lock_of
from bench.execute.schedule import Options, pending
from bench.execute.tryout import Try, tried
from bench.machine.provenance import machine_id
from bench.store.records import JobRecord, TrainedJob
from bench.store.splits import SplitRecord
from bench.store.store import Store
from bench.study.model import ORACLE, Cell
from bench.study.study import Study
from bench.text import plural

MARGIN = 1.05
"""Several jobs at once must do so many times what one alone does: durations of jobs that share cores do not count."""
JOB_BYTES = 10**9
"""About what a job needs of memory."""
ROUNDS = 2
"""How often each split is tried, in turn."""


class Split(NamedTuple):
    """So many jobs at once, with so many threads each."""

    workers: int
    threads: int

    def __str__(self) -> str:
        each = " each" if self.workers > 1 else ""
        return f"{plural(self.workers, 'job')} at once with {plural(self.threads, 'thread')}{each}"


def automatic(study: Study, store: Store, options: Options, attempt: Try = tried) -> tuple[Options, str]:
    """The options with the number of workers that suits the machine, and a line that says why.

    :param attempt: what tries a split.
    :raises UserError: if the results folder cannot be written.
    """
    if not EXECUTORS[options.executor].here:
        return options, f"workers: {options.executor} runs as many jobs at once as there is room for"
    if options.executor != "local":
        return options, f"workers: {options.executor} runs one job at a time"
    kind = options.device.partition(":")[0]
    if kind == "cuda":
        gpus = len(options.slots)
        return replace(options, workers=gpus), f"workers: one job at a time on each of {plural(gpus, 'GPU')}"
    if kind != "cpu":
        return options, f"workers: one job at a time on {kind}"
    split, why = _of_cores(study, store, options, attempt)
    return replace(options, workers=split.workers, threads=split.threads), f"workers: {split} ({why})"


def _of_cores(study: Study, store: Store, options: Options, attempt: Try) -> tuple[Split, str]:
    """The split of this machine's cores for a study, and why."""
    cores, asked = os.cpu_count() or 1, options.threads
    key = SplitRecord.key_of(study.name, machine_id(), cores, asked)
    kept = store.read(SplitRecord, key)
    if kept is not None:
        return Split(kept.workers, kept.threads), "as a trial has found for this study before"
    threads = None if asked else _threads_so_far(study, store)
    if threads is not None:
        return Split(max(1, cores // threads), threads), "the threads of this study's finished jobs"
    alone = Split(1, asked or cores)
    left = [[found.cell for found in job] for job in pending(study, store, options.retry).values()]
    cells = next((job for job in left if job[0].job.net != ORACLE), None)
    found = splits(cores, min(len(left), _room()), asked)
    if cells is None or len(found) < 2:
        return alone, "there is nothing to try"
    store.writable()
    try:
        with lock_of(store).acquire(timeout=0):
            rates = compared(cells, found, attempt)
    except Timeout:
        return alone, "another run is at work on this machine, so nothing was tried"
    if not any(rates.values()):
        return alone, "no process of the trial could do the work"
    best = fastest(rates)
    record = SplitRecord(
        study=study.name,
        machine=machine_id(),
        cores=cores,
        asked=asked,
        workers=best.workers,
        threads=best.threads,
        jobs_an_hour={str(split): rate for split, rate in rates.items()},
    )
    store.write(key, record)
    return best, _why(best, rates)


def splits(cores: int, jobs: int, threads: int | None = None) -> list[Split]:
    """The ways to divide cores without a rest, one job alone first; no more jobs at once than there are.

    :param threads: of each job, where the user has chosen that.
    """
    room = max(1, cores // threads) if threads else cores
    counts = [count for count in range(1, room + 1) if room % count == 0 and count <= max(jobs, 1)]
    return [Split(count, threads or cores // count) for count in counts]


def compared(cells: Sequence[Cell], found: Sequence[Split], attempt: Try) -> dict[Split, float]:
    """Split → jobs an hour like the one with these cells: each is tried in turn, several times."""
    rates: dict[Split, list[float]] = {split: [] for split in found}
    for _ in range(ROUNDS):
        for split in found:
            rates[split].append(3600 * sum(1 / seconds for seconds in attempt(cells, *split)))
    return {split: statistics.fmean(each) for split, each in rates.items()}


def fastest(rates: Mapping[Split, float]) -> Split:
    """The split that does most, or one job alone where that does about as much."""
    alone, best = next(iter(rates)), max(rates, key=rates.__getitem__)
    return best if rates[best] > MARGIN * rates[alone] else alone


def _why(best: Split, rates: Mapping[Split, float]) -> str:
    """What the trial says of its choice."""
    alone = next(iter(rates))
    if best == alone or not rates[alone]:
        return "a trial: more at once would do hardly more, or less"
    return f"a trial: {rates[best] / rates[alone]:.2f} times what one alone does; their durations do not count"


def _room() -> int:
    """As many jobs at once as fit into memory."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // JOB_BYTES)


def _threads_so_far(study: Study, store: Store) -> int | None:
    """The threads of a finished job of the study that was run here."""
    for key in study.jobs:
        record = store.read(JobRecord, key)
        about = record.environment if isinstance(record, TrainedJob) else None
        if about is not None and about.machine == machine_id() and about.device == "cpu" and about.threads:
            return about.threads
    return None
