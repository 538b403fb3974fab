"""What a job will take, from what jobs took.

::

    seconds = start + images·epochs·training FLOPs / rate + samples·steps·forward FLOPs / rate + samples·scoring

Rates are a network's own, medians over the newest records in the results folder: of this machine, this number of
threads and this version of the code as far as there are any, else of what comes nearest. A network nobody has run
takes the median rate of the others.
"""

from __future__ import annotations

import heapq
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.rows import entries
from bench.study.model import ORACLE
from ddpm.spec import Variant

if TYPE_CHECKING:
    from bench.store.status import Found, Record
    from bench.store.store import Kind, Store
    from bench.study.model import Job

from bench.job.work import count_flops, oracle_flops

NEWEST = {"jobs": 100, "cells": 400}
"""Records read to calibrate: enough for a median, and as quick in a large folder as in a small one."""

Rank = tuple[bool, bool, bool]  # same machine, same threads, same code


class Past(NamedTuple):
    """A job that has been: what was expected of it and what it took, in seconds."""

    label: str
    estimate_s: float
    wall_s: float

    @property
    def error(self) -> float:
        """How far off, relative to the truth."""
        return abs(self.estimate_s / self.wall_s - 1)


@dataclass(frozen=True)
class Model:
    """Rates in FLOP/s by network; seconds to start a job, for a first job's reference, and to score an image."""

    train: dict[str, float]
    sample: dict[str, float]
    flops: dict[tuple[str, str], dict[str, int]]  # (network, data set) → of an image: forward, train
    start_s: float
    reference_s: float
    score_s: float
    here: bool  # whether all of it was measured on this machine with this number of threads

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
                seconds += flops / rates.get(str(job.net), statistics.median(rates.values()))
        if not (store.root / "scoring").is_dir():
            seconds += self.reference_s
        return seconds

    def flops_of(self, job: Job) -> dict[str, int]:
        """FLOPs of the job's network for one image, as recorded or else counted."""
        if job.net == ORACLE:
            return oracle_flops(job)
        return self.flops.get((str(job.net), job.dataset)) or count_flops(job.net, job.dataset)


UNKNOWN = Model({}, {}, {}, 0.0, 0.0, 0.0, here=False)
"""What is known before anything has run."""


def work(left: Sequence[Found], store: Store, flops: dict[str, int]) -> tuple[float, float]:
    """FLOPs of training and of sampling still to be done for the cells left of one job."""
    from bench.images.datasets import DATASETS

    job, record = left[0].cell.job, left[0].job
    train = job.train
    trained = record is not None and record["status"] == "done"
    epochs = 0
    if not (trained and store.path("checkpoints", job.key, ".safetensors").is_file()):
        epochs = train.epochs - len((store.load_meta("resume", job.key) or {"epochs": []})["epochs"])
    images = min(train.images or DATASETS[job.dataset].train, DATASETS[job.dataset].train)
    images -= images % min(train.batch_size, images)
    evaluations = sum(
        found.cell.n * found.cell.evaluations
        for found in left
        if not store.path("samples", found.cell.key, ".npz").is_file()
    )
    return float(epochs * images * flops["train"]), float(evaluations * flops["forward"])


def longest_first(jobs: Iterable[Sequence[Found]], store: Store, model: Model) -> list[Sequence[Found]]:
    """The jobs by what they will take, most first, in FLOPs as long as no rate is known."""

    def length(left: Sequence[Found]) -> float:
        seconds = model.seconds(left, store)
        return sum(work(left, store, model.flops_of(left[0].cell.job))) if seconds is None else seconds

    return sorted(jobs, key=length, reverse=True)


def calibrate(store: Store, device: str, threads: int) -> Model:
    """The model that fits the newest records of a results folder best; :data:`UNKNOWN` if there are none.

    :param device: ``cpu``, ``cuda`` or ``mps``; records of another tell nothing.
    """
    from bench.machine.provenance import machine_id
    from bench.machine.sources import code_hash
    from ddpm.sampler import evaluations

    def rank(record: Record) -> Rank:
        about = record["environment"]
        return about["machine"] == machine_id(), about["threads"] == threads, about["code"] == code_hash()

    def alone(kind: Kind) -> Iterator[tuple[str, Record]]:
        for key, record in _newest(store, kind):
            if record["status"] == "done" and record["environment"]["device"] == device:
                timed = record["epochs"] if kind == "jobs" else [record["sampling"]]
                if all(part["exclusive"] for part in timed):
                    yield key, record

    train, sample = _Ranked(), _Ranked()
    other = _Ranked()
    flops: dict[tuple[str, str], dict[str, int]] = {}
    images: dict[str, int] = defaultdict(int)  # scored, by job
    jobs, cells = list(alone("jobs")), list(alone("cells"))
    for _, record in jobs:
        config = record["config"]
        flops[config["net"], config["dataset"]] = record["flops_per_image"]
        if record["epochs"]:
            per_epoch = record["epochs"][0]["images"] * record["flops_per_image"]["train"]
            train.add(config["net"], rank(record), per_epoch / _warm_s(record["epochs"]))
    for _, record in cells:
        config, timing = record["config"], record["sampling"]
        images[record["job"]] += config["n"]
        known = flops.get((config["job"]["net"], config["job"]["dataset"]))
        if known and Variant.of(config["sampler"]).name in entries("sampler"):  # else its package is gone
            work_done = config["n"] * evaluations(config["sampler"], config["sample_steps"]) * known["forward"]
            sample.add(config["job"]["net"], rank(record), work_done / sum(timing["batch_s"]))
    for key, record in jobs:
        runs = record.get("harness", [])
        if len(runs) == 1 and images[key]:  # after more than one it is not known what was done when
            stages, wall = runs[0]["stages_s"], runs[0]["wall_s"]
            measured = sum(stages.get(stage, 0.0) for stage in ("trial", "train", "reference", "sample", "score"))
            warming = record["epochs"][0]["seconds"] - _warm_s(record["epochs"]) if record["epochs"] else 0.0
            other.add("start", rank(record), wall - measured + max(warming, 0.0))
            other.add("score", rank(record), stages.get("score", 0.0) / images[key])
            other.add("reference", rank(record), stages.get("reference", 0.0))
    fixed = other.medians()
    here = bool(jobs) and all(same[:2] == (True, True) for group in (train, sample, other) for same in group.ranks())
    reference = max(other.best("reference"), default=0.0)  # all but the first job find it done
    return Model(
        train.medians(), sample.medians(), flops, fixed.get("start", 0.0), reference, fixed.get("score", 0.0), here
    )


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


def _warm_s(epochs: list[dict[str, Any]]) -> float:
    """The median epoch, a process's first apart where there are others."""
    warm = [epoch["seconds"] for epoch in epochs if epoch["warm"]]
    return statistics.median(warm or [epoch["seconds"] for epoch in epochs])


def _newest(store: Store, kind: Kind) -> Iterator[tuple[str, Record]]:
    """(key, record) of the newest files of a kind that are whole."""
    try:
        with os.scandir(store.root / kind) as entries:
            files = [(entry.stat().st_mtime, entry.name) for entry in entries if entry.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        return
    for _, name in heapq.nlargest(NEWEST[kind], files):
        key = name.removesuffix(".json")
        record = store.read(kind, key)
        if record is not None:
            yield key, record


def past(records: Iterable[Record]) -> list[Past]:
    """Estimate against truth, of the training runs that had one and had their device alone."""
    from bench.study.model import Job

    return [
        Past(Job.model_validate(record["config"]).label, run["estimate_s"], run["wall_s"])
        for record in records
        if record["status"] == "done" and all(epoch["exclusive"] for epoch in record["epochs"])
        for run in record.get("harness", [])
        if run.get("estimate_s")
    ]
