"""The seeds of an attempt, which nobody chooses."""

from __future__ import annotations

import hashlib
import json

from bench.race.rules import RUNS


def seeds_of(track: str, number: int, count: int = RUNS) -> tuple[int, ...]:
    """They follow from track and record's number alone, so that no way to spell a configuration has others.

    :param number: of the record that the attempt would be; 0 for runs that choose a target.
    """
    digest = digest_of([track, number])
    return tuple(int(hashlib.sha256(f"{digest} {i}".encode()).hexdigest()[:7], 16) for i in range(count))


def digest_of(what: object) -> str:
    """A hash of plain values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
