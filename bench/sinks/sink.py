"""The seam between a run and whoever shows or records it: a sink is a class here and a row of :data:`SINKS`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol

from rich.console import Console

from bench.errors import UserError, unknown
from bench.job.events import Event
from bench.sinks.jsonl import JsonLines
from bench.sinks.live import Live
from bench.sinks.plain import Plain
from bench.sinks.trackers import Shared, TensorBoard


class Sink(Protocol):
    """Is given every event of a run, and is closed when there are no more."""

    def emit(self, event: Event) -> None:
        """Show or record an event."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


def _on_the_console(make: Callable[[Console], Sink]) -> Callable[[str], Sink]:
    def made(target: str) -> Sink:
        if target:
            raise UserError(f"a log on the console has no target: leave out ':{target}'")
        return make(Console())

    return made


SINKS: dict[str, Callable[[str], Sink]] = {
    "plain": _on_the_console(Plain),
    "rich": _on_the_console(Live),
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
    "trackio": partial(Shared, "trackio"),
    "wandb": partial(Shared, "wandb"),
}
"""Name → what makes a sink of its target, which is "" where none was named."""


def open_sink(text: str) -> Sink:
    """The sink that is meant by ``NAME`` or ``NAME:TARGET``.

    :raises UserError: if there is none of that name, or it cannot be opened.
    """
    name, _, target = text.partition(":")
    if name not in SINKS:
        raise unknown("kind of log", name, SINKS)
    return SINKS[name](target)


def tell(events: Iterable[Event], sinks: Iterable[Sink]) -> Iterator[Event]:
    """Pass events on, each sink being told of each; sinks are closed at the end, as is ``events``.

    A sink that fails is left out from there on, with a line on stderr: it must not end a run.
    """
    listening = list(sinks)
    try:
        for event in events:
            for sink in tuple(listening):
                with _dropped_if_failing(sink, listening):
                    sink.emit(event)
            yield event
    finally:
        if isinstance(events, Generator):
            events.close()
        for sink in tuple(listening):
            with _dropped_if_failing(sink, listening):
                sink.close()


@contextmanager
def _dropped_if_failing(sink: Sink, listening: list[Sink]) -> Iterator[None]:
    try:
        yield
    except (Exception, SystemExit) as error:  # rich exits where nobody reads what it prints
        listening.remove(sink)
        with suppress(Exception, SystemExit):
            sink.close()
        with suppress(Exception):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            print(f"warning: {type(sink).__name__} failed and is left out from here on: {reason}", file=sys.stderr)
