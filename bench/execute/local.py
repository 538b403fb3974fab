"""Running a study's jobs on this machine: one process a job, so that a crash or a kill takes nothing else with it.

Two locks keep runs apart. One per machine holds the devices for one run at a time, since durations on a shared device
mean nothing; a second run waits. One per job (held by the job's own process) lets several machines share a results
folder: each takes the jobs that nobody else is at.
"""

from __future__ import annotations

import json
import platform
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import torch
from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.execute import cost, processes
from bench.execute.schedule import Options, pending
from bench.job import engine, failures, process
from bench.job.engine import Wish
from bench.job.events import BUSY, Event
from bench.store.status import Found, survey
from bench.store.store import Store
from bench.study.model import Cell
from bench.study.study import Study

POLL_S = 0.5


def run_study(study: Study, store: Store, options: Options) -> Iterator[Event]:
    """Do what is missing of a study, yielding each job's events with ``job`` and ``label`` added.

    Ends with ``{"event": "end", "failed": [...]}``. Closing the generator, or an interrupt, stops the jobs; each
    continues from its last complete epoch when the study is run again.

    :raises UserError: if results cannot be written, or a job refuses its input.
    """
    yield {"event": "plan", "jobs": len(study.jobs), "cells": len(study.cells)}
    if not pending(study, store, options.retry):
        yield {"event": "end", "failed": _failures(study, store)}
        return
    store.writable()
    lock = FileLock(store.path("locks", f"host-{platform.node()}", ".lock"), timeout=0)
    waiting = False
    while True:
        try:
            lock.acquire()
            break
        except Timeout:
            if not waiting:
                waiting = True
                yield {"event": "waiting", "path": str(store.root)}
            time.sleep(POLL_S)
    try:
        yield from _run_jobs(study, pending(study, store, options.retry), store, options)
    finally:
        lock.release()
    yield {"event": "end", "failed": _failures(study, store)}


def _failures(study: Study, store: Store) -> list[tuple[str, str]]:
    """(which job or cell, why) for whatever has failed; a job once, not once a cell."""
    found: dict[str, str] = {}
    for cell, status, reason, record, _ in survey(study.cells, store, None):
        if status == "failed":
            name = cell.job.label if record is None else f"{cell.job.label}, {cell.label}"
            found[name] = reason or "unknown"
    return list(found.items())


def _run_jobs(study: Study, left: dict[str, list[Found]], store: Store, options: Options) -> Iterator[Event]:
    """Keep ``workers`` processes busy until no job is left: the longest first, so that none is alone at the end.

    Jobs another machine is at go to the back of the line.
    """

    def expected() -> cost.Model:  # anew for every job, which knows more than the one before
        return cost.calibrate(store, options.device.partition(":")[0], options.threads_each)

    order = cost.longest_first(left.values(), store, expected())
    waiting = deque(study.jobs[found[0].cell.job.key] for found in order)
    slots = deque(options.slots[i % len(options.slots)] for i in range(options.workers))
    running: dict[str, _Process] = {}
    events: queue.Queue[tuple[str, Event | None]] = queue.Queue()
    elsewhere: set[str] = set()
    try:
        while waiting or running:
            while waiting and slots:
                cells = waiting.popleft()
                estimate = expected().seconds(left[cells[0].job.key], store)
                wish = engine.wish(options.engine, cells, study.jobs.values(), options.device)
                likelihood = study.score.likelihood
                process = _Process(cells, store, options, slots.popleft(), events, estimate, wish, likelihood)
                running[cells[0].job.key] = process
                yield process.tag({"event": "start", "left": len(waiting)})
            key, event = events.get()
            process = running[key]
            if event is not None:
                if event["event"] == "refused":
                    raise UserError(event["reason"])
                yield process.tag(event)
                continue
            del running[key]
            slots.append(process.slot)
            code = process.wait()
            if code == BUSY:
                if key not in elsewhere:
                    elsewhere.add(key)
                    yield process.tag({"event": "elsewhere"})
                if not any(found.status == "missing" for found in survey(process.cells, store, None)):
                    continue
                waiting.append(process.cells)
                if elsewhere.issuperset(cells[0].job.key for cells in waiting):
                    time.sleep(POLL_S)
            elif code != 0 and not process.explained:
                reason = process.reason(code)
                failures.record_failure(process.cells, store, reason, torch.device(options.device))
                yield process.tag({"event": "failed", "reason": reason})
    finally:
        for process in running.values():
            process.stop()


class _Process:
    """A job's process and the thread that reads its events."""

    def __init__(
        self,
        cells: list[Cell],
        store: Store,
        options: Options,
        slot: str,
        events: queue.Queue[tuple[str, Event | None]],
        estimate: float | None,
        wish: Wish,
        likelihood: int,
    ) -> None:
        self.cells, self.slot, self.explained = cells, slot, False
        key = cells[0].job.key
        self._log_path = store.path("logs", key, ".log")
        store.write_bytes(self._log_path, b"")
        spec = {
            "cells": [cell.model_dump(mode="json") for cell in cells],
            "store": str(store.root.resolve()),
            "device": options.device.partition(":")[0],
            "threads": options.threads_each,
            "data_dir": str(options.data_dir.resolve()) if options.data_dir else None,
            "exclusive": options.exclusive,
            "sample_batch": options.sample_batch,
            "visible": {"CUDA_VISIBLE_DEVICES": slot} if slot else {},
            "began": time.time(),
            "estimate_s": estimate,
            "engine": wish.name,
            "likelihood": likelihood,
            "calls": wish.calls,
        }
        ours, theirs = processes.CONTEXT.Pipe(duplex=False)
        log = str(self._log_path.resolve())
        self._process = processes.CONTEXT.Process(target=process.process, args=(spec, theirs, log))
        processes.warm()
        with processes.environment():
            self._process.start()
        theirs.close()
        self._reader = threading.Thread(target=self._read, args=(ours, key, events), daemon=True)
        self._reader.start()

    def _read(self, ours: Connection, key: str, events: queue.Queue[tuple[str, Event | None]]) -> None:
        with ours, suppress(EOFError, OSError):  # whatever ends a process closes its end
            while True:
                event = json.loads(ours.recv_bytes())
                self.explained |= event["event"] in ("failed", "refused")
                events.put((key, event))
        events.put((key, None))

    def tag(self, event: Event) -> Event:
        """The event with the job it is about."""
        return {"job": self.cells[0].job.key, "label": self.cells[0].job.label} | event

    def wait(self) -> int:
        """The exit code."""
        self._reader.join()
        self._process.join()
        return self._process.exitcode or 0

    def stop(self) -> None:
        """End the process and wait until it is gone."""
        self._process.terminate()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._reader.join()

    def reason(self, code: int) -> str:
        """Why a process died that could not say so itself."""
        number = -code if code < 0 else code - 128  # it turns a polite request to end into an exit of its own
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            return f"killed by {name}" + (" (out of memory?)" if number == signal.SIGKILL else "")
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return f"crashed with exit code {code}" + (f": {lines[-1]}" if lines else "")
