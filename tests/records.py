"""Records as the harness writes them, made by their classes; each builder takes the fields that a test is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bench.machine.environment import Environment
from bench.store.records import (
    ALWAYS,
    Epoch,
    FailedCell,
    FailedJob,
    Flops,
    HarnessRun,
    Provenance,
    Sampled,
    ScoredCell,
    TrainedJob,
)
from bench.study.model import Cell, Job

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROVENANCE = Provenance(classifier="c" * 64, dataset_sha256="d" * 64)
FLOOR = dict.fromkeys(sorted(ALWAYS), 0.9) | {"fid": 0.1, "kid": 1e-5, "kid_se": 2e-5}
CEILING = dict.fromkeys(sorted(ALWAYS), 0.1) | {"fid": 2000.0, "kid": 9.0, "kid_se": 0.004}


def environment(**changes: Any) -> Environment:
    """A made-up machine."""
    return Environment(**{
        "device": "cpu", "processor": "Made-up CPU @ 2.00GHz", "cores": 2, "threads": 2, "gpu": None, "driver": None,
        "cuda": None, "machine": "0123abcd", "system": "Linux x86_64", "python": "3.11.9", "torch": "2.9.0",
        "commit": "f" * 40, "dirty": False, "code": "abcdef012345", **changes,
    })  # fmt: skip


def epoch(seconds: float = 10.0, images: int = 24_000, **changes: Any) -> Epoch:
    """An epoch that had its device alone, not a process's first."""
    given = {"warm": True, "exclusive": True, "loss": 0.1, "eps_mse": 0.2, "x0_mse": 0.3} | changes
    return Epoch(seconds=seconds, images=images, **given)


def harness_run(wall_s: float = 20.0, overhead: float = 0.01, **changes: Any) -> HarnessRun:
    """A process of a job."""
    return HarnessRun(wall_s=wall_s, overhead=overhead, **({"stages_s": {}} | changes))


def trained_job(job: Job, epochs: Sequence[Epoch] | None = None, **changes: Any) -> TrainedJob:
    """A complete training run."""
    given: dict[str, Any] = {
        "params": 10, "trained_params": 10, "megabytes": 1.5, "flops_per_image": Flops(forward=2, train=6),
        "peak_rss_mb": 100.0, "peak_device_mb": None, "environment": environment(), "created": CREATED,
    }  # fmt: skip
    epochs = [epoch(warm=i > 0) for i in range(job.train.epochs)] if epochs is None else epochs
    return TrainedJob(status="done", config=job, epochs=tuple(epochs), **(given | changes))


def failed_job(job: Job, reason: str, **changes: Any) -> FailedJob:
    """A training run that failed."""
    given: dict[str, Any] = {"environment": environment(), "created": CREATED}
    return FailedJob(status="failed", reason=reason, config=job, **(given | changes))


def sampled(batch_s: Sequence[float] = (1.0, 2.0), batch_images: Sequence[int] = (100, 100), **changes: Any) -> Sampled:
    """How samples were drawn, the device alone."""
    given = {"exclusive": True, "peak_rss_mb": 150.0, "peak_device_mb": None} | changes
    return Sampled(batch_s=tuple(batch_s), batch_images=tuple(batch_images), **given)


def scored_cell(cell: Cell, metrics: dict[str, float] | None = None, **changes: Any) -> ScoredCell:
    """A cell with scores."""
    given: dict[str, Any] = {
        "metrics": {**dict.fromkeys(sorted(ALWAYS), 0.5), "fid": 3.5} if metrics is None else metrics,
        "sampling": sampled(), "provenance": PROVENANCE, "floor": FLOOR, "ceiling": CEILING,
        "environment": environment(), "created": CREATED,
    }  # fmt: skip
    return ScoredCell(status="done", config=cell, job=cell.job.key, **(given | changes))


def failed_cell(cell: Cell, reason: str, **changes: Any) -> FailedCell:
    """A cell that failed."""
    given: dict[str, Any] = {"environment": environment(), "created": CREATED}
    return FailedCell(status="failed", reason=reason, config=cell, job=cell.job.key, **(given | changes))
