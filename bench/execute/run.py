"""Running a study: what is missing of it goes to an executor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator

from bench.errors import UserError, unknown
from bench.execute.cost import Forecast, forecast
from bench.execute.executor import EXECUTORS
from bench.execute.schedule import Options, Stop, pending
from bench.execute.specs import Specs
from bench.images import datasets
from bench.job.events import Ended, Event, Failed, Failure, JobEnd, Planned, Refused, Started
from bench.store.status import survey
from bench.store.store import Store
from bench.study.study import Study

DISK = ("disk full: ", "cannot write to folder ")
"""How a job's reason begins if its results could not be written: the other jobs would have the same to say."""


def run_study(
    study: Study,
    store: Store,
    options: Options,
    *,
    stop: Stop | None = None,
    tell: Callable[[Forecast], None] | None = None,
) -> Iterator[Event]:
    """Do what is missing of a study, yielding what is said: :class:`Planned`, the jobs' events, :class:`Ended`.

    A job that fails ends nothing but itself. Closing the generator, an interrupt or ``stop`` ends the jobs; each goes
    on from its last whole epoch when the study is run again.

    :param tell: is told how long it should take, if anything is left to do.
    :raises UserError: for an executor that does not exist or lacks what it needs, a results folder that cannot be
        written (before the first job or after that), or data that are missing or damaged.
    """
    if options.executor not in EXECUTORS:
        raise unknown("executor", options.executor, EXECUTORS)
    executor = EXECUTORS[options.executor].make(options, store.root)
    stop = stop or threading.Event()
    ends: dict[str, JobEnd] = {}
    left = pending(study, store, options.retry)
    yield Planned(jobs=len(study.jobs.keys() | left.keys()), cells=len(study.cells))
    if left:
        datasets.load(study.dataset, options.data_dir)  # each job would have the same to say
        store.writable()
        if tell is not None:
            tell(forecast(left.values(), study, store, options))
        specs = Specs(study, store, options)
        events = executor.run(specs, stop=stop)
        try:
            for event in events:
                if isinstance(event, JobEnd):
                    ends[event.job] = event
                yield event.model_copy(update={"left": specs.left}) if isinstance(event, Started) else event
                if isinstance(event, Refused) and event.reason.startswith(DISK):
                    raise UserError(event.reason)
        finally:
            if isinstance(events, Generator):
                events.close()
    yield Ended(failures=tuple(failures(study, store, ends.values())), stopped=stop.is_set())


def failures(study: Study, store: Store, ends: Iterable[JobEnd] = ()) -> Iterator[Failure]:
    """Whatever has failed, a job once and not once a cell.

    :param ends: how jobs ended, since not every failure can be recorded.
    """
    said = set()
    for found in survey(study.cells, store, None):
        job = found.cell.job
        cell = None if found.record is None else found.cell.key
        if found.status == "failed" and (job.key, cell) not in said:
            said.add((job.key, cell))
            label = job.label if cell is None else f"{job.label}, {found.cell.label}"
            yield Failure(job=job.key, cell=cell, label=label, reason=found.reason or "unknown")
    recorded = {job for job, _ in said}
    for end in ends:
        if isinstance(end, Refused | Failed) and end.job not in recorded:
            yield Failure(job=end.job, cell=None, label=end.label, reason=end.reason)
