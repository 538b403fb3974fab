"""What several commands print."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UserError
from bench.paths import shown

if TYPE_CHECKING:
    from pathlib import Path

    from bench.execute.schedule import Options
    from bench.score.kept import Progress
    from bench.sinks.sink import Sink
    from bench.store.store import Store
    from bench.study.study import Study

T = TypeVar("T")
WAIT_S = 5.0
"""Seconds of silence that nobody minds."""
QUIET_S = 30.0
"""Seconds after which something is said, whatever the program is at."""


def warn(study: Study) -> None:
    """What a reader should know before a study runs."""
    for warning in study.warnings():
        print(f"warning: {warning}", file=sys.stderr)


def damaged(store: Store) -> None:
    """Files that could not be read."""
    for path in store.damaged:
        print(f"damaged file, counted as missing: {shown(path)}", file=sys.stderr)


def stream(style: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows as CSV or JSON, one at a time, so that any number of them fits in memory.

    :raises UserError: if JSON would lose one of two columns of the same name.
    """
    if style == "csv":
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(columns)
        out.writerows(["" if value != value else value for value in row] for row in rows)
        return
    for i, name in enumerate(columns):
        if name in columns[:i]:
            raise UserError(f"two columns are called {name}: name them with AS")
    between = "[\n"
    for row in rows:
        text = json.dumps(dict(zip(columns, row, strict=True)), indent=1, ensure_ascii=False, default=str)
        sys.stdout.write(between + textwrap.indent(text, " "))
        between = ",\n"
    print("[]" if between == "[\n" else "\n]")


@contextmanager
def waiting(what: Callable[[], str], quiet_s: float = QUIET_S) -> Iterator[None]:
    """Say on stderr every now and then that the program is still at something."""
    done = threading.Event()

    def say() -> None:
        while not done.wait(quiet_s):
            print(f"still {what()}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def watched(events: Generator[Progress, None, T], quiet_s: float = QUIET_S) -> T:
    """What comes of something slow; whoever waits is told now and then how far it is, also while it does not say."""
    said, at = time.monotonic(), "reading and scoring"
    with waiting(lambda: at, quiet_s):
        while True:
            try:
                progress = next(events)
            except StopIteration as end:
                found: T = end.value
                return found
            at = f"{progress.what}, {progress.share:.0%}"
            if time.monotonic() - said > WAIT_S:
                said = time.monotonic()
                print(at, file=sys.stderr, flush=True)


def run_study(
    study: Study,
    store: Store,
    options: Options,
    log: Sequence[str] = (),
    more: Sequence[Sink] = (),
    *,
    auto: bool = False,
) -> bool:
    """Run a study with the display that fits the terminal, say what came of it, and whether every cell is done.

    :param more: sinks to tell too.
    :param auto: have a trial say how many jobs run at once.
    """
    from rich.console import Console

    from bench.sinks.follow import follow

    finished = follow(study, store, options, Console(), log, more, auto=auto)
    print(f"{study.name}: {finished.done} of {finished.cells} cells done in {shown(store.root)}")
    if finished.of_other_code:
        print(
            f"note: {finished.of_other_code} of them were made by another version of the code; "
            "use a new --results folder to make them again",
            file=sys.stderr,
        )
    damaged(store)
    for failure in finished.failed:
        print(f"failed: {failure.label}: {failure.reason}", file=sys.stderr)
    return finished.whole


def report(study: Study, store: Store, out: Path | None) -> tuple[bool, str]:
    """Write a study's report: whether it is new, and which files it is."""
    from bench.paths import reports_of
    from bench.report.write import write

    with waiting(lambda: f"writing the report of {study.name}"):
        made = write(study, store, out or reports_of(store.root))
    return made.fresh, f"{shown(made.html)}, {shown(made.pdf)} and {shown(made.markdown)}"


class Beside:
    """Writes a study's report in a process of its own, at the lowest priority, so that no fault of it ends a run."""

    def __init__(self, study: str, store: Store, out: Path | None) -> None:
        where = ["--results", str(store.root), *(["--out", str(out)] if out else [])]
        self._command = [sys.executable, "-m", "bench.cli", "report", study, *where]
        self._process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        """Start to write, unless that is going on."""
        if self._process is not None and self._process.poll() is None:
            return
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )  # fmt: skip
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 19)

    def stop(self) -> None:
        """End what is being written."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
