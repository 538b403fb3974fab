"""How far a study is: what is done, failed, stale and missing, and how good the estimates were."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.analysis.estimates import Past, past
from bench.score.judges import pinned
from bench.store.records import ScoredCell
from bench.store.status import survey
from bench.store.store import Store
from bench.study.study import Study


@dataclass(frozen=True)
class Progress:
    """Cells by status; the versions of the code that made them; failed jobs with reasons; estimates against truth."""

    cells: int
    counts: Mapping[str, int]
    codes: frozenset[str]
    failed: tuple[tuple[str, str | None], ...]
    runs: tuple[Past, ...]

    @property
    def median_error(self) -> float:
        """How far off the estimates of jobs were, relative to what the jobs took."""
        return statistics.median(run.error for run in self.runs)


def progress(study: Study, store: Store) -> Progress:
    """What a results folder has of a study."""
    counts: Counter[str] = Counter()
    codes: set[str] = set()
    failed: dict[tuple[str, str | None], None] = {}
    took: dict[str, list[Past]] = {}
    for found in survey(study.cells, store, pinned(study.dataset)):
        counts[found.status] += 1
        key = found.cell.job.key
        if isinstance(found.record, ScoredCell):
            codes.add(found.record.environment.code)
        if found.status == "failed":
            failed[key, found.reason] = None
        if found.job is not None and key not in took:
            took[key] = past([found.job])
    runs = tuple(run for of_job in took.values() for run in of_job)
    return Progress(len(study.cells), counts, frozenset(codes), tuple(failed), runs)
