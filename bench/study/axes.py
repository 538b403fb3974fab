"""The axes of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

if TYPE_CHECKING:
    pass

from bench.study.model import Clip, Eta, Guidance, Length, Natural, Positive, StrictModel
from bench.study.variants import Net, Objective, Sampler, Schedule, Spacing, Timesteps, Weight


class Axes(StrictModel):
    """The lists whose product is the grid. ``weight: default`` is the objective's own."""

    net: list[Net] = ["unet"]
    objective: list[Objective]
    weight: list[Weight] = ["default"]
    schedule: list[Schedule]
    T: list[Positive] = [1000]
    seed: list[Natural] = [0]
    timesteps: list[Timesteps] = ["uniform"]
    sampler: list[Sampler]
    sample_steps: list[Positive]
    eta: list[Eta] = [0.0]
    clip: list[Clip] = [True]
    spacing: list[Spacing] = ["linspace"]
    ema: list[Length | None] = [None]
    guidance: list[Guidance | None] = [None]

    @model_validator(mode="after")
    def _no_repeats(self) -> Axes:
        for name, values in self:
            if not values:
                raise ValueError(f"axis '{name}' is empty")
            twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
            if twice is not None:
                raise ValueError(f"axis '{name}' lists {twice} twice: duplicate cells")
        return self
