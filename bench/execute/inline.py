"""Running jobs in this process, one after the other: for tests, notebooks and debuggers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.execute import settings
from bench.execute.line import Line
from bench.execute.schedule import POLL_S, Options, Stop
from bench.job.events import BUSY, Event, Started, Stopped
from bench.job.process import perform
from bench.job.spec import JobSpec


class Inline:
    """No process of their own, so that a crash of the interpreter ends everything, and memory adds up."""

    def __init__(self, options: Options, _: Path) -> None:
        settings.parse(settings.Settings, options.settings, "inline")
        self._device = options.device

    def run(self, specs: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`."""
        line, left = Line(), iter(specs)
        while not stop.is_set():
            for one in line.ready(left, frozenset):
                if not isinstance(one, JobSpec):
                    yield one
                elif (yield from self._job(one, stop)) == BUSY:
                    yield from line.busy(one)
                if stop.is_set():
                    return
            if not line:
                return
            time.sleep(POLL_S)

    def _job(self, spec: JobSpec, stop: Stop) -> Generator[Event, None, int]:
        """One job's events; its exit code."""
        threads = torch.get_num_threads()
        own = {"device": self._device} if self._device.startswith(spec.device) else {}  # which of several there are
        events = perform(spec.begun().model_copy(update=own))
        about: dict[str, Any] = {"job": spec.key, "label": spec.job.label}
        try:
            yield Started(**about, node=platform.node(), pid=os.getpid())
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    return int(end.value)
                yield event
                if stop.is_set():
                    events.close()
                    yield Stopped(**about)
                    return 0
        finally:
            events.close()
            torch.set_num_threads(threads)
