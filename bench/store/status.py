"""What the store holds of each cell: done, failed, stale or missing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bench.rows import outdated
from bench.store.records import CellRecord, FailedCell, FailedJob, JobRecord, ScoredCell
from bench.store.store import Store
from bench.study.model import Cell

Judges = str | frozenset[str] | None
"""Whose scores count: the hashes of weights."""


class Found(NamedTuple):
    """What the store holds of a cell: its record and its training run's, where there are any.

    ``status`` is ``done``, ``failed``, ``stale`` or ``missing``; ``reason`` is why it failed. Stale is what was scored
    by another judge than those asked for, or with another version of a package's metric than is here.
    """

    cell: Cell
    status: str
    reason: str | None
    record: CellRecord | None
    job: JobRecord | None


def survey(cells: Iterable[Cell], store: Store, classifier: Judges) -> Iterator[Found]:
    """Each cell in turn, every file read once where the cells of a job follow one another, as a study's do.

    :param classifier: the hash of the judge whose scores count, or those of several; None takes any.
    """
    for key, together in itertools.groupby(cells, lambda cell: cell.job.key):
        job = store.read(JobRecord, key)
        for cell in together:
            yield judge(cell, store.read_cell(CellRecord, cell), job, classifier)


def judge(cell: Cell, record: CellRecord | None, job: JobRecord | None, classifier: Judges) -> Found:
    """What its records say of a cell."""
    status, reason = "missing", None
    if isinstance(record, ScoredCell):
        wanted = {classifier} if isinstance(classifier, str) else classifier
        stale = wanted is not None and record.provenance.classifier not in wanted
        stale = stale or outdated(record.metrics, record.environment.packages)
        status = "stale" if stale else "done"
    elif isinstance(record, FailedCell):
        status, reason = "failed", record.reason
    elif isinstance(job, FailedJob):
        status, reason = "failed", job.reason
    return Found(cell, status, reason, record, job)
