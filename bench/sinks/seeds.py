"""Doing something each time that a training seed of all cells is done, while the rest of a study runs."""

from __future__ import annotations

from collections.abc import Callable

from bench.job.events import Event, Failed, JobDone, Refused
from bench.store.store import Store
from bench.study.study import Study


class EachSeed:
    """Calls ``act`` once for each training seed whose last job ends, but for the last one of all."""

    def __init__(self, study: Study, store: Store, act: Callable[[], object]) -> None:
        self._store, self._act = store, act
        self._left: dict[int, dict[str, list[str]]] = {}
        for key, cells in study.jobs.items():
            self._left.setdefault(cells[0].job.seed, {})[key] = [cell.key for cell in cells]
        for seed in list(self._left):
            self._forget(seed)

    def emit(self, event: Event) -> None:
        """Take note of a job that ends."""
        if not isinstance(event, JobDone | Failed | Refused):
            return
        for seed, jobs in list(self._left.items()):
            if jobs.pop(event.job, None) is not None and self._forget(seed) and self._left:
                self._act()

    def close(self) -> None:
        """Nothing is open."""

    def _forget(self, seed: int) -> bool:
        """Leave out the jobs that are done, and the seed once none is left; whether that is so."""
        jobs = self._left[seed]
        for key, cells in list(jobs.items()):
            if all(self._store.path("cells", cell, ".json").is_file() for cell in cells):
                del jobs[key]
        if jobs:
            return False
        del self._left[seed]
        return True
