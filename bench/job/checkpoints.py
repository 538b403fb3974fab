"""Weights of a training run that are kept in the store."""

from __future__ import annotations

from torch import Tensor

from bench.errors import UserError
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.store.tensors import Checkpoint, Snapshot
from bench.study.model import ORACLE, Job
from ddpm.ema import KEPT, coefficients, combine


def trained(job: Job, store: Store) -> tuple[dict[str, Tensor], TrainedJob | None]:
    """The averaged weights and the record of a training run that is complete, else ({}, None).

    Snapshots are read whole: one that is damaged is made again with the rest, before anything is drawn.
    """
    weights, record = _own_average(job, store)
    if record is None or any(store.load_tensors(Snapshot, key) is None for key in snapshots(job)):
        return {}, None
    return weights, record


def _own_average(job: Job, store: Store) -> tuple[dict[str, Tensor], TrainedJob | None]:
    record = store.read(JobRecord, job.key)
    if not isinstance(record, TrainedJob):
        return {}, None
    if job.net == ORACLE:
        return {}, record
    kept = store.load_tensors(Checkpoint, job.key)
    if kept is None:
        return {}, None
    return {k[4:]: v for k, v in kept[0].items() if k.startswith("ema.")}, record


def snapshots(job: Job) -> list[str]:
    """The keys of a training run's snapshots."""
    return [f"{job.key}-{number}" for number in range(1, job.train.snapshots + 1)]


def averaged(job: Job, store: Store, length: float | None) -> dict[str, Tensor]:
    """The weights of a complete training run: its own average, or one of length σ_rel made of its snapshots.

    :raises UserError: if the files it needs are gone or damaged.
    """
    gone = UserError(f"weights of {job.label} are missing or damaged: run its study again")
    if length is None:
        weights, record = _own_average(job, store)
        if record is None:
            raise gone
        return weights
    whole = [one for key in snapshots(job) if (one := store.load_tensors(Snapshot, key)) is not None]
    if len(whole) < job.train.snapshots:
        raise gone
    parts, at = [], []
    for tensors, snapshot in whole:
        for sigma_rel in KEPT:
            prefix = f"{sigma_rel:g}/"
            parts.append({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            at.append((snapshot.step, sigma_rel))
    return combine(parts, coefficients(at, max(step for step, _ in at), length))
