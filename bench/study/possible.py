"""Which cells are possible, and which axes mean nothing where: one table each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from bench.images.datasets import row
from bench.rows import DEFAULT, ORACLE, entries
from bench.study.axes import LISTED
from bench.study.design import Design
from bench.study.model import NO_BASE, Job, Sampling
from bench.text import plural
from ddpm.base import BASES, parts
from ddpm.nets import classes_of, learns_variance, takes_second_time
from ddpm.objective import check, loss_weight
from ddpm.sampler import make_sampler
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import latest
from ddpm.spec import Variant, build, parse
from ddpm.teach import Teach, make_teach

At = Mapping[str, Any]
"""Axis → value: one point of the grid."""
TRAINING = tuple(axis.name for axis in LISTED if axis.part == "training")
SAMPLING = tuple(axis.name for axis in LISTED if axis.part == "sampling")


class Without(NamedTuple):
    """Axes that mean nothing where ``holds``, which looks at ``axis`` alone: all their values are one cell."""

    axis: str
    holds: Callable[[Any], bool]
    values: dict[str, Any]


WITHOUT = (
    Without("sampler", lambda sampler: not make_sampler(sampler).uses_eta, {"eta": None}),
    # the oracle is the same whatever it would be trained on, and with
    Without("net", lambda net: net == ORACLE, {
        "objective": Variant("x0"), "weight": Variant(DEFAULT), "seed": 0, "timesteps": Variant("uniform"),
        "teach": Variant("data"), "base": NO_BASE, "ema": None, "guidance": None, "start": None,
    }),
)  # fmt: skip


class Check(NamedTuple):
    """A kind of impossible cell: the axes it depends on, and (design, point) → why it is impossible, or None."""

    axes: tuple[str, ...]
    why: Callable[[Design, At], str | None]

    @property
    def of_training(self) -> bool:
        """Whether it is about axes of training alone."""
        return set(self.axes) <= set(TRAINING)


def _no_network(design: Design, at: At) -> str | None:
    """Networks that do not fit the images, and bases that need more of them."""
    net, base, data = at["net"], at["base"], row(design.dataset)
    if net == ORACLE:
        return None
    try:
        with torch.device("meta"):
            _, made = parts(net, base, data.channels, data.side)
    except ValueError as error:
        return str(error)
    if (known := classes_of(net)) not in (0, data.classes):
        has = f"{data.classes} classes, not {known}" if data.classes else "no classes"
        return f"net {net}: {parse(design.dataset).name} has {has}"
    if made is not None and made.least > (there := data.trained_on(design.train.images)):
        return f"base {base} needs {made.least} training images or more, not {there}"
    return None


def _average_of_nothing(design: Design, at: At) -> str | None:
    if at["ema"] is None or design.train.snapshots >= 2:
        return None
    return (
        f"ema={at['ema']:g} is made of a training run's snapshots: "
        "train.snapshots must be 2 or more (8 are enough)"
    )  # fmt: skip


def _guidance_without_classes(design: Design, at: At) -> str | None:
    if at["guidance"] is None or classes_of(at["net"]):
        return None
    needs = f"guidance={at['guidance']:g} needs a network that knows classes"
    if not (classes := row(design.dataset).classes):
        return f"{needs}, and data set {parse(design.dataset).name} has none"
    return f"{needs} (net: [{{unet: {{classes: {classes}}}}}]), not {at['net']}"


def _variance_not_learned(design: Design, at: At) -> str | None:
    if not make_sampler(at["sampler"]).learned or learns_variance(at["net"]):
        return None
    return (
        f"sampler {at['sampler']} needs a network that learns its variance "
        f"(net: [{{unet: {{variance: true}}}}]), not {at['net']}"
    )


def _too_many_steps(design: Design, at: At) -> str | None:
    if at["sample_steps"] <= (last := latest(at["T"], at["start"])):
        return None
    there = f"T={at['T']}" if at["start"] is None else f"the {last} steps from start={at['start']} at T={at['T']}"
    return f"sample_steps={at['sample_steps']} is more than {there}; exclude it or lower it"


def _start_of_nothing(design: Design, at: At) -> str | None:
    if at["start"] is None:
        return None
    data = row(design.dataset)
    with torch.device("meta"):
        base = build(BASES, at["base"], data.channels * data.side**2)
    if base is None:
        return f"start={at['start']} needs a base to draw from (base: [mixture]), or exclude it"
    if not base.drawable:
        return f"start={at['start']} needs a base to draw from, and {at['base']} has no samples"
    return None


def _start_at_the_end(design: Design, at: At) -> str | None:
    if at["start"] is None or latest(at["T"], at["start"]) < at["T"]:
        return None
    return f"start={at['start']} is T itself, as T={at['T']}: use null, or a lower start"


def _start_of_pairs(design: Design, at: At) -> str | None:
    if at["start"] is None or not make_teach(at["teach"]).coupled:
        return None
    able = _teaching(lambda rule: not rule.coupled)
    return (
        f"start={at['start']} adds noise to an image of the base, and teach {at['teach']} has learned images that go "
        f"with their noise. Use another there (teach: {able}), or exclude it"
    )


def _start_of_no_class(design: Design, at: At) -> str | None:
    if at["start"] is None or at["guidance"] is None:
        return None
    return f"start={at['start']} draws from a base, which knows no classes: guidance must be null there"


def _not_inverted(design: Design, at: At) -> str | None:
    try:
        schedule = make_schedule(at["schedule"], at["T"])
    except ValueError as error:
        return str(error)
    if (why := _refused(schedule, at["objective"])) is None:
        return None
    able = [name for name in entries("objective") if _refused(schedule, Variant(name)) is None]
    silent = f"At t={schedule.T} no signal is left. " if schedule.alpha[-1] == 0 else ""
    return f"{why}. {silent}Use {' or '.join(filter(None, [', '.join(able[:-1]), *able[-1:]]))} there, or exclude it"


def _no_weight(design: Design, at: At) -> str | None:
    try:
        loss_weight(make_schedule(at["schedule"], at["T"]), at["objective"], at["weight"])
    except ValueError as error:
        return f"{error}: use another weight there, or exclude it"
    return None


def _refused(schedule: Schedule, objective: Variant) -> str | None:
    """Why x₀ does not follow from this objective's output; None where it does."""
    try:
        check(schedule, objective)
    except ValueError as error:
        return str(error)
    return None


def _not_taught(design: Design, at: At) -> str | None:
    try:
        rule = make_teach(at["teach"])
    except ValueError as error:
        return f"teach {at['teach']}: {error}"
    if at["T"] < rule.least:
        return f"teach {at['teach']} needs T of {rule.least} or more, not {at['T']}"
    epochs = design.train.epochs
    if epochs and design.train.equal == "time" and not rule.affords(epochs):
        enough = next(n for n in itertools.count(epochs) if rule.affords(n))
        return f"teach {at['teach']} takes as long as {plural(enough, 'epoch')}: train.epochs must be {enough} or more"
    if rule.teacher and epochs < 2:
        return f"teach {at['teach']} divides the epochs between two networks: train.epochs must be 2 or more"
    return None


def _no_second_time(design: Design, at: At) -> str | None:
    if not make_teach(at["teach"]).second or takes_second_time(at["net"]):
        return None
    return (
        f"teach {at['teach']} needs a network that is told of a second time "
        f"(net: [{{unet: {{second_time: true}}}}]), not {at['net']}"
    )


def _no_jumps(design: Design, at: At) -> str | None:
    if not make_sampler(at["sampler"]).jumps or make_teach(at["teach"]).second:
        return None
    able = _teaching(lambda rule: rule.second)
    return f"sampler {at['sampler']} needs a network that has learned to jump (teach: {able}), not {at['teach']}"


def _mean_renoised(design: Design, at: At) -> str | None:
    if at["sample_steps"] == 1 or not make_sampler(at["sampler"]).maps or make_teach(at["teach"]).maps:
        return None
    return (
        f"sampler {at['sampler']} in {at['sample_steps']} steps needs a network whose x̂₀ is a sample "
        f"(teach: {_teaching(lambda rule: rule.maps)}): that of {at['teach']} is a mean. Exclude it, or take one step"
    )


def _variance_of_no_mean(design: Design, at: At) -> str | None:
    rule = make_teach(at["teach"])
    if not learns_variance(at["net"]) or not (rule.maps or rule.second):
        return None
    able = _teaching(lambda rule: not (rule.maps or rule.second))
    return (
        f"net {at['net']} learns its variance from the bound, where x̂₀ is a mean (teach: {able}): "
        f"that of {at['teach']} is not"
    )


def _base_of_one_time(design: Design, at: At) -> str | None:
    if at["base"] == NO_BASE or not make_teach(at["teach"]).second:
        return None
    able = _teaching(lambda rule: not rule.second)
    return (
        f"teach {at['teach']} has a second time, of which base {at['base']} knows nothing. "
        f"Use another there (teach: {able}), or exclude it"
    )


def _teaching(able: Callable[[Teach], bool]) -> str:
    """The names of the ways to teach that can do it."""
    return ", ".join(name for name, row in entries("teach").items() if able(row()))


CHECKS = (
    Check(("net", "base"), _no_network),
    Check(("ema",), _average_of_nothing),
    Check(("guidance", "net"), _guidance_without_classes),
    Check(("sampler", "net"), _variance_not_learned),
    Check(("sample_steps", "T", "start"), _too_many_steps),
    Check(("start", "base"), _start_of_nothing),
    Check(("start", "T"), _start_at_the_end),
    Check(("start", "teach"), _start_of_pairs),
    Check(("start", "guidance"), _start_of_no_class),
    Check(("schedule", "objective", "T"), _not_inverted),
    Check(("schedule", "objective", "T", "weight"), _no_weight),
    Check(("teach", "T"), _not_taught),
    Check(("teach", "net"), _no_second_time),
    Check(("teach", "net"), _variance_of_no_mean),
    Check(("teach", "base"), _base_of_one_time),
    Check(("sampler", "teach"), _no_jumps),
    Check(("sampler", "teach", "sample_steps"), _mean_renoised),
)


def impossible(job: Job, way: Sampling) -> str | None:
    """Why a network that was trained so cannot be sampled in this way; None if it can."""
    design = Design.model_construct(dataset=job.dataset, train=job.train)
    at = {axis: getattr(job, axis) for axis in TRAINING} | {axis: getattr(way, axis) for axis in SAMPLING}
    of_sampling = (one for one in CHECKS if not one.of_training)
    return next(filter(None, (one.why(design, at) for one in of_sampling)), None)


def settled(at: At) -> dict[str, Any]:
    """The point, with axes that mean nothing here at the value that says so."""
    found = dict(at)
    for without in WITHOUT:
        if without.axis in at and without.holds(at[without.axis]):
            found |= {axis: value for axis, value in without.values.items() if axis in at}
    return found
