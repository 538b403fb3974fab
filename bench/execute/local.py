"""Running jobs on this machine: one process a job, so that a crash or a kill takes nothing else with it.

Two locks keep runs apart. One per machine holds the devices for one run at a time, since durations on a shared device
mean nothing; a second run waits. One per job (held by the job's own process) lets several machines share a results
folder: each takes the jobs that nobody else is at.
"""

from __future__ import annotations

import itertools
import platform
import queue
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.execute import settings
from bench.execute.line import Line, failed
from bench.execute.schedule import POLL_S, Options, Stop
from bench.execute.worker import Said, Worker
from bench.job.events import BUSY, Event, JobEnd, Preparing, Refused, Started, Stopped, Waiting
from bench.job.spec import JobSpec
from bench.store.store import Store

SILENT_S = 3.0
"""Seconds of silence after which it is looked whether a job's process was stopped."""


class Local:
    """As many jobs at once as there are workers."""

    def __init__(self, options: Options, results: Path) -> None:
        settings.parse(settings.Settings, options.settings, "local")
        self._slots = [options.slots[i % len(options.slots)] for i in range(options.workers)]
        self._store = Store(results)

    def run(self, specs: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`. Waits for other runs on this machine to end first."""
        lock = lock_of(self._store)
        for look in itertools.count():
            with suppress(Timeout):
                lock.acquire(timeout=0)
                break
            if not look:
                yield Waiting(path=str(self._store.root))
            if stop.is_set():
                return
            time.sleep(POLL_S)
        try:
            yield from _Pool(self._slots).run(iter(specs), stop)
        finally:
            lock.release()


def lock_of(store: Store) -> FileLock:
    """The lock that a run holds on this machine, for all that use the results folder."""
    return FileLock(store.path("locks", f"host-{platform.node()}", ".lock"), thread_local=False)


class _Pool:
    """Keeps every slot busy until no job is left; those another process is at come last."""

    def __init__(self, slots: Iterable[str]) -> None:
        self._slots = deque(slots)
        self._said: queue.Queue[Said] = queue.Queue()
        self._running: set[Worker] = set()
        self._line = Line()
        self._heard: dict[Worker, float] = {}  # when each was last heard of

    def run(self, specs: Iterator[JobSpec], stop: Stop) -> Iterator[Event]:
        """The jobs' events."""
        try:
            while not stop.is_set():
                yield from self._fill(specs)
                if not self._running and not self._line:
                    return
                try:
                    said = self._said.get(timeout=POLL_S)
                except queue.Empty:
                    yield from self._stopped()
                    continue
                yield from self._pass_on(said)
            yield from self._stop()
        finally:
            self._end_all()

    def _fill(self, specs: Iterator[JobSpec]) -> Iterator[Event]:
        """Start jobs as long as there is room."""
        ready = self._line.ready(specs, lambda: {worker.spec.key for worker in self._running})
        while self._slots and (one := next(ready, None)) is not None:
            if isinstance(one, JobSpec):
                yield from self._start(one)
            else:
                yield one

    def _start(self, spec: JobSpec) -> Iterator[Event]:
        slot = self._slots.popleft()
        try:
            worker = Worker(spec.begun(), slot, self._said)
        except UserError as error:  # the log cannot be written
            self._slots.append(slot)
            yield Refused(job=spec.key, label=spec.job.label, reason=str(error))
        except OSError as error:
            self._slots.append(slot)
            yield failed(spec, f"no process could be started for it: {error.strerror or error}")
        else:
            self._running.add(worker)
            self._heard[worker] = time.monotonic()
            yield Started(job=spec.key, label=spec.job.label, node=platform.node(), pid=worker.pid)

    def _pass_on(self, said: Said) -> Iterator[Event]:
        """An event of a job, or what follows from the end of its process."""
        worker, event = said
        self._heard[worker] = time.monotonic()
        if event is not None:
            if not worker.ended:
                worker.ended = isinstance(event, JobEnd)
                yield event
            return
        code = worker.wait()
        self._running.discard(worker)
        del self._heard[worker]
        self._slots.append(worker.slot)
        spec = worker.spec
        if worker.ended:
            return
        if code != BUSY:
            yield failed(spec, worker.reason(code))
            return
        yield from self._line.busy(spec)

    def _stopped(self) -> Iterator[Event]:
        """Say of jobs that say nothing whether a signal has stopped them: they wait for another signal to go on."""
        for worker in self._running:
            if time.monotonic() - self._heard[worker] > SILENT_S:
                self._heard[worker] = time.monotonic()
                if worker.stopped():
                    what = f"stopped by a signal; `kill -CONT {worker.pid}` lets it go on"
                    yield Preparing(job=worker.spec.key, label=worker.spec.job.label, what=what, share=0)

    def _stop(self) -> Iterator[Event]:
        """End what runs, and say so of each job that did not end by itself in the meantime."""
        stopped = list(self._running)
        self._end_all()
        while not self._said.empty():
            worker, event = self._said.get()
            if event is not None and not worker.ended:
                worker.ended = isinstance(event, JobEnd)
                yield event
        for worker in stopped:
            if not worker.ended:
                yield Stopped(job=worker.spec.key, label=worker.spec.job.label)

    def _end_all(self) -> None:
        for worker in self._running:
            worker.terminate()
        while self._running:
            self._running.pop().end()
