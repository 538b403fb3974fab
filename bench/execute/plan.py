"""What a run of a study would do, and how long it should take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import unknown
from bench.execute import cost
from bench.execute.executor import EXECUTORS
from bench.execute.schedule import Options, teachers, to_do
from bench.job import engine
from bench.machine.devices import pick_device
from bench.score.judges import pinned
from bench.store.status import Found, survey
from bench.store.store import Store
from bench.study.study import Study
from bench.text import duration


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

    ``seconds`` is the time left, None where it is unknown. ``elsewhere`` says whether it is known only from runs on
    another machine, or with another number of threads.
    """

    jobs: int
    cells: int
    done: int
    left: int
    seconds: float | None
    elsewhere: bool
    evaluations: int
    detail: tuple[JobPlan, ...]


def plan(study: Study, store: Store, *, detail: bool = False) -> Plan:
    """What a run would do. Nothing is written.

    :param detail: also describe every job and cell.
    """
    device = pick_device("auto").type
    model = cost.calibrate(store, device, Options(device).threads_each)
    taught: list[Sequence[Found]] = []
    described: list[JobPlan] = []
    seconds, done, left_jobs = 0.0, 0, 0
    survey_ = survey(study.cells, store, pinned(study.dataset))
    for key, together in itertools.groupby(survey_, lambda found: found.cell.job.key):
        job = list(together)
        left = [found for found in job if to_do(found)]
        done += sum(found.status == "done" for found in job)
        left_jobs += bool(left)
        takes = model.seconds(left, store)
        seconds += math.nan if takes is None else takes
        if detail:
            described.append(_described(key, job, len(left), takes))
        if left and job[0].cell.job.teacher:
            taught.append(left)
    first = teachers(taught, store)
    for key, left in first.items():
        takes = model.seconds(left, store)
        seconds += math.nan if takes is None else takes
        if detail:
            described.insert(0, JobPlan(key, f"teacher of others: {left[0].cell.job.label}", 1, takes, ()))
    return Plan(
        jobs=len(study.jobs) + len(first),
        cells=len(study.cells),
        done=done,
        left=left_jobs + len(first),
        seconds=None if math.isnan(seconds) else seconds,
        elsewhere=bool(model.train) and not model.here,
        evaluations=sum(cell.n * cell.evaluations for cell in study.cells),
        detail=tuple(described),
    )


def _described(key: str, job: Sequence[Found], left: int, seconds: float | None) -> JobPlan:
    cells = tuple((found.cell.key, found.status, found.cell.label) for found in job)
    return JobPlan(key, job[0].cell.job.label, left, seconds, cells)


def about(seconds: float | None) -> str:
    """An estimate, in words."""
    return "time unknown until a job has run here" if seconds is None else f"about {duration(seconds)}"


def make_options(
    device: str = "auto",
    *,
    workers: int = 1,
    threads: int | None = None,
    data_dir: Path | None = None,
    sample_batch: int | None = None,
    retry: bool = False,
    engine_name: str = engine.AUTO,
    executor: str = "local",
) -> Options:
    """How to run, checked before anything starts.

    :param device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    :param executor: a row of :data:`bench.execute.executor.EXECUTORS`.
    :raises UserError: for a device, an engine or an executor that is not there.
    """
    device = device if device != "auto" else pick_device("auto").type
    engine.check(engine_name, pick_device(device))
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    return Options(device, workers, threads, data_dir, sample_batch, retry, engine_name, executor)
