"""A study's records, read once: the stable table, and of each record the little that a report needs besides."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis import table
from bench.machine.environment import Environment
from bench.score.judges import hashes
from bench.store import status
from bench.store.records import FailedCell, Provenance, Sampled, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.study import Study


@dataclass(frozen=True, slots=True)
class Kept:
    """What a report needs of a cell's record besides its row; ``per_1000`` is seconds per 1,000 images by batch.

    ``accuracy`` is that of the data set's own classifier, and ``chance`` that of naming one class only.
    """

    provenance: Provenance | None
    environment: Environment
    created: datetime
    exclusive: bool
    per_1000: array[float]
    accuracy: float | None = None
    chance: float | None = None


class Read(NamedTuple):
    """The stable table, what is kept of the cells that have a record, and the complete training runs, both by key."""

    frame: pd.DataFrame
    kept: dict[str, Kept]
    jobs: dict[str, TrainedJob]


def read(study: Study, store: Store) -> Read:
    """What there is of a study, in one pass over its files: the records of a large study do not fit in memory."""
    kept: dict[str, Kept] = {}
    jobs: dict[str, TrainedJob] = {}
    same: dict[Any, Any] = {}  # equal parts of records, which most share

    def passing() -> Iterator[status.Found]:
        for found in status.survey(study.cells, store, hashes(study.dataset)):
            if isinstance(found.job, TrainedJob):
                jobs[found.cell.job.key] = found.job
            if isinstance(found.record, ScoredCell | FailedCell):
                kept[found.cell.key] = _kept(found.record, same)
            yield found

    return Read(table.frame(table.to_rows(passing(), study.name)), kept, jobs)


def _kept(record: ScoredCell | FailedCell, same: dict[Any, Any]) -> Kept:
    """What is needed of a record; parts that are equal to those of another are the other's own."""
    provenance = same.setdefault(record.provenance, record.provenance)
    environment = same.setdefault(record.environment, record.environment)
    if isinstance(record, FailedCell):
        return Kept(provenance, environment, record.created, False, array("d"))
    return Kept(
        provenance,
        environment,
        record.created,
        record.sampling.exclusive,
        _per_1000(record.sampling),
        record.accuracy,
        record.chance,
    )


def _per_1000(timing: Sampled) -> array[float]:
    """Seconds per 1,000 images of each batch but the first, which warms up, where there are more."""
    return array("d", [1000 * seconds / images for images, seconds in timing.batches])
