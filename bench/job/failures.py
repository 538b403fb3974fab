"""What is recorded of a job that failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

import torch

from bench.errors import UserError
from bench.machine import provenance
from bench.machine.environment import Environment
from bench.store.records import CellRecord, FailedCell, FailedJob, JobRecord, TrainedJob
from bench.store.store import Store
from bench.study.model import Cell


class Origin(TypedDict):
    """What every record says of where and when it was made."""

    environment: Environment
    created: datetime


def origin(device: torch.device) -> Origin:
    """Here and now, to the second."""
    return {"environment": provenance.environment(device), "created": datetime.now(UTC).replace(microsecond=0)}


def reason_of(error: BaseException) -> str:
    """One line on why a job failed."""
    text = str(error).encode(errors="replace").decode().strip().splitlines()
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (text and "can't allocate memory" in text[0])
    if memory:
        return f"out of memory{': ' + text[0] if text else ''}"
    if isinstance(error, (FloatingPointError, UserError)):
        return text[0]
    return f"crashed: {type(error).__name__}{': ' + text[0] if text else ''}"


def record_failure(cells: list[Cell], store: Store, reason: str, device: torch.device) -> None:
    """Record that a job died: as its training, or, once that is done, as each of its cells that are not."""
    job = cells[0].job
    if not isinstance(store.read(JobRecord, job.key), TrainedJob):
        store.write(job.key, FailedJob(status="failed", reason=reason, config=job, **origin(device)))
        return
    for cell in cells:
        kept = store.read(CellRecord, cell.key)
        if kept is None or (isinstance(kept, FailedCell) and not kept.reason.startswith("diverged")):
            failed = FailedCell(status="failed", reason=reason, config=cell, job=job.key, **origin(device))
            store.write(cell.key, failed)
