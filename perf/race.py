"""``ddpm-bench race`` with the peers among the entries: ``python -m perf.race --track cpu2 --entry diffusers``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench import cli
from bench.race.entries import ENTRIES, RUNNERS
from perf.peers.racing import PEERS, RUNNER


@contextmanager
def peers() -> Iterator[None]:
    """The peers' rows in the tables of the race."""
    ENTRIES.update(PEERS)
    RUNNERS["peer"] = RUNNER
    try:
        yield
    finally:
        for name in PEERS:
            del ENTRIES[name]
        del RUNNERS["peer"]


def main(arguments: list[str]) -> int:
    """The command's exit code."""
    with peers():
        return cli.main(["race", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
