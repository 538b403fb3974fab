"""What a job is a pure function of."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from bench.job.engine import Calls, Wish
from bench.study.model import Cell, Job, StrictModel


class JobSpec(StrictModel):
    """One job: its cells, how to run them, and where data and results lie. Its JSON form comes back as it was.

    :param cells: of one training run, one at least.
    :param results: the results folder.
    :param device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    :param exclusive: whether the job has its device alone; if not, its durations stay out of timing tables.
    :param engine: the engine that is asked for; ``calls`` say how much there is to do, for each task.
    :param likelihood: of how many test images the likelihood is wanted.
    :param only_train: whether to stop once the network is trained: it is there to teach another, and its cell is not
        wanted.
    :param estimate_s: the seconds expected of it.
    :param began: when its process was asked for (``time.time()``); None before that.
    """

    cells: Annotated[tuple[Cell, ...], Field(min_length=1)]
    results: Path
    device: str
    threads: Annotated[int, Field(ge=1)] = 1
    exclusive: bool = True
    data_dir: Path | None = None
    sample_batch: int | None = None
    engine: str = "eager"
    calls: Mapping[str, Calls] = {}
    likelihood: int = 0
    only_train: bool = False
    estimate_s: float | None = None
    began: float | None = None

    @property
    def job(self) -> Job:
        """The training run."""
        return self.cells[0].job

    @property
    def key(self) -> str:
        """The training run's key."""
        return self.job.key

    @property
    def wish(self) -> Wish:
        """The engine that is asked for."""
        return Wish(self.engine, self.calls)

    def begun(self) -> Self:
        """The same job, whose process is asked for now."""
        return self.model_copy(update={"began": time.time()})
