"""A live display on a terminal: a bar for each job that runs, and lines for what will matter afterwards."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.job.events import Elsewhere, EpochDone, Event, JobEnd, OfJob, Started
from bench.sinks.describe import describe, doing, progress


class Live:
    """Bars below, lines above. It draws from its first event until it is closed."""

    def __init__(self, console: Console) -> None:
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
            self._begin(event, self._study)
        elif isinstance(event, JobEnd | Elsewhere):
            if event.job in self._jobs:
                self._progress.remove_task(self._jobs.pop(event.job))
        elif isinstance(event, OfJob) and event.job in self._jobs:
            self._progress.update(self._jobs[event.job], completed=progress(event), what=doing(event))
        if not isinstance(event, Started | EpochDone) and (line := describe(event)):
            self._progress.console.print(line, highlight=False, markup=False)

    def _begin(self, event: Started, study: TaskID) -> None:
        if event.job not in self._jobs:
            self._jobs[event.job] = self._progress.add_task(event.label, total=1.0, what=doing(event))
        if event.left is not None:
            self._progress.update(study, what=f"{event.left} more jobs to go")

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()
