"""An event of each kind, for tests."""

from __future__ import annotations

from typing import Any

from bench.job.events import (
    CellDone,
    Damaged,
    Drawn,
    Elsewhere,
    Ended,
    Entered,
    EpochDone,
    Event,
    Failed,
    Failure,
    JobDone,
    Kept,
    Outdated,
    Planned,
    Preparing,
    Refused,
    Resumed,
    Started,
    Stepped,
    Stopped,
    Waiting,
)

JOB: dict[str, Any] = {"job": "0123456789abcdef", "label": "unet(width=8) eps [unit]"}
CELL: dict[str, Any] = {"cell": "fedcba9876543210", "way": "ddim 10 steps"}
REASON = "out of memory: [enforce fail at alloc.cpp:117]"

EXAMPLES: tuple[Event, ...] = (
    Planned(jobs=2, cells=4),
    Waiting(path="results/[local]"),
    Started(**JOB, node="here", pid=7, left=1),
    Entered(**JOB, stage="loading data"),
    Preparing(**JOB, what="training the classifier of kmnist", share=0.25),
    Resumed(**JOB, epoch=1),
    Outdated(**JOB),
    Kept(**JOB, what="training"),
    Stepped(**JOB, epoch=2, of=4, share=0.5, loss=0.1 + 0.2),
    EpochDone(**JOB, epoch=2, of=4, seconds=1.5, images=128, loss=0.25, eps_mse=0.125, x0_mse=1e300, bpd=5e-324),
    Drawn(**JOB, **CELL, share=0.25),
    CellDone(**JOB, **CELL, status="done", metrics={"fid": 12.345, "kid": float("inf")}),
    CellDone(**JOB, **CELL, status="failed", reason="diverged while sampling"),
    Damaged(**JOB, path="results/[local]/cells/x.json"),
    Elsewhere(**JOB),
    JobDone(**JOB, overhead=0.0123),
    JobDone(**JOB, overhead=None),
    Refused(**JOB, reason="n=201 is more than the 200 test images"),
    Failed(**JOB, reason=REASON),
    Stopped(**JOB),
    Ended(failures=(Failure(job=JOB["job"], cell=None, label=JOB["label"], reason=REASON),), stopped=True),
)
