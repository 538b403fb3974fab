"""``--workers auto``: how many jobs at once, and how many threads for each. A short trial on this machine decides.

The trial lets each split of the cores do the study's own work for a second: steps of training and of sampling, in as
many processes as there would be jobs. What counts is how many jobs would be done in an hour.

The number of threads changes rounding, and so the bytes of results. A study therefore keeps the split that was chosen
for it first on a machine. It lies in the results folder. Without it the study keeps the threads of its finished jobs.
The trial then only finds how many jobs at once.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from filelock import Timeout

from bench.execute.executor import EXECUTORS
from bench.execute.local import lock_of
from bench.execute.schedule import POLL_S, Options, pending
from bench.execute.tryout import Try, tried
from bench.images import datasets
from bench.job.events import Event, Waiting
from bench.machine.provenance import machine_id
from bench.machine.room import memory_bytes
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
"""How often each split of several jobs is tried, in turn, to find the best of them. It looks better than it is."""
DUELS = 4
"""How often that one then has to win against one job alone. With less than the margin it wins all once in 16, or less
often, however much noise there is. More would take too long."""


class Split(NamedTuple):
    """So many jobs at once, with so many threads each."""

    workers: int
    threads: int

    def __str__(self) -> str:
        each = " each" if self.workers > 1 else ""
        return f"{plural(self.workers, 'job')} at once with {plural(self.threads, 'thread')}{each}"


Answer = tuple[Split, str]
"""A split, and why it was chosen."""


class _Question(NamedTuple):
    """What only a trial can say: which split does most of the work of a job with these cells."""

    cells: Sequence[Cell]
    splits: Sequence[Split]


def automatic(
    study: Study, store: Store, options: Options, attempt: Try = tried
) -> Generator[Event, None, tuple[Options, str]]:
    """The options with the number of workers that suits the machine, and a line that says why.

    The events say that it waits: another run on this machine would disturb a trial. Nothing is written before all is
    checked that a run checks.

    :param attempt: what tries a split.
    :raises UserError: if the results folder cannot be written, or the run could not begin.
    """
    if not EXECUTORS[options.executor].here:
        return options, f"workers: {options.executor} runs as many jobs at once as there is room for"
    if not EXECUTORS[options.executor].several:
        return options, f"workers: {options.executor} runs one job at a time"
    kind = options.device.partition(":")[0]
    if kind == "cuda":
        gpus = len(options.slots)
        return replace(options, workers=gpus), f"workers: one job at a time on each of {plural(gpus, 'GPU')}"
    if kind != "cpu":
        return options, f"workers: one job at a time on {kind}"
    split, why = yield from _of_cores(study, store, options, attempt)
    return replace(options, workers=split.workers, threads=split.threads), f"workers: {split} ({why})"


def _of_cores(study: Study, store: Store, options: Options, attempt: Try) -> Generator[Event, None, Answer]:
    """The split of this machine's cores for a study. A trial is made while no other run is at work here."""
    known = _known(study, store, options)
    if not isinstance(known, _Question):
        return known
    EXECUTORS[options.executor].make(options, store.root)  # what the run would refuse is refused now
    datasets.load(study.dataset, options.data_dir)
    store.writable()
    lock, said = lock_of(store), False
    while True:
        with suppress(Timeout), lock.acquire(timeout=0):
            known = _known(study, store, options)  # another run may have chosen since, or finished jobs
            return _by_trial(known, study, store, options, attempt) if isinstance(known, _Question) else known
        if not said:
            said = True
            yield Waiting(path=str(store.root))
        time.sleep(POLL_S)
        if (kept := _kept(study, store, options)) is not None:
            return kept


def _known(study: Study, store: Store, options: Options) -> Answer | _Question:
    """The split where it is known without a trial, else what to try."""
    if (kept := _kept(study, store, options)) is not None:
        return kept
    threads = options.threads or _threads_so_far(study, store)
    left = [[found.cell for found in job] for job in pending(study, store, options.retry).values()]
    cells = next((job for job in left if job[0].job.net != ORACLE), None)
    found = splits(os.cpu_count() or 1, min(len(left), memory_bytes() // JOB_BYTES), threads)
    if cells is not None and len(found) > 1:
        return _Question(cells, found)
    so_far = threads and not options.threads
    return found[0], "the threads of this study's finished jobs" if so_far else "there is nothing to try"


def _key(study: Study, options: Options) -> str:
    """What names the choice for a study on this machine."""
    return SplitRecord.key_of(study.name, machine_id(), os.cpu_count() or 1, options.threads)


def _kept(study: Study, store: Store, options: Options) -> Answer | None:
    """What was chosen before."""
    kept = store.read(SplitRecord, _key(study, options))
    return None if kept is None else (Split(kept.workers, kept.threads), "as a trial has found for this study before")


def _by_trial(question: _Question, study: Study, store: Store, options: Options, attempt: Try) -> Answer:
    """What a trial says, which is kept."""
    alone = question.splits[0]
    best, rates = compared(question.cells, question.splits, attempt)
    if not rates[alone]:
        return alone, "no process of the trial could do the work"
    record = SplitRecord(
        study=study.name,
        machine=machine_id(),
        cores=os.cpu_count() or 1,
        asked=options.threads,
        workers=best.workers,
        threads=best.threads,
        jobs_an_hour={str(split): rate for split, rate in rates.items()},
    )
    store.write(_key(study, options), record)
    return best, _why(alone, best, rates)


def splits(cores: int, jobs: int, threads: int | None = None) -> list[Split]:
    """The ways to divide cores without a rest, one job alone first; no more jobs at once than there are.

    Where the threads are given, there may be a rest: as many at once as there is room for is a way too.

    :param jobs: how many there are, or how many have room in memory.
    :param threads: of each job, where they are known already.
    """
    room = max(1, cores // threads) if threads else cores
    most = min(room, max(jobs, 1))
    counts = [count for count in range(1, most + 1) if room % count == 0 or (threads and count == most)]
    return [Split(count, threads or cores // count) for count in counts]


def compared(cells: Sequence[Cell], found: Sequence[Split], attempt: Try) -> tuple[Split, dict[Split, float]]:
    """The split to choose, and split → jobs an hour like the one with these cells.

    Of several that are as good, the best looks better by chance. So what was seen of it until then does not count
    against one job alone, which is the first split: it has to win new duels, every one of them by the margin.
    """

    def rate(split: Split) -> float:
        return 3600 * sum(1 / seconds for seconds in attempt(cells, *split))

    alone, *others = found
    rounds = [{split: rate(split) for split in others} for _ in range(ROUNDS if len(others) > 1 else 0)]
    rates = {split: statistics.fmean(each[split] for each in rounds) for split in others if rounds}
    best = max(rates, key=rates.__getitem__, default=others[0])
    duels: list[tuple[float, float]] = []
    chosen = best
    while len(duels) < DUELS and chosen == best:
        duels.append((rate(alone), rate(best)))
        one, several = duels[-1]
        chosen = best if one and several > MARGIN * one else alone
    return chosen, rates | {alone: statistics.fmean(a for a, _ in duels), best: statistics.fmean(b for _, b in duels)}


def _why(alone: Split, best: Split, rates: Mapping[Split, float]) -> str:
    """What the trial says of its choice."""
    if best == alone:
        return "a trial: more at once would do hardly more, or less"
    return f"a trial: {rates[best] / rates[alone]:.2f} times what one alone does; their durations do not count"


def _threads_so_far(study: Study, store: Store) -> int | None:
    """The threads of a finished job of the study that was run here."""
    for key in study.jobs:
        record = store.read(JobRecord, key)
        about = record.environment if isinstance(record, TrainedJob) else None
        if about is not None and about.machine == machine_id() and about.device == "cpu" and about.threads:
            return about.threads
    return None
