"""The process of a job: it is given what the job depends on, and sends events."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import NoReturn

import torch
from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.job.checkpoints import is_trained
from bench.job.events import BUSY, CellDone, Damaged, Elsewhere, Event, Failed, JobDone, Refused, to_json
from bench.job.failures import reason_of, record_failure
from bench.job.parent import end_with_parent
from bench.job.run import run
from bench.job.spec import JobSpec
from bench.store import seals
from bench.store.store import Store
from bench.study.model import Job


def process(spec: JobSpec, visible: Mapping[str, str], events: Connection, log: str) -> NoReturn:
    """Be the process of a job: what it or a library prints goes to the file ``log``, events go to ``events``.

    :param visible: environment variables that say which devices there are.
    """
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ |= visible
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # tidily: no half-written file stays
    end_with_parent()
    sys.exit(work(spec, lambda event: events.send_bytes(to_json(event))))


def work(spec: JobSpec, say: Callable[[Event], None]) -> int:
    """Run the job under its lock, say its events, and return the process's exit code.

    That another process is at the job is said too: nobody knows an exit code where the server of processes is gone.
    """
    with closing(perform(spec)) as events:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                if end.value == BUSY:
                    with suppress(BrokenPipeError):
                        say(Elsewhere(job=spec.key, label=spec.job.label))
                return int(end.value)
            try:
                say(event)
            except BrokenPipeError:
                return 1  # whoever started this job is gone


def perform(spec: JobSpec) -> Generator[Event, None, int]:
    """Run the job under its lock; returns a process's exit code.

    The last event is one of :data:`bench.job.events.JobEnd`, unless the code is :data:`bench.job.events.BUSY`. What the
    job raises is an event, and is recorded. Closing the generator leaves the job as it is, to be gone on from.
    """
    store = Store(spec.results)
    if waits(spec.job, store):
        return BUSY
    lock = FileLock(store.path("locks", spec.key, ".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return BUSY
    try:
        yield from _steps(spec, store)
        return 0
    except UserError as error:
        _record(spec, store, str(error))
        yield Refused(job=spec.key, label=spec.job.label, reason=str(error))
        return 2
    except Exception as error:
        traceback.print_exc()
        _record(spec, store, reason_of(error))
        yield Failed(job=spec.key, label=spec.job.label, reason=reason_of(error))
        return 1
    finally:
        lock.release()


def waits(job: Job, store: Store) -> bool:
    """Whether a process is at the job's teacher, neither being trained yet."""
    if job.teacher is None or any(is_trained(one, store) for one in (job, job.teacher)):
        return False
    return held(job.teacher.key, store)


def held(key: str, store: Store) -> bool:
    """Whether a process is at the job with this key."""
    try:
        with FileLock(store.path("locks", key, ".lock"), thread_local=False).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _steps(spec: JobSpec, store: Store) -> Generator[Event, None, None]:
    """The job's events, and those of damage that it comes across."""
    torch.set_num_threads(spec.threads)
    seals.mend(store)
    for event in run(
        list(spec.cells),
        store,
        device=torch.device(spec.device),
        data_dir=spec.data_dir,
        exclusive=spec.exclusive,
        began=spec.began,
        sample_batch=spec.sample_batch,
        estimate=spec.estimate_s,
        likelihood_of=spec.likelihood,
        only_train=spec.only_train,
        wish=spec.wish,
    ):
        for path in store.damaged:
            yield Damaged(job=spec.key, label=spec.job.label, path=str(path))
        store.damaged.clear()
        if isinstance(event, CellDone | JobDone):
            seals.seal(store)
        yield event


def _record(spec: JobSpec, store: Store, reason: str) -> None:
    """Record that the job failed, if that can be written: a full disk may be why. Its last event is what counts."""
    with suppress(Exception):
        record_failure(list(spec.cells), store, reason, torch.device(spec.device))
