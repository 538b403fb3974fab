"""Trackers: a run's losses, epochs, metrics, sample grids, configuration and durations, in TensorBoard and the like.

Nothing of them is imported before one is asked for. A tracker that fails is left out, as every sink.
"""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from bench.errors import UserError
from bench.job.events import CellDone, EpochDone, Event, JobDone, JobEnd, OfJob, Started, Stepped
from bench.store.store import Store
from bench.study.study import Study

PER_EPOCH = 100
"""Steps of a tracker's axis for each epoch: an event says which share of an epoch is done, and not which step it is."""


@runtime_checkable
class Tracker(Protocol):
    """A sink that wants to know the study and the results folder before the first event."""

    def meet(self, study: Study, store: Store) -> None:
        """Begin.

        :raises UserError: if it cannot.
        """
        ...


def package(name: str, module: str | None = None) -> ModuleType:
    """The module of an optional package.

    :raises UserError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module or name)
    except ImportError as error:
        raise UserError(f"the sink {name} needs a package: pip install 'ddpm-bench[{name}]'") from error


def values(event: Event) -> Iterator[tuple[str, float]]:
    """What an event says in numbers: name → value."""
    match event:
        case Stepped():
            yield "loss", event.loss
        case EpochDone():
            for name in ("loss", "eps_mse", "x0_mse", "bpd", "seconds"):
                if (value := getattr(event, name)) is not None:
                    yield f"epoch/{name}", value
        case CellDone():
            for name, value in event.metrics.items():
                yield f"{event.way}/{name}", value
        case JobDone() if event.overhead is not None:
            yield "job/overhead", event.overhead


def step(event: Event) -> int:
    """Where on a tracker's axis an event of a training is."""
    if isinstance(event, Stepped):
        return round((event.epoch - 1 + event.share) * PER_EPOCH)
    return event.epoch * PER_EPOCH if isinstance(event, EpochDone) else 0


class _Tracker:
    """What all trackers share: the study, what is known of each job, and the picture of each cell."""

    def meet(self, study: Study, store: Store) -> None:
        """Begin."""
        self.study, self.store = study, store
        self._began: dict[str, float] = {}
        self._step: dict[str, int] = {}

    def emit(self, event: Event) -> None:
        """Record what the event says."""
        if not isinstance(event, OfJob):
            return
        if isinstance(event, Started):
            self._began[event.job] = time.monotonic()
        at = self._step[event.job] = max(self._step.get(event.job, 0), step(event))
        found = dict(values(event))
        if isinstance(event, JobEnd) and event.job in self._began:
            found["job/seconds"] = time.monotonic() - self._began.pop(event.job)
        picture = None
        if isinstance(event, CellDone):
            path = self.store.path("cells", event.cell, ".png")
            picture = (f"{event.way}/samples", path) if path.is_file() else None
        if found or picture or isinstance(event, Started):
            self.record(event, at, found, picture)
        if isinstance(event, JobEnd):
            self.end(event)

    def record(self, event: OfJob, at: int, found: Mapping[str, float], picture: tuple[str, Path] | None) -> None:
        """Record numbers, and a picture if there is one, of a job."""
        raise NotImplementedError

    def end(self, event: OfJob) -> None:
        """Finish a job."""

    def config(self, job: str) -> dict[str, Any]:
        """A job's configuration."""
        cells = self.study.jobs.get(job)
        return cells[0].job.model_dump(mode="json") if cells else {}


class TensorBoard(_Tracker):
    """A run of TensorBoard for each job, in the folder ``target``, or else in ``tensorboard`` in the results folder."""

    def __init__(self, target: str) -> None:
        package("tensorboard")
        self._make = package("tensorboard", "torch.utils.tensorboard").SummaryWriter
        self._target = target
        self._writers: dict[str, Any] = {}

    def record(self, event: OfJob, at: int, found: Mapping[str, float], picture: tuple[str, Path] | None) -> None:
        """See :class:`_Tracker`."""
        if event.job not in self._writers:
            folder = Path(self._target) if self._target else self.store.root / "tensorboard"
            name = re.sub(r"[^\w=.,()-]+", " ", event.label)[:100]
            self._writers[event.job] = self._make(str(folder / f"{name} {event.job[:8]}"))
            text = json.dumps(self.config(event.job), indent=1)
            self._writers[event.job].add_text("configuration", f"```\n{text}\n```")
        writer = self._writers[event.job]
        for name, value in found.items():
            writer.add_scalar(name, value, at)
        if picture:
            import numpy as np
            from PIL import Image

            with Image.open(picture[1], formats=["PNG"]) as image:
                writer.add_image(picture[0], np.asarray(image.convert("RGB")), at, dataformats="HWC")

    def end(self, event: OfJob) -> None:
        """Close the job's files."""
        if (writer := self._writers.pop(event.job, None)) is not None:
            writer.close()

    def close(self) -> None:
        """Close all files."""
        while self._writers:
            self._writers.popitem()[1].close()


class Shared(_Tracker):
    """The API that trackio and Weights & Biases share: ``init``, ``log``, ``Image``, ``finish``. One run for a study.

    ``target`` is the project's name (by default the study's). Names of values begin with their job's label.
    """

    def __init__(self, name: str, target: str) -> None:
        self._name, self._target = name, target
        self._module = package(name)
        self._open = False

    def meet(self, study: Study, store: Store) -> None:
        """Begin the tracker's run."""
        super().meet(study, store)
        config = {"study": study.name, **study.train.model_dump(mode="json")}
        config |= {"jobs": {cells[0].job.label: self.config(key) for key, cells in study.jobs.items()}}
        try:
            self._module.init(project=self._target or study.name, name=study.name, config=config)
        except (Exception, SystemExit) as error:  # no account, no network
            raise UserError(f"the sink {self._name} cannot begin: {_line(error)}") from error
        self._open = True

    def record(self, event: OfJob, at: int, found: Mapping[str, float], picture: tuple[str, Path] | None) -> None:
        """See :class:`_Tracker`."""
        said: dict[str, Any] = {f"{event.label}/{name}": value for name, value in found.items()}
        if at and found:
            said[f"{event.label}/epochs"] = at / PER_EPOCH
        if picture:
            said[f"{event.label}/{picture[0]}"] = self._module.Image(str(picture[1]))
        if said:
            self._module.log(said)

    def close(self) -> None:
        """Finish the tracker's run."""
        if self._open:
            self._open = False
            self._module.finish()


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
