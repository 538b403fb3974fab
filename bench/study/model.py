"""What a study consists of: budget, job, sampling, cell, and their keys. Their annotated fields are the axes.

A key is the hash of the canonical JSON of what it names, values equal to their field's default left out: a field added
later, with a default that means what was done before, changes no key. Never change a default; add a new field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from bench.rows import DEFAULT, identity, packages
from bench.rows import ORACLE as ORACLE
from bench.study.axis import Axis, Part, axes_of, said
from bench.text import plural
from ddpm.spec import Variant

Positive = Annotated[int, Field(ge=1, lt=2**63, strict=True)]
Times = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]  # each has a row in every table of coefficients
Natural = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Eta = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=20, lt=2**63, strict=True)]
Length = Annotated[float, Field(gt=0, lt=0.288, strict=True)]  # σ_rel: ddpm.ema
Begin = Annotated[float, Field(gt=0, lt=1, strict=True)]
Guidance = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Packages = Annotated[tuple[str, ...], Field(validate_default=True)]
Clip = Annotated[bool, Field(strict=True)] | Literal["dynamic"]
NO_BASE = Variant("none")
"""The row of a network without a base."""


class StrictModel(BaseModel):
    """Frozen; a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Chosen(StrictModel):
    """What has axes among its fields, the last of which is ``packages``: those that its rows come from.

    Packages are part of the key, so that a new version of one has results of its own. Built-in rows leave no trace.
    """

    PART: ClassVar[Part]

    @field_validator("packages", check_fields=False)
    @classmethod
    def _as_installed(cls, given: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return given or packages(cls.rows(info.data))

    @classmethod
    def rows(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(family, name) of each row among the fields."""
        for axis in axes_of(cls):
            if axis.family and isinstance(value := fields.get(axis.name), Variant):
                yield axis.family, value.name

    @model_serializer(mode="wrap")
    def _without_trace(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if not fields.get("packages"):
            fields.pop("packages", None)
        for axis in axes_of(type(self)):
            if axis.later and fields.get(axis.name) == axis.usual:
                fields.pop(axis.name, None)
        return fields

    @cached_property
    def written(self) -> dict[str, Any]:
        """The JSON in a record."""
        return self.model_dump(mode="json")

    @property
    def told(self) -> dict[str, Any]:
        """Column → what a table says, for each axis."""
        return {axis.column: axis.tell(getattr(self, axis.name)) for axis in axes_of(type(self))}

    @property
    def shown(self) -> dict[str, Any]:
        """What labels are made of."""
        return self.told

    @property
    def label(self) -> str:
        """A short name for progress lines and figures: every axis that is not at its default."""
        return said(axes_of(type(self)), self.shown)

    @property
    def setting(self) -> str:
        """The label without seeds."""
        return said((axis for axis in axes_of(type(self)) if not axis.repeats), self.shown)


class Budget(StrictModel):
    """How each network is trained: the fields of :class:`ddpm.train.Recipe`, and how many images."""

    epochs: Natural
    batch_size: Positive = 128
    lr: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = 2e-3
    warmup: Share = 0.05
    ema: Share = 0.995
    weight_decay: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 0.0
    optimiser: str = "adamw"
    images: Positive | None = None  # the first so many training images; all of them when not given
    snapshots: Natural = 0  # kept on the way, for the axis ``ema``


class Training(Budget):
    """How a study trains: the budget of plain training, and of what the other ways to teach get as much as it.

    ``equal: images``: all train for as many epochs. ``equal: time``: a way to teach that takes more evaluations trains
    for fewer epochs, as many as take no longer than plain training, its teacher's among them.
    """

    equal: Literal["images", "time"] = "images"

    @property
    def length(self) -> str:
        """How long a network is trained, in words."""
        return plural(self.epochs, "epoch") + (", or fewer that take as long" if self.equal == "time" else "")

    def of(self, teach: Variant) -> Budget:
        """The budget of a network that is taught so; of no epochs if not one is affordable."""
        from ddpm.teach import make_teach

        epochs = make_teach(teach).affords(self.epochs) if self.equal == "time" else self.epochs
        return Budget(**self.model_dump(exclude={"equal"}) | {"epochs": epochs})


class Job(Chosen):
    """One training run; of the oracle, which is not trained, its data."""

    PART = "training"

    dataset: str = "mnist"
    net: Annotated[Variant, Axis(
        title="network", family="net", usual=Variant("unet"), say=str,
        about="What is trained. `oracle` needs no training: it is exact for the training images.",
    )]  # fmt: skip
    objective: Annotated[Variant, Axis(
        title="objective", family="objective", say=str,
        about="What the network's output is compared with.",
    )]  # fmt: skip
    weight: Annotated[Variant, Axis(
        title="loss weight", family="weight", usual=Variant(DEFAULT),
        say=lambda weight: "" if weight == DEFAULT else f"weight {weight}",
        about="What the squared error is multiplied by. `default` is the objective's own.",
    )]  # fmt: skip
    schedule: Annotated[Variant, Axis(
        title="schedule", family="schedule", say=str, about="How much noise there is at each step.",
    )]  # fmt: skip
    T: Annotated[Times, Axis(title="T", usual=1000, say="T={}".format, about="How many diffusion steps there are.")]
    seed: Annotated[Natural, Axis(
        title="training seed", usual=0, say="seed {}".format, place=2, repeats=True,
        about="The random number that training starts from. List several to see what chance does.",
    )]  # fmt: skip
    timesteps: Annotated[Variant, Axis(
        title="choice of t", family="timesteps", say="{} t".format,
        about="How training chooses the step of each image.",
    )] = Variant("uniform")  # fmt: skip
    teach: Annotated[Variant, Axis(
        title="teaching", family="teach", say="taught by {}".format, later=True,
        about="Where the x₀ of the training target comes from: the data, or a network, for few sampling steps.",
    )] = Variant("data")  # fmt: skip
    base: Annotated[Variant, Axis(
        title="base", family="base", say="on base {}".format, later=True,
        about="A denoiser in closed form that the network starts from: it learns the rest.",
    )] = NO_BASE  # fmt: skip
    train: Budget
    packages: Packages = ()

    @classmethod
    def rows(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(family, name) of each row among the fields: the data set's and the optimiser's too."""
        yield from super().rows(fields)
        yield "dataset", Variant.of(str(fields.get("dataset"))).name
        if train := fields.get("train"):
            yield "optimiser", train.optimiser

    @property
    def network(self) -> str:
        """What is trained, in a word: networks of one name and one base are as large and as fast."""
        return f"{self.net} on base {self.base}" if self.based else str(self.net)

    @property
    def based(self) -> bool:
        """Whether the network is on a base."""
        return self.base != NO_BASE

    @cached_property
    def teacher(self) -> Job | None:
        """The training run that teaches this one, if one does: the same by `data`, of its share of the epochs."""
        from ddpm.teach import TEACH, make_teach

        epochs = make_teach(self.teach).teachers(self.train.epochs) if self.teach.name in TEACH else 0
        if not epochs:
            return None
        train = self.train.model_copy(update={"epochs": epochs, "snapshots": 0})
        own = {name: getattr(self, name) for name in Job.model_fields}
        return Job.model_validate(own | {"teach": "data", "packages": (), "train": train})

    @property
    def epochs(self) -> int:
        """How many of the budget's epochs are this run's own: all but its teacher's."""
        return self.train.epochs - (self.teacher.train.epochs if self.teacher else 0)

    @cached_property
    def canonical(self) -> str:
        """The JSON that the key is the hash of; part of each of its cells'."""
        fields = self.model_dump(exclude_defaults=True)
        if "dataset" in fields:
            fields["dataset"] = identity("dataset", fields["dataset"])
        return _canonical(fields)

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this run."""
        return _key(self.canonical)

    @property
    def shown(self) -> dict[str, Any]:
        """What labels are made of: the weight is ``default`` where it is the objective's own."""
        from ddpm.objective import OBJECTIVES

        row = OBJECTIVES.get(self.objective.name)  # None: its package is not here
        own = row is not None and self.weight == row.weight
        return self.told | ({"weight": DEFAULT} if own else {})


class Sampling(Chosen):
    """A way to sample a trained network. ``eta`` is None for samplers without η."""

    PART = "sampling"

    sampler: Annotated[Variant, Axis(
        title="sampler", family="sampler", say=str, about="How an image is made of noise.",
    )]  # fmt: skip
    sample_steps: Annotated[Positive, Axis(
        title="sampling steps", say="{} steps".format, place=1, about="How many of the T steps it takes.",
    )]  # fmt: skip
    eta: Annotated[Eta | None, Axis(
        title="η", usual=0.0, named=True, say="η={:g}".format,
        about="How much noise `ddim` draws: 0 none, 1 as much as `ancestral`. Other samplers have no η.",
    )] = None  # fmt: skip
    clip: Annotated[Clip, Axis(
        title="clipping", words={True: "static", False: "none", "dynamic": "dynamic"}, column="clipping", named=True,
        say=lambda word: "unclipped" if word == "none" else str(word),
        about="What is done to x̂₀ at each step: `true` clips it to [−1, 1], `dynamic` to its 99.5th percentile.",
    )] = True  # fmt: skip
    spacing: Annotated[Variant, Axis(
        title="spacing", family="spacing", say=str, about="Which of the T steps it takes.",
    )] = Variant("linspace")  # fmt: skip
    ema: Annotated[Length | None, Axis(
        title="length of the average", say="EMA {:g}".format, of_weights=True,
        about="How long the average of the weights is, as a share of the training run: σ_rel of Karras et al. "
        "(arXiv 2312.02696). At 0.1 the averaged weights are about a tenth of the run old. It needs "
        "`train.snapshots`. `null` is the average that training keeps, whose decay is `train.ema`.",
    )] = None  # fmt: skip
    guidance: Annotated[Guidance | None, Axis(
        title="guidance scale", say="guidance {:g}".format,
        about="The scale of classifier-free guidance, for a network that knows classes. `null` names no class.",
    )] = None  # fmt: skip
    sample_seed: Annotated[Natural, Axis(
        title="sampling seed", say="sampling seed {}".format, place=2, repeats=True,
        about="The random number that sampling starts from.",
        instead="Give it as `seed` under `score`: one number or a list. Left out, it is the training seed.",
    )] = 0  # fmt: skip
    start: Annotated[Begin | None, Axis(
        title="start", say="from {} T".format, later=True,
        about="Where sampling starts, as a share of T. There x is an image drawn from the `base`, with as much noise "
        "as that step has. Steps with more noise are left out. TDPM (arXiv 2202.09671) does the same, with a learned "
        "sampler in place of the base. `null` starts from noise at T. A start needs a base.",
    )] = None  # fmt: skip
    packages: Packages = ()

    @cached_property
    def stated(self) -> dict[str, Any]:
        """What it adds to a cell's key: whatever is not the default."""
        return self.model_dump(exclude_defaults=True)

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for a sample.

        :raises ValueError: if there is no such sampler.
        """
        from ddpm import guidance
        from ddpm.sampler import evaluations

        return guidance.evaluations(self.guidance) * evaluations(self.sampler, self.sample_steps)


class Cell(StrictModel):
    """One point of the grid: a training run, a way to sample it, and how many samples are drawn.

    As JSON the fields of ``sampling`` are the cell's own.
    """

    job: Job
    sampling: Sampling
    n: Count

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "sampling" in given:
            return given
        inner = cls.model_fields["sampling"].annotation
        own = {name for name in given if name in getattr(inner, "model_fields", {})}
        return {k: v for k, v in given.items() if k not in own} | {"sampling": {name: given[name] for name in own}}

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return fields | fields.pop("sampling", {})

    @property
    def written(self) -> dict[str, Any]:
        """The JSON in a record."""
        return {"job": self.job.written, "n": self.n, **self.sampling.written}

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this cell."""
        # parts that many cells share are put in ready-made (in a string the quotes of "job":null would be escaped)
        text = _canonical({**self.sampling.stated, "n": self.n, "job": None})
        return _key(text.replace('"job":null', f'"job":{self.job.canonical}'))

    @property
    def label(self) -> str:
        """How the cell samples, for progress lines and figures."""
        return self.sampling.label

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for a sample.

        :raises ValueError: if there is no such sampler.
        """
        return self.sampling.evaluations

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages that its rows and its job's come from, by name and version; none for what is built in."""
        return tuple(sorted({*self.job.packages, *self.sampling.packages}))


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
