"""The seeds of an attempt, which nobody chooses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.race.rules import RUNS


def seeds_of(track: str, number: int, runner: str, settings: Mapping[str, Any], count: int = RUNS) -> tuple[int, ...]:
    """They follow from track, record's number and configuration, so that the same attempt has the same ones.

    :param number: of the record that the attempt would be; 0 for runs that choose a target.
    :param settings: of the entry, in their one form (:attr:`bench.race.entries.Runner.plain`).
    """
    digest = digest_of([track, number, runner, dict(settings)])
    return tuple(int(hashlib.sha256(f"{digest} {i}".encode()).hexdigest()[:7], 16) for i in range(count))


def digest_of(what: object) -> str:
    """A hash of plain values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
