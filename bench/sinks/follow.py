"""Running a study while somebody watches, and what came of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from rich.console import Console

from bench.execute.cost import UNLIKE, Forecast
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.execute.split import automatic
from bench.job.events import Ended, Event, Failure
from bench.machine.sources import code_hash
from bench.score.judges import pinned
from bench.sinks.console import show
from bench.sinks.sink import Sink, open_sink
from bench.sinks.trackers import Tracker
from bench.store.records import ScoredCell
from bench.store.status import survey
from bench.store.store import Store
from bench.study.study import Study
from bench.text import duration


class Finished(NamedTuple):
    """How many cells a study has, how many are done, how many of those other code made, and what failed and why."""

    cells: int
    done: int
    of_other_code: int
    failed: tuple[Failure, ...]

    @property
    def whole(self) -> bool:
        """Whether every cell is done, and nothing failed."""
        return self.done == self.cells and not self.failed


def follow(
    study: Study,
    store: Store,
    options: Options,
    console: Console,
    log: Sequence[str] = (),
    more: Sequence[Sink] = (),
    *,
    auto: bool = False,
) -> Finished:
    """Do what is missing of a study, showing it on the console.

    :param log: sinks to tell too, each ``NAME`` or ``NAME:TARGET`` (:data:`bench.sinks.sink.SINKS`).
    :param more: sinks that are open already.
    :param auto: have a trial say how many jobs run at once, and with how many threads each.

    :raises UserError: if results cannot be written, or a job refuses its input.
    """
    failed: tuple[Failure, ...] = ()
    sinks = [open_sink(text) for text in log]
    for sink in sinks:
        if isinstance(sink, Tracker):
            sink.meet(study, store)

    for event in show(_events(study, store, options, console, auto), console, *sinks, *more):
        if isinstance(event, Ended):
            failed = event.failures
    store.damaged.clear()  # what was found before has been made again
    done = other = 0
    for found in survey(study.cells, store, pinned(study.dataset)):
        done += found.status == "done"
        other += isinstance(found.record, ScoredCell) and found.record.environment.code != code_hash()
    return Finished(len(study.cells), done, other, failed)


def _events(study: Study, store: Store, options: Options, console: Console, auto: bool) -> Generator[Event, None, None]:
    """What a run says; before its first job a line says how long it should take, and one how many jobs run at once."""
    lines: list[str] = []
    if auto:
        options, why = yield from automatic(study, store, options)
        lines.append(why)

    def tell(expected: Forecast) -> None:
        for line in (*lines, in_words(expected)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    yield from run_study(study, store, options, tell=tell)


def in_words(expected: Forecast) -> str:
    """How long a run should take, in a line."""
    if expected.whole_s is None or expected.first_s is None:
        return "time: unknown until a job has run here"
    where = "" if expected.here else UNLIKE
    first = f"; a first report, of one training seed, after about {duration(expected.first_s)}"
    sooner = 0 < expected.first_s < 0.99 * expected.whole_s
    return f"time: about {duration(expected.whole_s)} in all{first if sooner else ''}{where}"
