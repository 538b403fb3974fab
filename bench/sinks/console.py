"""Showing a run as it happens: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console

from bench.job.events import Event
from bench.sinks.live import Live
from bench.sinks.plain import Plain
from bench.sinks.sink import Sink, tell


def on(console: Console) -> Sink:
    """The sink that fits a console."""
    return Live(console) if console.is_terminal else Plain(console)


def show(events: Iterable[Event], console: Console, *more: Sink) -> Iterator[Event]:
    """Pass events on, showing each, and telling ``more`` sinks too."""
    return tell(events, [on(console), *more])
