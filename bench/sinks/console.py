"""Showing a run as it happens: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.job.events import Event
from bench.sinks.describe import describe


def show(events: Iterable[Event], console: Console) -> Iterator[Event]:
    """Pass events on, showing each."""
    if console.is_terminal:
        yield from _live(events, console)
        return
    for event in events:
        line = describe(event)
        if line:
            console.print(line, highlight=False, soft_wrap=True)
        yield event


def _live(events: Iterable[Event], console: Console) -> Iterator[Event]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task("study", total=None, what="")
        tasks = {}
        left = None
        for event in events:
            name, key = event["event"], event.get("job", "")
            if name == "start":
                tasks[key] = progress.add_task(event["label"], total=1.0, what="starting")
                left = event["left"]
                progress.update(total, what=f"{left} more jobs to go")
            elif name == "step":
                done = (event["epoch"] - 1 + event["share"]) / event["of"]
                progress.update(tasks[key], completed=done, what=f"training, epoch {event['epoch']}/{event['of']}")
            elif name == "sample":
                progress.update(tasks[key], completed=event["share"], what=f"sampling, {event['label']}")
            elif name in ("done", "failed", "elsewhere") and key in tasks:
                progress.remove_task(tasks.pop(key))
            line = describe(event)
            if line and name not in ("start", "epoch"):
                progress.console.print(line, highlight=False)
            yield event
