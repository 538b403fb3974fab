"""What jobs were expected to take, and took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bench.store.records import JobRecord, TrainedJob


class Past(NamedTuple):
    """A job that has been: what was expected of it and what it took, in seconds."""

    label: str
    estimate_s: float
    wall_s: float

    @property
    def error(self) -> float:
        """How far off, relative to the truth."""
        return abs(self.estimate_s / self.wall_s - 1)


def past(records: Iterable[JobRecord]) -> list[Past]:
    """Estimate against truth, of the training runs that had one and had their device alone."""
    return [
        Past(record.config.label, run.estimate_s, run.wall_s)
        for record in records
        if isinstance(record, TrainedJob) and record.epochs and record.exclusive
        for run in record.harness
        if run.estimate_s and run.wall_s
    ]
