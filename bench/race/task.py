"""One run, as a runner is given it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.race.rules import TRACKS, Track


@dataclass(frozen=True)
class Task:
    """A run: an entry's configuration, the seed of everything random in it, the track, and how many samples.

    :param results: a results folder. It may hold what an earlier run of the same task left when it was cut off.
    """

    settings: dict[str, Any]
    seed: int
    track: str
    n: int
    results: Path

    @property
    def rules(self) -> Track:
        """The row of its track."""
        return TRACKS[self.track]
