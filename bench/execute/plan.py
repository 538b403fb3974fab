"""What a run of a study would do, and how long it should take."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from bench.errors import UserError, unknown
from bench.execute import cost
from bench.execute.executor import EXECUTORS
from bench.execute.schedule import Options, is_left, teachers
from bench.job import engine
from bench.machine.devices import pick_device
from bench.score.judges import pinned
from bench.store.status import Found, survey
from bench.store.store import Store
from bench.study.model import Cell
from bench.study.study import Study
from bench.text import duration

ELSEWHERE = ("cpu", "cuda")
"""Devices of other machines: which of several a job gets is for their executor to say."""
MANY = 10_000
"""Jobs at once where nothing but the cluster says how many: more than there is room for."""


@dataclass(frozen=True)
class JobPlan:
    """A job: how many cells are left, the seconds they should take (None: unknown), and each cell's key and state."""

    key: str
    label: str
    left: int
    seconds: float | None
    cells: tuple[tuple[str, str, str], ...]  # key, status, label


@dataclass(frozen=True)
class Plan:
    """How many jobs and cells there are, how many cells are done, and how many jobs have anything left to do.

    ``seconds`` is the time left, with as many jobs at once as was asked for; None if unknown. ``elsewhere``: known only
    from runs that were not like this one, on another machine, with other threads, or with more or fewer jobs at once.
    """

    jobs: int
    cells: int
    done: int
    left: int
    seconds: float | None
    elsewhere: bool
    evaluations: int
    detail: tuple[JobPlan, ...]


def plan(study: Study, store: Store, *, detail: bool = False, workers: int = 1, threads: int | None = None) -> Plan:
    """What a run would do. Nothing is written.

    :param detail: also describe every job and cell.
    :param workers: how many jobs at once the time is estimated for.
    :param threads: of each job; by default its share of this machine.
    """
    device = pick_device("auto").type
    model = cost.calibrate(store, Options(device, workers, threads))
    unfinished: list[Sequence[Found]] = []
    described: list[JobPlan] = []
    each: list[float] = []
    done, left_jobs = 0, 0
    survey_ = survey(study.cells, store, pinned(study.dataset))
    for key, together in itertools.groupby(survey_, lambda found: found.cell.job.key):
        job = list(together)
        left = [found for found in job if is_left(found, study, store)]
        done += sum(found.status == "done" for found in job)
        left_jobs += bool(left)
        takes = model.seconds(left, store)
        each.append(math.nan if takes is None else takes)
        if detail:
            described.append(_described(key, job, len(left), takes))
        if left:
            unfinished.append(left)
    first = teachers(unfinished, store)
    before: list[float] = []
    for key, left in first.items():
        takes = model.seconds(left, store)
        before.append(math.nan if takes is None else takes)
        if detail:
            described.insert(0, JobPlan(key, f"teacher of others: {left[0].cell.job.label}", 1, takes, ()))
    seconds = cost.spread([*before, *each], workers)
    return Plan(
        jobs=len(study.jobs) + len(first),
        cells=len(study.cells),
        done=done,
        left=left_jobs + len(first),
        seconds=None if math.isnan(seconds) else seconds,
        elsewhere=bool(model.train) and not model.here,
        evaluations=_evaluations(study.cells),
        detail=tuple(described),
    )


def _evaluations(cells: Iterable[Cell]) -> int:
    """How often networks are evaluated in all: for one sample of each way once, since many cells share it."""
    images: Counter[int] = Counter()
    ways: dict[int, Cell] = {}
    for cell in cells:
        ways.setdefault(id(cell.sampling), cell)
        images[id(cell.sampling)] += cell.n
    return sum(cell.evaluations * images[way] for way, cell in ways.items())


def _described(key: str, job: Sequence[Found], left: int, seconds: float | None) -> JobPlan:
    cells = tuple((found.cell.key, found.status, found.cell.label) for found in job)
    return JobPlan(key, job[0].cell.job.label, left, seconds, cells)


def about(seconds: float | None) -> str:
    """An estimate, in words."""
    return "time unknown until a job has run here" if seconds is None else f"about {duration(seconds)}"


def make_options(
    device: str = "auto",
    *,
    workers: int | None = None,
    threads: int | None = None,
    data_dir: Path | None = None,
    sample_batch: int | None = None,
    retry: bool = False,
    engine_name: str = engine.AUTO,
    executor: str = "local",
    settings: Mapping[str, Any] | None = None,
) -> Options:
    """How to run, checked before anything starts.

    Of an executor on other machines, the device is theirs: it is the CPU, with one thread a job, unless said otherwise.

    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param workers: jobs at once; by default one here, and as many as there is room for elsewhere.
    :param executor: a row of :data:`bench.execute.executor.EXECUTORS`.
    :param settings: what that executor alone is told.
    :raises UserError: for a device, an engine or an executor that is not there, or a number that is none.
    """
    for name, value in (("workers", workers), ("threads", threads), ("sample_batch", sample_batch)):
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise UserError(f"{name} must be a positive integer, not {value!r}")
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if EXECUTORS[executor].here:
        device = device if device != "auto" else pick_device("auto").type
        engine.check(engine_name, pick_device(device))
        workers = workers or 1
    else:
        device = "cpu" if device == "auto" else device
        if device not in ELSEWHERE:
            raise UserError(f"device '{device}' does not fit executor {executor} (choices: {', '.join(ELSEWHERE)})")
        engine.check(engine_name, torch.device(device))
        threads, workers = threads or 1, workers or MANY
    return Options(device, workers, threads, data_dir, sample_batch, retry, engine_name, executor, settings or {})
