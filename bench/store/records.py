"""What is written and read: one class for each kind of record, one schema for everyone.

A record is a JSON object in a file of the store. These classes check it when it is read, so that whoever has one needs
no further check. They are also the only way to make one. None of them changes: ``model_copy`` makes the next one.

Files of every version so far are read. What a file lacks because it is older has a default here that means what was
done then (before there were engines, a network was evaluated eagerly). A field that is not known is ignored: a newer
version of the program may have added it, and a folder that both versions share must not count as damaged. That does not
hold for ``config``: a field that is not known there would name another cell.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    TypeAdapter,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_validator,
)

from bench.machine.environment import Count, Environment
from bench.study.model import Cell, Job, Natural

Kind = Literal["jobs", "cells", "references", "engines"]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Some = Annotated[int, Field(ge=1, lt=2**63)]


class Part(BaseModel):
    """Frozen, and exact about types: a number that is written as text is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", ser_json_inf_nan="constants")

    @classmethod
    def parse(cls, text: bytes, at_hand: object = None) -> Self:
        """What is written so in JSON.

        :param at_hand: what the record is probably of, which is then not made again.
        :raises ValueError: if it has another shape.
        """
        return _VALIDATORS.get(cls, cls.__pydantic_validator__).validate_json(text, context=at_hand)

    def as_json(self) -> dict[str, Any]:
        """What is written. A field that was never set stays away, so that a part comes back as it was."""
        return self.model_dump(mode="json", exclude_unset=True)


class Provenance(Part):
    """What two scores must share to be comparable (with N)."""

    classifier: str
    dataset_sha256: str


class EngineChoice(Part):
    """The engine that evaluated a network, why it was chosen, the trial that says so, and seconds of warming up."""

    engine: str
    why: str | None = None
    trial: str | None = None
    warm_s: Finite | None = None


EAGER = EngineChoice(engine="eager")
"""What was done before there were engines."""


class Epoch(Part):
    """An epoch of training: its duration and mean loss, and errors on held-out images.

    ``warm``: not a process's first. ``exclusive``: the job had its device alone.
    """

    seconds: Seconds
    images: Some
    warm: bool
    exclusive: bool
    loss: float
    eps_mse: float
    x0_mse: float
    bpd: float | None = None
    bpd_se: float | None = None

    @property
    def known(self) -> dict[str, Any]:
        """The fields that have a value."""
        return {name: value for name, value in self if value is not None}


class Flops(Part):
    """Floating-point operations of one image: of one evaluation, and of a step of training."""

    forward: Count
    train: Count


class HarnessRun(Part):
    """Where one process of a job spent its time, and the seconds that were expected of it."""

    stages_s: dict[str, Finite]
    wall_s: Finite
    overhead: Finite
    estimate_s: Finite | None = None


class Likelihood(Part):
    """The likelihood of ``n`` test images in bits a dimension: see :func:`bench.score.heldout.likelihood`."""

    n: Natural
    terms: tuple[float, ...]
    bound: float | None = None
    bound_se: float | None = None
    prior: float | None = None
    prior_se: float | None = None
    decoder: float | None = None
    decoder_se: float | None = None
    flow: float | None = None
    flow_se: float | None = None


class Sampled(Part):
    """How a cell's samples were drawn: seconds and images of each batch, and the engine."""

    batch_s: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    batch_images: tuple[Some, ...]
    exclusive: bool
    engine: EngineChoice = EAGER
    peak_rss_mb: Finite | None = None
    peak_device_mb: Finite | None = None

    @model_validator(mode="after")
    def _one_duration_a_batch(self) -> Self:
        if len(self.batch_s) != len(self.batch_images):
            raise ValueError("batch_s and batch_images differ in length")
        return self

    @property
    def batches(self) -> list[tuple[int, float]]:
        """(images, seconds) of each batch but the first, which warms up, where there are more."""
        pairs = list(zip(self.batch_images, self.batch_s, strict=True))
        return pairs[1:] or pairs


Scores = dict[str, float]
"""Metric → value."""
ALWAYS = frozenset({"fid", "kid", "kid_se", "precision", "recall"})
"""The metrics of every version so far, which a floor and a ceiling have whatever else there is."""


def _complete(scores: Scores) -> Scores:
    if not scores.keys() >= ALWAYS:
        raise ValueError(f"no {min(ALWAYS - scores.keys())}")
    return scores


BoundScores = Annotated[Scores, AfterValidator(_complete)]


class Bounds(NamedTuple):
    """Every metric of real test images (``floor``) and of pure noise (``ceiling``), of as many images."""

    floor: Scores
    ceiling: Scores


class Record(Part):
    """What a file of the store holds."""

    kind: ClassVar[Kind]
    """The folder."""

    def belongs_to(self, key: str) -> bool:  # noqa: ARG002 (for those that can tell)
        """Whether this is the record of that key, which is its file's name; True where that cannot be told."""
        return True


class _Made(Record):
    """A record of something that was done: where and when."""

    environment: Environment
    created: AwareDatetime

    @field_serializer("created")
    def _iso(self, created: AwareDatetime) -> str:
        return created.isoformat()


class JobRecord(_Made):
    """A training run: a :class:`TrainedJob` or a :class:`FailedJob`."""

    kind = "jobs"
    status: Literal["done", "failed"]
    config: Job

    @field_serializer("config")
    def _whole(self, config: Job) -> dict[str, Any]:
        return config.written

    def belongs_to(self, key: str) -> bool:
        """Whether this is the record of that key, which is its file's name."""
        return self.config.key == key


class TrainedJob(JobRecord):
    """A complete training run; the oracle's has no epochs.

    ``teacher_s``, ``teacher_images``: what its teacher's training took, which ``epochs`` leave out; seconds only if it
    had its device alone. ``megabytes`` is the size of the weights as saved, in MiB. ``harness`` has a run for each
    process that was at work on the job.
    """

    status: Literal["done"]
    epochs: tuple[Epoch, ...]
    params: Count
    trained_params: Count
    megabytes: Finite
    flops_per_image: Flops
    engine: EngineChoice = EAGER
    peak_rss_mb: Finite | None = None
    peak_device_mb: Finite | None = None
    likelihood: Likelihood | None = None
    teacher_s: Seconds | None = None
    teacher_images: Some | None = None
    harness: tuple[HarnessRun, ...] = ()

    @property
    def exclusive(self) -> bool:
        """Whether every epoch had its device alone."""
        return all(epoch.exclusive for epoch in self.epochs)


class FailedJob(JobRecord):
    """A training run that failed, and why."""

    status: Literal["failed"]
    reason: str


class CellRecord(_Made):
    """A cell: a :class:`ScoredCell` or a :class:`FailedCell`. ``job`` is its training run's key."""

    kind = "cells"
    status: Literal["done", "failed"]
    config: Cell
    job: str

    @field_validator("config", mode="wrap")
    @classmethod
    def _at_hand(cls, given: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        cell = info.context  # a large study's cells would take longer to make than all the rest
        return cell if isinstance(cell, Cell) and given == cell.written else handler(given)

    @field_serializer("config")
    def _whole(self, config: Cell) -> dict[str, Any]:
        return config.written

    def belongs_to(self, key: str) -> bool:
        """Whether this is the record of that key, which is its file's name."""
        return self.config.key == key and self.config.job.key == self.job


class ScoredCell(CellRecord):
    """A cell that is sampled and scored.

    ``panel``: the column of every other judge → the first twelve digits of its hash. ``accuracy``: the share of test
    images that the classifier in ``provenance`` gets right, where none is pinned for the data set; ``chance``: the
    share that is of the most frequent class.
    """

    status: Literal["done"]
    metrics: Scores
    sampling: Sampled
    provenance: Provenance
    panel: dict[str, str] = {}
    accuracy: Finite | None = None
    chance: Finite | None = None
    floor: BoundScores
    ceiling: BoundScores

    @property
    def bounds(self) -> Bounds:
        """What its scores are read against."""
        return Bounds(self.floor, self.ceiling)


class FailedCell(CellRecord):
    """A cell that could not be sampled or scored, and why."""

    status: Literal["failed"]
    reason: str
    provenance: Provenance | None = None
    floor: BoundScores | None = None
    ceiling: BoundScores | None = None


class ReferenceRecord(Record):
    """Floor and ceiling of ``n`` images. ``code`` is that of the metrics, None in older files."""

    kind = "references"
    classifier: str
    dataset_sha256: str
    n: Natural
    code: str | None = None
    floor: BoundScores
    ceiling: BoundScores

    @property
    def bounds(self) -> Bounds:
        """The two."""
        return Bounds(self.floor, self.ceiling)

    @staticmethod
    def key_of(classifier: str, dataset_sha256: str, n: int) -> str:
        """What names the reference of those."""
        return hashlib.sha256(f"{classifier} {dataset_sha256} bounds {n}".encode()).hexdigest()[:16]

    def belongs_to(self, key: str) -> bool:
        """Whether this is the record of that key, which is its file's name."""
        return self.key_of(self.classifier, self.dataset_sha256, self.n) == key


class EngineConfig(Part):
    """Whatever the fastest engine depends on: what is evaluated, and the machine."""

    task: Literal["train", "sample"]
    net: str
    shape: tuple[int, ...]
    device: str
    processor: str
    threads: Count
    gpu: str | None
    system: str
    python: str
    torch: str

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name it."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


class Trial(Part):
    """An engine tried: seconds to compile and again from what was kept, the error of its output, seconds a call.

    ``eager_s`` and ``seconds`` are in pairs, taken in turn. ``failed`` says why it cannot be used.
    """

    cold_s: Finite | None = None
    warm_s: Finite | None = None
    error: float | None = None
    eager_s: tuple[Finite, ...] = ()
    seconds: tuple[Finite, ...] = ()
    failed: str | None = None

    @model_validator(mode="after")
    def _complete_or_failed(self) -> Self:
        timed = self.warm_s is not None and 0 < len(self.eager_s) == len(self.seconds)
        if self.failed is None and not timed:
            raise ValueError("neither timed nor failed")
        return self


class EngineRecord(Record):
    """What is known of engines for one kind of work: seconds of an eager call, and each engine that was tried."""

    kind = "engines"
    config: EngineConfig
    environment: Environment
    call_s: Seconds | None = None
    trials: dict[str, Trial] = {}

    def belongs_to(self, key: str) -> bool:
        """Whether this is the record of that key, which is its file's name."""
        return self.config.key == key


_VALIDATORS: dict[type[Part], Any] = {
    JobRecord: TypeAdapter(Annotated[TrainedJob | FailedJob, Discriminator("status")]).validator,
    CellRecord: TypeAdapter(Annotated[ScoredCell | FailedCell, Discriminator("status")]).validator,
}
"""The classes of which only others are ever made."""
