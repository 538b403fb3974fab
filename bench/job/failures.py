"""What is recorded of a job that failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import torch

from bench.errors import UserError
from bench.machine import provenance
from bench.store.store import Store
from bench.study.model import Cell


def origin(config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What a record says of where it comes from."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return {"config": config, "environment": provenance.environment(device), "created": made}


def reason_of(error: BaseException) -> str:
    """One line on why a job failed."""
    text = str(error).strip().splitlines()
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (text and "can't allocate memory" in text[0])
    if memory:
        return f"out of memory{': ' + text[0] if text else ''}"
    if isinstance(error, (FloatingPointError, UserError)):
        return text[0]
    return f"crashed: {type(error).__name__}{': ' + text[0] if text else ''}"


def record_failure(cells: list[Cell], store: Store, reason: str, device: torch.device) -> None:
    """Record that a job died: as its training, or, once that is done, as each of its cells that are not."""
    failed: dict[str, Any] = {"status": "failed", "reason": reason}
    job = cells[0].job
    if (store.read("jobs", job.key) or failed)["status"] != "done":
        store.write("jobs", job.key, failed | origin(job.model_dump(mode="json"), device))
        return
    for cell in cells:
        kept = store.read("cells", cell.key)
        if kept is None or (kept["status"] == "failed" and not kept["reason"].startswith("diverged")):
            store.write("cells", cell.key, failed | origin(cell.model_dump(mode="json"), device) | {"job": job.key})
