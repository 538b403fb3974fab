"""What a file of tensors in the store says of them: one class for each kind, as :mod:`bench.store.records` has them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import field_serializer

from bench.store.records import Epoch, Part, Some
from bench.study.model import Job

Kind = Literal["checkpoints", "snapshots", "resume", "scoring"]


class About(Part):
    """What a file of tensors says of them."""

    kind: ClassVar[Kind]
    """The folder."""


class Checkpoint(About):
    """Of a training run's averaged (``ema.``) and raw (``net.``) weights."""

    kind = "checkpoints"
    job: Job

    @field_serializer("job")
    def _whole(self, job: Job) -> dict[str, Any]:
        return job.written


class Snapshot(About):
    """Of averages on the way, after so many steps; their names start with the average's length."""

    kind = "snapshots"
    step: Some


class Resume(About):
    """Of the state of a training run that was interrupted."""

    kind = "resume"
    code: str
    epochs: tuple[Epoch, ...] = ()


class ReferenceFeatures(About):
    """Of what is kept of a reference's features. ``code`` is that of the metrics."""

    kind = "scoring"
    code: str
