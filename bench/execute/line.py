"""Jobs that have to wait, whatever runs them: for a teacher that is trained here, or for a process elsewhere."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Set
from contextlib import suppress

import torch

from bench.execute.schedule import free, outcome
from bench.job.events import Elsewhere, Event, Failed, JobDone
from bench.job.failures import record_failure
from bench.job.spec import JobSpec
from bench.store.store import Store


class Line:
    """Those jobs, in order."""

    def __init__(self) -> None:
        self._waiting: deque[JobSpec] = deque()  # for a teacher
        self._back: deque[JobSpec] = deque()  # another process is at them
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        """Whether any job waits."""
        return bool(self._waiting or self._back)

    @property
    def keys(self) -> set[str]:
        """The jobs that another process is at."""
        return {spec.key for spec in self._back}

    def ready(self, specs: Iterator[JobSpec], here: Callable[[], Set[str]]) -> Iterator[JobSpec | JobDone | Failed]:
        """What may begin now, to be begun before the next is asked for; and how jobs ended that were elsewhere.

        :param here: the keys of the jobs that run here by then.
        """
        while (spec := self.next(specs, here())) is not None:
            yield spec
        yield from self.returning()

    def next(self, specs: Iterator[JobSpec], here: Set[str]) -> JobSpec | None:
        """The next job that need not wait for one that is here, if there is any; those that waited come first."""
        here = here | self.keys
        again = (self._waiting.popleft() for _ in range(len(self._waiting)))
        for spec in itertools.chain(again, specs):
            if spec.job.teacher is None or spec.job.teacher.key not in here:
                return spec
            self._waiting.append(spec)
        return None

    def busy(self, spec: JobSpec) -> Iterator[Event]:
        """Another process is at the job, which is said once."""
        self._back.append(spec)
        if spec.key not in self._told:
            self._told.add(spec.key)
            yield Elsewhere(job=spec.key, label=spec.job.label)

    def returning(self) -> Iterator[JobSpec | JobDone | Failed]:
        """Of the jobs that another process was at: how each ended, or the job itself, which is to be done here."""
        for _ in range(len(self._back)):
            spec = self._back.popleft()
            if free(spec):
                yield outcome(spec) or spec
            else:
                self._back.append(spec)


def failed(spec: JobSpec, reason: str) -> Failed:
    """The end of a job whose process could not say it, recorded if that can be written."""
    with suppress(Exception):
        record_failure(list(spec.cells), Store(spec.results), reason, torch.device(spec.device))
    return Failed(job=spec.key, label=spec.job.label, reason=reason)
