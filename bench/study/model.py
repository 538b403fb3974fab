"""What a study consists of: budget, job, cell, and their keys.

A key is the hash of the canonical JSON of what it names, values equal to their field's default left out: a field added
later, with a default that means what was done before, changes no key. Never change a default; add a new field.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    pass


Positive = Annotated[int, Field(ge=1, lt=2**63, strict=True)]
Natural = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Eta = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=20, lt=2**63, strict=True)]
Length = Annotated[float, Field(gt=0, lt=0.288, strict=True)]  # σ_rel: ddpm.ema
Guidance = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Clip = Annotated[bool, Field(strict=True)] | Literal["dynamic"]


class StrictModel(BaseModel):
    """Frozen; a field that does not exist is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


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


class Job(StrictModel):
    """One training run; of the oracle, which is not trained, its data."""

    dataset: str = "mnist"
    net: str
    objective: str
    weight: str
    schedule: str
    T: Positive
    seed: Natural
    timesteps: str = "uniform"
    train: Budget

    @cached_property
    def canonical(self) -> str:
        """The JSON that the key is the hash of; part of each of its cells'."""
        return _canonical(self.model_dump(exclude_defaults=True))

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this run."""
        return _key(self.canonical)

    @property
    def label(self) -> str:
        """A short name for progress lines and figures."""
        drawn = "" if self.timesteps == "uniform" else f" {self.timesteps} t"
        return f"{self.net} {self.objective} {self.schedule} T={self.T}{drawn} seed {self.seed}"


class Cell(StrictModel):
    """One point of the grid: a training run, and a way to sample it. ``eta`` is None for samplers without η."""

    job: Job
    sampler: str
    sample_steps: Positive
    eta: Eta | None = None
    clip: Clip = True
    n: Count
    sample_seed: Natural = 0
    spacing: str = "linspace"
    ema: Length | None = None
    guidance: Guidance | None = None

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this cell."""
        own = self.model_dump(exclude={"job"}, exclude_defaults=True)
        # the job's text is put in ready-made: a study has many cells a job (in a string the quotes would be escaped)
        text = _canonical({**own, "job": None}).replace('"job":null', f'"job":{self.job.canonical}')
        return _key(text)

    @property
    def label(self) -> str:
        """How the cell samples, for progress lines and figures."""
        way = method(self.sampler, self.eta, CLIPPING[self.clip], self.spacing, self.guidance, self.ema)
        noise = f" sampling seed {self.sample_seed}" if self.sample_seed else ""
        return f"{way} {self.sample_steps} steps{noise}"

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for a sample."""
        from ddpm import guidance
        from ddpm.sampler import evaluations

        return guidance.evaluations(self.guidance) * evaluations(self.sampler, self.sample_steps)


CLIPPING: dict[bool | str, str] = {True: "static", False: "none", "dynamic": "dynamic"}
"""What a table calls each value of ``clip``."""


def method(
    sampler: str, eta: float | None, clipping: str, spacing: str, guidance: float | None, ema: float | None
) -> str:
    """How a cell samples but for the number of steps: whatever is not the usual is named (η = 0 is DDIM proper)."""
    said = [sampler, f"η={eta:g}" if eta is not None and eta > 0 else "", "" if spacing == "linspace" else spacing]
    said.append({"static": "", "none": "unclipped"}.get(clipping, clipping))
    said.append(f"guidance {guidance:g}" if guidance is not None and guidance >= 0 else "")
    said.append(f"EMA {ema:g}" if ema is not None and ema > 0 else "")
    return " ".join(filter(None, said))


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


ORACLE = "oracle"
"""The network that needs no training: exact for the data set's own training images (:class:`ddpm.oracle.Mixture`)."""
