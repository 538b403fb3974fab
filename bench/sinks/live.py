"""A live display on a terminal: a bar for the study and for each job that runs, and lines that matter afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.job.events import CellDone, Elsewhere, EpochDone, Event, JobEnd, OfJob, Started, Stepped
from bench.sinks.describe import describe, doing, progress
from bench.text import duration

SURE = 0.02
"""The share that must be done before the time left is guessed from the time taken."""


class Live:
    """Bars below, lines above. It draws from its first event until it is closed.

    The bar of the study says how many jobs are to be started, the time left, the newest loss, and the last cell's FID.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._began = now, now()
        self._left: int | None = None
        self._ended = 0
        self._share: dict[str, float] = {}  # of the training of each job that runs
        self._newest: dict[str, str] = {}
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._study: TaskID | None = None
        self._jobs: dict[str, TaskID] = {}

    def emit(self, event: Event) -> None:
        """Show the event."""
        if self._study is None:
            self._progress.start()
            self._study = self._progress.add_task("study", total=None, what="")
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, JobEnd | Elsewhere):
            if event.job in self._jobs:
                self._progress.remove_task(self._jobs.pop(event.job))
        elif isinstance(event, OfJob) and event.job in self._jobs:
            self._progress.update(self._jobs[event.job], completed=progress(event), what=doing(event))
        self._overall(event, self._study)
        if not isinstance(event, Started | EpochDone) and (line := describe(event)):
            self._progress.console.print(line, highlight=False, markup=False)

    def _begin(self, event: Started) -> None:
        if event.job not in self._jobs:
            self._jobs[event.job] = self._progress.add_task(event.label, total=1.0, what=doing(event))

    def _overall(self, event: Event, study: TaskID) -> None:
        """Bring the study's bar up to date."""
        if isinstance(event, Started):
            self._left = self._left if event.left is None else event.left
            self._share[event.job] = 0.0
        elif isinstance(event, JobEnd | Elsewhere):
            self._ended += self._share.pop(event.job, None) is not None and not isinstance(event, Elsewhere)
        elif isinstance(event, Stepped | EpochDone) and event.job in self._share:
            self._share[event.job] = progress(event) or 0.0
            self._newest["loss"] = f"loss {event.loss:.4g}"
        elif isinstance(event, CellDone) and "fid" in event.metrics:
            self._newest["fid"] = f"last FID {event.metrics['fid']:.2f}"
        if self._left is None:
            return
        total = self._ended + len(self._share) + self._left
        done = self._ended + sum(self._share.values())
        what = [f"{self._left} more jobs to go", *self._newest.values()]
        if SURE < done / max(total, 1) < 1:
            what.insert(1, f"about {duration((self._now() - self._began) * (total - done) / done)} left")
        self._progress.update(study, total=total, completed=done, what=", ".join(what))

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()
