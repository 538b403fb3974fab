"""What of a study is left to do, and how it is to be run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from bench.job import run
from bench.job.checkpoints import is_trained
from bench.job.engine import AUTO
from bench.job.events import Failed, JobDone
from bench.job.process import held, waits
from bench.job.spec import JobSpec
from bench.store.records import JobRecord
from bench.store.status import Found, judge, survey
from bench.store.store import Store
from bench.study.model import Cell, Sampling
from bench.study.study import Study
from ddpm.spec import Variant

POLL_S = 0.5


class Stop(Protocol):
    """Whether to stop, as :class:`threading.Event` says it."""

    def is_set(self) -> bool:
        """True once the run is to end."""
        ...


@dataclass(frozen=True)
class Options:
    """How to run: the device, how many jobs at once, threads for each (None: its share), and where data lies.

    ``executor`` is a row of :data:`bench.execute.executor.EXECUTORS`, ``settings`` what it alone is told.
    """

    device: str
    workers: int = 1
    threads: int | None = None
    data_dir: Path | None = None
    sample_batch: int | None = None
    retry: bool = False
    engine: str = AUTO
    executor: str = "local"
    settings: Mapping[str, Any] = field(default_factory=dict)

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


def is_left(found: Found, study: Study, store: Store, retry: bool = False) -> bool:
    """Whether a run of the study has anything to do for this cell, its job's likelihood and damaged files included."""
    lacking = found.status == "done" and run.lacks_likelihood(found.cell.job, found.job, study.score.likelihood)
    return to_do(found, retry) or lacking or _damaged(found, store)


def pending(study: Study, store: Store, retry: bool) -> dict[str, list[Found]]:
    """The jobs that have anything left to do, with the cells that are left."""
    from bench.score.judges import pinned

    left: dict[str, list[Found]] = {}
    for found in survey(study.cells, store, pinned(study.dataset)):
        if is_left(found, study, store, retry):
            left.setdefault(found.cell.job.key, []).append(found)
    return teachers(left.values(), store, retry) | left


def teachers(left: Iterable[Sequence[Found]], store: Store, retry: bool = False) -> dict[str, list[Found]]:
    """The training runs that have to come first, to teach those that are left: a cell stands for each, as small as any.

    One that diverged with the very code that is here is not tried again.
    """
    first: dict[str, list[Found]] = {}
    for found, *_ in left:
        teacher = found.cell.job.teacher
        if teacher is None or teacher.key in first or any(is_trained(job, store) for job in (found.cell.job, teacher)):
            continue
        way = Sampling(sampler=Variant("ddim"), sample_steps=1, eta=0.0)
        one = judge(Cell(job=teacher, sampling=way, n=20), None, store.read(JobRecord, teacher.key), None)
        if to_do(one, retry):
            first[teacher.key] = [one]
    return first


def _damaged(found: Found, store: Store) -> bool:
    """Whether a cell that is done has lost its job's record, or a file of either was cut short.

    Files that are not there are not missed: results may come without them.
    """
    if found.status != "done":
        return False
    cell = found.cell
    return found.job is None or store.cut_short("checkpoints", cell.job.key) or store.cut_short("samples", cell.key)


def free(spec: JobSpec) -> bool:
    """Whether no process is at the job, nor at the teacher that it waits for."""
    store = Store(spec.results)
    return not waits(spec.job, store) and not held(spec.key, store)


def outcome(spec: JobSpec) -> JobDone | Failed | None:
    """How a job ended that another process was at; None if something of it is still missing."""
    about: dict[str, Any] = {"job": spec.key, "label": spec.job.label}
    failed: str | None = None
    for found in survey(spec.cells, Store(spec.results), None):
        if found.status == "missing":
            return None
        if found.status == "failed":
            failed = failed or found.reason or "unknown"
    return JobDone(**about, overhead=None) if failed is None else Failed(**about, reason=failed)
