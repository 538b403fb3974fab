"""What a study varies and what it leaves the same: all that its cells follow from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, field_serializer, field_validator, model_validator

from bench.errors import UserError, unknown
from bench.rows import ORACLE, known, read
from bench.study.axes import LISTED, Axes
from bench.study.model import Count, Natural, StrictModel, Training
from bench.study.wrong import wrong
from ddpm.spec import Variant

MOST_POINTS = 2_000_000
"""Points of a grid, before exclusions."""
LARGEST_OPTION = 10_000
"""A network's whole-number options: widths, blocks."""
FAMILY = {axis.name: axis.family for axis in LISTED}


def named(given: object) -> str:
    """The text that names a data set, whose images are looked at where the user has made it."""
    from bench.images.datasets import named  # which loads torch

    try:
        return named(given)
    except UserError as error:
        raise wrong(str(error)) from error


Seeds = Annotated[list[Natural], BeforeValidator(lambda given: given if isinstance(given, list) else [given])]


class Score(StrictModel):
    """How many samples are drawn of each cell, and from which noise; of how many test images to find the likelihood.

    ``seed`` is a number or a list of them: a cell for each, sampled from the same network. Left out, it is the
    network's own training seed, so that networks of different seeds share no noise, and cells of one seed do.
    """

    n: Count = 2000
    seed: Seeds | None = None
    likelihood: Natural = 0

    @field_validator("seed")
    @classmethod
    def _no_repeats(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds is None:
            return None
        if not seeds:
            raise wrong("seed is empty")
        if len(set(seeds)) < len(seeds):
            raise wrong(f"seed lists {max(seeds, key=seeds.count)} twice: duplicate cells")
        return seeds

    def draws(self, training: int) -> list[int]:
        """The sampling seeds of a network with this training seed."""
        return [training] if self.seed is None else self.seed


class Design(StrictModel):
    """The grid, its exclusions, and what all of its cells share."""

    dataset: Annotated[str, BeforeValidator(named)] = "mnist"
    train: Training
    axes: Axes
    exclude: list[dict[str, Any]] = []
    score: Score = Score()

    @field_validator("exclude")
    @classmethod
    def _as_on_the_axes(cls, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Names with options in the one form that the axes have them in."""
        return [
            {axis: [on_axis(axis, one) for one in level] if isinstance(level, list) else on_axis(axis, level)
             for axis, level in rule.items()}
            for rule in rules
        ]  # fmt: skip

    @field_serializer("exclude")
    def _as_written(self, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Names with options as text."""
        return [{axis: _written(level) for axis, level in rule.items()} for rule in rules]

    @model_validator(mode="after")
    def _possible(self) -> Design:
        """What no validator of one field can see."""
        for check in (_training, _not_too_large, _enough_images, _exclusions_on_the_axes):
            for message, *at in check(self):
                raise wrong(message, *at)
        return self


def on_axis(axis: str, level: Any) -> Any:
    """A level as the axis has it: a row in its one form.

    :raises ValueError: if an option is wrong.
    """
    family = FAMILY.get(axis)
    return read(family, level) if family and isinstance(level, str | dict) else level


def _written(level: Any) -> Any:
    if isinstance(level, list):
        return [_written(one) for one in level]
    return str(level) if isinstance(level, Variant) else level


Mistakes = Iterable[tuple[Any, ...]]
"""(what is wrong, the path to it …)."""


def _training(design: Design) -> Mistakes:
    """What stands beside the axes: the optimiser's name, and epochs to train."""
    try:
        known("optimiser", design.train.optimiser)
    except UserError as error:
        yield str(error), "train", "optimiser"
    if design.train.epochs == 0 and set(design.axes.net) != {ORACLE}:
        yield f"train.epochs: 0 trains nothing but '{ORACLE}'", "train", "epochs"


def _not_too_large(design: Design) -> Mistakes:
    """What could not be planned in a reasonable time, let alone run."""
    points = math.prod(len(getattr(design.axes, axis.name)) for axis in LISTED)
    if points > MOST_POINTS:
        yield f"the grid has {points:,} points before exclusions: at most {MOST_POINTS:,} are possible", "axes"
    for net in design.axes.net:
        for option, value in net.options:
            if isinstance(value, int) and value > LARGEST_OPTION:
                yield f"net: {net.name}: {option}={value} is too large: the most is {LARGEST_OPTION:,}", "axes", "net"


def _enough_images(design: Design) -> Mistakes:
    """More samples than there are test images."""
    from bench.images.datasets import row

    most = row(design.dataset).test
    for field, what in (("n", "that the floor is drawn from"), ("likelihood", "that there are")):
        if (n := getattr(design.score, field)) > most:
            yield f"score.{field}: {n} is more than the {most} test images {what}", "score", field


def _exclusions_on_the_axes(design: Design) -> Mistakes:
    """Exclusions that name no axis, or nothing on it."""
    for i, rule in enumerate(design.exclude):
        for axis, level in rule.items():
            if axis not in FAMILY:
                yield str(unknown("axis", axis, FAMILY)), "exclude", i, axis
                return
            levels = getattr(design.axes, axis)
            for item in level if isinstance(level, list) else [level]:
                if item not in levels:
                    listed = ", ".join(map(str, levels))
                    yield f"exclusion of {axis}={item} matches nothing (axis: {listed})", "exclude", i, axis
