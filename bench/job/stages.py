"""Where a job's time goes."""

from __future__ import annotations

import time

from bench.store.records import HarnessRun

WORK = ("trial", "compile", "train", "validate", "sample", "reference", "score")


class Stages:
    """Seconds spent in each named stage; what is none of :data:`WORK` is the harness's own."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, since: float) -> None:
        """Count the time since ``since`` (``time.time()``)."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.time() - since

    def summary(self, estimate_s: float | None) -> HarnessRun:
        """Stages, wall-clock from the moment the process was asked for, and the share that was not work."""
        wall = time.time() - self.began
        own = wall - sum(self.seconds.get(stage, 0.0) for stage in WORK)
        return HarnessRun(stages_s=dict(self.seconds), wall_s=wall, overhead=own / wall, estimate_s=estimate_s)
