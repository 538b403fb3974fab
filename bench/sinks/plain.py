"""A line for each event that matters, and one now and then while nothing else is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rich.console import Console

from bench.job.events import Event, JobEnd, OfJob
from bench.sinks.describe import describe, doing

QUIET_S = 30.0


class Plain:
    """Lines on a console.

    :param quiet_s: after so long without a line, what each job is at is said.
    :param tick_s: how often to look whether it was that long; None: never, but when :meth:`beat` is called.
    """

    def __init__(
        self,
        console: Console,
        quiet_s: float = QUIET_S,
        tick_s: float | None = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._quiet_s, self._tick_s, self._now = console, quiet_s, tick_s, now
        self._said = now()
        self._at: dict[str, tuple[str, str]] = {}  # job → its label, what it is at
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None

    def emit(self, event: Event) -> None:
        """Print the event's line, if it has one."""
        with self._lock:
            if isinstance(event, JobEnd):
                self._at.pop(event.job, None)
            elif isinstance(event, OfJob) and (what := doing(event)):
                self._at[event.job] = event.label, what
            if line := describe(event):
                self._print(line)
        if self._ticker is None and self._tick_s is not None:
            self._ticker = threading.Thread(target=self._tick, args=(self._tick_s,), daemon=True)
            self._ticker.start()

    def beat(self) -> None:
        """Print what each job is at, if nothing was printed for long."""
        with self._lock:
            if self._now() - self._said >= self._quiet_s:
                for label, what in self._at.values():
                    self._print(f"{label}: still {what}")

    def close(self) -> None:
        """Say no more."""
        self._closed.set()
        if self._ticker is not None:
            self._ticker.join()

    def _print(self, line: str) -> None:
        self._said = self._now()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _tick(self, tick_s: float) -> None:
        while not self._closed.wait(tick_s):
            try:
                self.beat()
            except (Exception, SystemExit):  # nobody can read it any more; the next event will say so
                return
