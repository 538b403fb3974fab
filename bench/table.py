"""The stable table: one row a cell, read from the store alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bench.store import Store
from bench.study import Cell, Study

if TYPE_CHECKING:
    import pandas as pd

#: the interface scripts may rely on: columns are added at the end, never renamed or reordered
COLUMNS = (
    "study", "status", "dataset", "net", "objective", "weight", "schedule", "T", "seed",
    "sampler", "sample_steps", "eta", "n", "fid", "fid_floor", "fid_ceiling", "kid", "kid_se",
    "inception_score", "precision", "recall", "confidence", "epoch_s", "train_images_per_s",
    "sample_images_per_s", "params", "megabytes", "peak_rss_mb", "device", "commit", "key",
    "class_balance", "epochs", "train_s", "sample_s", "first_epoch_s", "peak_device_mb", "train_flops_per_image",
    "forward_flops_per_image", "dirty", "code", "classifier", "job", "reason",
    "clip",
)  # fmt: skip


def state(cell: Cell, store: Store, classifier: str | None) -> tuple[str, dict[str, Any] | None, str | None]:
    """(``done``, ``failed``, ``stale`` or ``missing``; the cell's record if there is one; why it failed).

    ``stale`` is a cell that was scored by another classifier than the pinned one.
    """
    record = store.read("cells", cell.key)
    if record is not None and record["status"] == "done":
        if classifier is not None and record["provenance"]["classifier"] != classifier:
            return "stale", record, None
        return "done", record, None
    if record is not None:
        return "failed", record, record["reason"]
    job = store.read("jobs", cell.job.key)
    if job is not None and job["status"] == "failed":
        return "failed", None, job["reason"]
    return "missing", None, None


def rows(study: Study, store: Store) -> list[dict[str, Any]]:
    """A dict with every one of :data:`COLUMNS` for each cell of the study, None where there is no value."""
    from bench.scoring import pinned

    classifier = pinned(study.dataset)
    return [_row(study, cell, store, classifier) for cell in study.cells]


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a data frame with the columns in order."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def _row(study: Study, cell: Cell, store: Store, classifier: str | None) -> dict[str, Any]:
    status, record, reason = state(cell, store, classifier)
    job = store.read("jobs", cell.job.key)
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {k: getattr(cell.job, k) for k in ("dataset", "net", "objective", "weight", "schedule", "T", "seed")}
    row |= {k: getattr(cell, k) for k in ("sampler", "sample_steps", "eta", "clip", "n", "key")}
    row |= {"study": study.name, "status": status, "job": cell.job.key, "reason": reason}
    if job is not None and job["status"] == "done":
        row |= _training(job)
    if record is not None and record["status"] == "done":
        row |= record["metrics"]
        row |= {"fid_floor": record["floor"]["fid"], "fid_ceiling": record["ceiling"]["fid"]}
        row |= sampling(record["sampling"])
        row["classifier"] = record["provenance"]["classifier"][:12]
        row |= {k: record["environment"][k] for k in ("device", "commit", "dirty", "code")}
    return row


def _training(job: dict[str, Any]) -> dict[str, Any]:
    """A training run's columns; durations taken on a shared device are left out."""
    epochs = job["epochs"]
    alone = [e for e in epochs if e["exclusive"]]
    timed = [e for e in alone if e["warm"]] or alone
    epoch_s = statistics.median(e["seconds"] for e in timed) if timed else None
    return {
        "epochs": len(epochs),
        "epoch_s": epoch_s,
        "first_epoch_s": epochs[0]["seconds"] if epochs[0]["exclusive"] else None,
        "train_s": sum(e["seconds"] for e in epochs) if len(alone) == len(epochs) else None,
        "train_images_per_s": timed[-1]["images"] / epoch_s if epoch_s else None,
        "train_flops_per_image": job["flops_per_image"]["train"],
        "forward_flops_per_image": job["flops_per_image"]["forward"],
        **{k: job[k] for k in ("params", "megabytes", "peak_rss_mb", "peak_device_mb")},
    }


def sampling(timing: dict[str, Any]) -> dict[str, Any]:
    """A cell's sampling columns: the first batch warms up and is left out where there are more."""
    if not timing["exclusive"]:
        return {}
    pairs = list(zip(timing["batch_images"], timing["batch_s"], strict=True))
    warm = pairs[1:] or pairs
    images, seconds = (sum(column) for column in zip(*warm, strict=True))
    return {"sample_images_per_s": images / seconds, "sample_s": sum(timing["batch_s"])}
