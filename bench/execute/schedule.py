"""What of a study is left to do, and how it is to be run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.job import run
from bench.job.engine import AUTO
from bench.store.status import Found, survey
from bench.store.store import Store
from bench.study.study import Study


@dataclass(frozen=True)
class Options:
    """How to run: the device, how many jobs at once, threads for each (None: its share), and where data lies."""

    device: str
    workers: int = 1
    threads: int | None = None
    data_dir: Path | None = None
    sample_batch: int | None = None
    retry: bool = False
    engine: str = AUTO

    @property
    def exclusive(self) -> bool:
        """Whether each job has its device alone: one job at a time, or one for each GPU."""
        return self.workers <= len(self.slots)

    @property
    def threads_each(self) -> int:
        """CPU threads of a job: as asked for, else an equal share of the processor."""
        return self.threads or max(1, (os.cpu_count() or 1) // self.workers)

    @property
    def slots(self) -> list[str]:
        """What each concurrent job sees as its CUDA devices ('' where that does not apply)."""
        kind, _, index = self.device.partition(":")
        if kind != "cuda":
            return [""]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        return [devices[int(index)]] if index else devices


def to_do(found: Found, retry: bool = False) -> bool:
    """Whether a run would do this cell.

    What failed is tried again, unless it diverged with the very code that is here: it would diverge again.
    """
    from bench.machine.sources import code_hash

    if found.status != "failed" or retry:
        return found.status != "done"
    source = found.record or found.job
    same_code = source is not None and source.environment.code == code_hash()
    return not (same_code and (found.reason or "").startswith("diverged"))


def pending(study: Study, store: Store, retry: bool) -> dict[str, list[Found]]:
    """The jobs that have anything left to do, with the cells that are left."""
    from bench.score.scorer import pinned

    left: dict[str, list[Found]] = {}
    for found in survey(study.cells, store, pinned(study.dataset)):
        likelihood = run.lacks_likelihood(found.cell.job, found.job, study.score.likelihood)
        if to_do(found, retry) or _damaged(found, store) or (found.status == "done" and likelihood):
            left.setdefault(found.cell.job.key, []).append(found)
    return left


def _damaged(found: Found, store: Store) -> bool:
    """Whether a cell that is done has lost its job's record, or a file of either was cut short.

    Files that are not there are not missed: results may come without them.
    """
    if found.status != "done":
        return False
    cell = found.cell
    return found.job is None or store.cut_short("checkpoints", cell.job.key) or store.cut_short("samples", cell.key)
