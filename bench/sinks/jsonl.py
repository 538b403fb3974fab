"""Events as JSON lines in a file: one object a line, ``at`` being the time in seconds since 1970."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import UserError
from bench.job.events import Event, from_json, to_json


class JsonLines:
    """Appends to a file, so that a study's several runs follow one another.

    :raises UserError: if the file cannot be opened.
    """

    def __init__(self, target: str) -> None:
        if not target:
            raise UserError("the sink jsonl needs a file: jsonl:FILE")
        try:
            self._file = open(target, "ab")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise UserError(f"cannot write to {target}: {error.strerror}") from error

    def emit(self, event: Event) -> None:
        """Write the event, and have it reach the file now."""
        self._file.write(b'{"at":%.3f,%s\n' % (time.time(), to_json(event)[1:]))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> Iterator[tuple[float, Event]]:
    """(time, event) of each line of such a file."""
    with path.open("rb") as file:
        for line in file:
            at, _, rest = line.removeprefix(b'{"at":').partition(b",")
            yield float(at), from_json(b"{" + rest)
