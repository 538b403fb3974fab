"""What a job will take, from what jobs took.

::

    seconds = start + images·epochs·training FLOPs / rate + samples·steps·forward FLOPs / rate + samples·scoring

Rates are a network's own, medians over the newest records in the results folder: of this machine, of jobs that had it
alone or shared it as these will, of this number of threads and this version of the code, as far as there are any.
Else they are those of what comes nearest. A network nobody has run takes the median rate of the others.
"""

from __future__ import annotations

import heapq
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.job.work import count_flops, oracle_flops, taught_flops
from bench.store.records import CellRecord, Epoch, Flops, JobRecord, ScoredCell, TrainedJob
from bench.store.tensors import Resume
from bench.study.model import ORACLE

if TYPE_CHECKING:
    from bench.execute.schedule import Options
    from bench.store.status import Found
    from bench.store.store import Store
    from bench.study.model import Cell, Job
    from bench.study.study import Study

    R = TypeVar("R", JobRecord, CellRecord)

NEWEST = {"jobs": 400, "cells": 1600}
"""Records read to calibrate: enough for a median, and as quick in a large folder as in a small one."""

Rank = tuple[bool, bool, bool, bool]  # same machine, alone on it or not as asked, same threads, same code


@dataclass(frozen=True)
class Model:
    """Rates in FLOP/s by network; seconds to start a job, for a first job's reference, and to score an image."""

    train: dict[str, float]
    sample: dict[str, float]
    flops: dict[tuple[str, str], Flops]  # (network, data set) → of an image
    start_s: float
    reference_s: float
    score_s: float
    here: bool  # whether all of it was measured on this machine, run in the same way

    def seconds(self, left: Sequence[Found], store: Store) -> float | None:
        """What the cells left of one job will take, training included where it is not done; None if unknown."""
        if not left:
            return 0.0
        job = left[0].cell.job
        training, sampling = work(left, store, self.flops_of(job))
        seconds = self.start_s + self.score_s * sum(found.cell.n for found in left)
        for flops, rates in ((training, self.train), (sampling, self.sample)):
            if flops and not rates:
                return None
            if flops:
                seconds += flops / rates.get(job.network, statistics.median(rates.values()))
        if not (store.root / "scoring").is_dir():
            seconds += self.reference_s
        return seconds

    def flops_of(self, job: Job) -> Flops:
        """FLOPs of the job's network for one image, as recorded or else counted."""
        if job.net == ORACLE:
            return oracle_flops(job)
        return taught_flops(
            self.flops.get((job.network, job.dataset)) or count_flops(job.net, job.dataset, job.base), job
        )


UNLIKE = " (from runs on another machine, with other threads, or with more or fewer jobs at once)"
"""What to say of an estimate whose ``here`` is false."""

UNKNOWN = Model({}, {}, {}, 0.0, 0.0, 0.0, here=False)
"""What is known before anything has run."""


def work(left: Sequence[Found], store: Store, flops: Flops) -> tuple[float, float]:
    """FLOPs of training and of sampling still to be done for the cells left of one job."""
    from bench.images.datasets import row

    job, record = left[0].cell.job, left[0].job
    train = job.train
    epochs = 0
    if not (isinstance(record, TrainedJob) and store.path("checkpoints", job.key, ".safetensors").is_file()):
        kept = store.load_about(Resume, job.key)
        epochs = job.epochs - (len(kept.epochs) if kept else 0)
    images = row(job.dataset).trained_on(train.images)
    images -= images % min(train.batch_size, images)
    samples = f"{store.root}/samples"  # no Path: this is asked a hundred thousand times for a large study
    evaluations = sum(
        found.cell.n * found.cell.evaluations for found in left if not os.path.isfile(f"{samples}/{found.cell.key}.npz")
    )
    return float(epochs * images * flops.train), float(evaluations * flops.forward)


def longest_first(jobs: Iterable[Sequence[Found]], store: Store, model: Model) -> list[Sequence[Found]]:
    """The jobs by what they will take, most first, in FLOPs as long as no rate is known."""

    def length(left: Sequence[Found]) -> float:
        seconds = model.seconds(left, store)
        return sum(work(left, store, model.flops_of(left[0].cell.job))) if seconds is None else seconds

    return sorted(jobs, key=length, reverse=True)


def calibrate(store: Store, options: Options) -> Model:
    """The model that fits the newest records of a results folder best; :data:`UNKNOWN` if there are none.

    :param options: how the jobs will run; records of another kind of device tell nothing.
    """
    from bench.machine.provenance import machine_id
    from bench.machine.sources import code_hash

    device = options.device.partition(":")[0]

    def rank(record: TrainedJob | ScoredCell) -> Rank:
        about, threads = record.environment, options.threads_each
        same = about.machine == machine_id(), _alone(record) == options.exclusive
        return *same, about.threads == threads, about.code == code_hash()

    train, sample = _Ranked(), _Ranked()
    flops: dict[tuple[str, str], Flops] = {}
    images: dict[str, int] = defaultdict(int)  # scored, by job
    jobs = {
        key: record
        for key, record in _newest(store, JobRecord)
        if isinstance(record, TrainedJob) and record.environment.device == device
    }
    for record in jobs.values():
        flops[record.config.network, record.config.dataset] = taught_flops(record.flops_per_image, record.config, -1)
        if record.epochs:
            per_epoch = record.epochs[0].images * record.flops_per_image.train
            train.add(record.config.network, rank(record), per_epoch / _warm_s(record.epochs))
    for _, cell in _newest(store, CellRecord):
        if not (isinstance(cell, ScoredCell) and cell.environment.device == device):
            continue
        config = cell.config
        images[cell.job] += config.n
        known = flops.get((config.job.network, config.job.dataset))
        evaluations = _evaluations(config)
        if known and evaluations:
            work_done = config.n * evaluations * known.forward
            sample.add(config.job.network, rank(cell), work_done / sum(cell.sampling.batch_s))
    other = _fixed(jobs, images, rank)
    fixed = other.medians()
    here = bool(jobs) and all(all(same[:-1]) for group in (train, sample, other) for same in group.ranks())
    reference = max(other.best("reference"), default=0.0)  # all but the first job find it done
    return Model(
        train.medians(), sample.medians(), flops, fixed.get("start", 0.0), reference, fixed.get("score", 0.0), here
    )


def _alone(record: TrainedJob | ScoredCell) -> bool:
    """Whether it is known to have had its device alone: nobody looks where nothing was trained."""
    if isinstance(record, ScoredCell):
        return record.sampling.exclusive
    return bool(record.epochs) and record.exclusive


class Forecast(NamedTuple):
    """Seconds until a study is done, and until the first training seed of all its cells is (None: unknown).

    ``here``: whether that is known from runs on this machine, in the same way.
    """

    whole_s: float | None
    first_s: float | None
    here: bool


def forecast(jobs: Iterable[Sequence[Found]], study: Study, store: Store, options: Options) -> Forecast:
    """How long the jobs that are left should take, as many at once as there are workers."""
    model = calibrate(store, options)
    whole, first = list[float](), list[float]()
    for left in jobs:
        seconds = model.seconds(left, store)
        if seconds is None:
            return Forecast(None, None, model.here)
        whole.append(seconds)
        if left[0].cell.job.seed == study.axes.seed[0]:
            first.append(seconds)
    return Forecast(spread(whole, options.workers), spread(first, options.workers), model.here)


def spread(seconds: Iterable[float], workers: int) -> float:
    """How long jobs take that are begun longest first, each by the first worker that is free."""
    jobs = sorted(seconds, reverse=True)
    free = [0.0] * min(workers, max(len(jobs), 1))
    for job in jobs:
        heapq.heapreplace(free, free[0] + job)
    return sum(jobs) if math.isnan(sum(jobs)) else max(free)


def _fixed(jobs: Mapping[str, TrainedJob], images: Mapping[str, int], rank: Callable[[TrainedJob], Rank]) -> _Ranked:
    """Seconds to start a job, to score an image, and for a first job's reference."""
    found = _Ranked()
    for key, record in jobs.items():
        if len(record.harness) == 1 and images[key]:  # after more than one it is not known what was done when
            stages, wall = record.harness[0].stages_s, record.harness[0].wall_s
            measured = sum(stages.get(stage, 0.0) for stage in ("trial", "train", "reference", "sample", "score"))
            warming = record.epochs[0].seconds - _warm_s(record.epochs) if record.epochs else 0.0
            found.add("start", rank(record), wall - measured + max(warming, 0.0))
            found.add("score", rank(record), stages.get("score", 0.0) / images[key])
            found.add("reference", rank(record), stages.get("reference", 0.0))
    return found


class _Ranked:
    """Values by name, of which only those of the highest rank count."""

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[Rank, float]]] = defaultdict(list)

    def add(self, name: str, rank: Rank, value: float) -> None:
        self._values[name].append((rank, value))

    def ranks(self) -> list[Rank]:
        return [max(rank for rank, _ in values) for values in self._values.values()]

    def best(self, name: str) -> list[float]:
        values = self._values[name]
        top = max((rank for rank, _ in values), default=None)
        return [value for rank, value in values if rank == top]

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(self.best(name)) for name in self._values}


def _evaluations(cell: Cell) -> int | None:
    """How often the network was evaluated for an image; None for a way to sample that this version does not have."""
    try:
        return cell.evaluations
    except (KeyError, TypeError, ValueError):
        return None


def _warm_s(epochs: Sequence[Epoch]) -> float:
    """The median epoch, a process's first apart where there are others."""
    warm = [epoch.seconds for epoch in epochs if epoch.warm]
    return statistics.median(warm or [epoch.seconds for epoch in epochs])


def _newest(store: Store, kind: type[R]) -> Iterator[tuple[str, R]]:
    """(key, record) of the newest files of a kind that are whole."""
    try:
        with os.scandir(store.root / kind.kind) as entries:
            files = ((entry.stat().st_mtime, entry.name) for entry in entries if entry.name.endswith(".json"))
            newest = heapq.nlargest(NEWEST[kind.kind], files)
    except (FileNotFoundError, NotADirectoryError):
        return
    for _, name in newest:
        key = name.removesuffix(".json")
        record = store.read(kind, key)
        if record is not None:
            yield key, record
