"""From a design to its cells: the grid without what is excluded; every impossible cell is refused before a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from bench.images.datasets import row
from bench.rows import DEFAULT, ORACLE, entries
from bench.study.axes import LISTED
from bench.study.design import Design
from bench.study.model import Budget, Cell, Job, Sampling
from bench.text import plural
from ddpm.base import parts
from ddpm.nets import classes_of, learns_variance, takes_second_time
from ddpm.objective import check, default_weight, loss_weight
from ddpm.sampler import make_sampler
from ddpm.schedule import Schedule, make_schedule
from ddpm.spec import Variant, parse
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
        "teach": Variant("data"), "base": Variant("none"), "ema": None, "guidance": None,
    }),
)  # fmt: skip


class Check(NamedTuple):
    """A kind of impossible cell: the axes it depends on, and (design, point) → why it is impossible, or None."""

    axes: tuple[str, ...]
    why: Callable[[Design, At], str | None]


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
    if at["sample_steps"] <= at["T"]:
        return None
    return f"sample_steps={at['sample_steps']} is more than T={at['T']}; exclude it or lower it"


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
    if at["base"] == "none" or not make_teach(at["teach"]).second:
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
    Check(("sample_steps", "T"), _too_many_steps),
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
    of_sampling = (one for one in CHECKS if not set(one.axes) <= set(TRAINING))
    return next(filter(None, (one.why(design, at) for one in of_sampling)), None)


LINKS = tuple(
    axis
    for axis in TRAINING
    if axis in {without.axis for without in WITHOUT}
    or any(axis in check.axes and set(check.axes) & set(SAMPLING) for check in CHECKS)
)
"""The axes of training that what holds for a way to sample depends on."""


def expand(design: Design) -> Iterator[Cell]:
    """Every cell, jobs in order, exclusions applied.

    :raises ValueError: for impossible or duplicate cells, naming them.
    """
    _check_snapshots(design)
    grid = _Grid(design)
    for at, rules in _trainings(design):
        yield from grid.cells(at, rules)


def _trainings(design: Design) -> Iterator[tuple[dict[str, Any], list[dict[str, list[Any]]]]]:
    """The points of the training axes, each with the exclusions that are left for the ways to sample it."""
    rules = [[{k: v if isinstance(v, list) else [v] for k, v in rule.items() if k in part}
              for part in (TRAINING, SAMPLING)] for rule in design.exclude]  # fmt: skip
    for at in _product(design, TRAINING):
        left = [of_sampling for of_training, of_sampling in rules if _matches(of_training, at)]
        if {} not in left:
            yield at, left


def _product(design: Design, axes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Every combination of what the study lists of these axes, the last fastest."""
    for point in itertools.product(*(getattr(design.axes, axis) for axis in axes)):
        yield dict(zip(axes, point, strict=True))


def _matches(rule: Mapping[str, list[Any]], at: At) -> bool:
    return all(at[axis] in levels for axis, levels in rule.items())


class _Training(NamedTuple):
    """A training run that is possible: its point, what the study asked for, and its ways to sample by number."""

    at: At
    asked: tuple[Any, ...]
    job: Job
    ways: dict[int, _Way]


class _Way(NamedTuple):
    """A possible way to sample, one a sampling seed, and what the study asked for."""

    asked: tuple[Any, ...]
    each: list[Sampling]


class _Grid:
    """Makes cells of points. What many points share is worked out once: a grid may have a million."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.sampled = list(_product(design, SAMPLING))
        self.seen: dict[tuple[int, int], tuple[Any, ...]] = {}  # a job and a way to sample → what the study asked for
        self.jobs: dict[tuple[Any, ...], Job] = {}
        self.ways: dict[tuple[Any, ...], list[Sampling]] = {}
        self.linked: dict[tuple[Any, ...], dict[int, _Way]] = {}
        self.why: dict[tuple[Any, ...], str | None] = {}  # a check and what it looked at → what it said

    def cells(self, at: At, rules: list[dict[str, list[Any]]]) -> Iterator[Cell]:
        """The cells of one point of the training axes: each once, however many points collapse to it.

        :raises ValueError: if they are impossible, or another point asks for the same.
        """
        run: _Training | None = None
        for i, sampled in enumerate(self.sampled):
            if any(_matches(rule, sampled) for rule in rules):
                continue
            run = run or self._training(at)
            way = run.ways.get(i) or run.ways.setdefault(i, self._way(run.at, sampled))
            asked = run.asked, way.asked
            before = self.seen.setdefault((id(run.job), id(way.each)), asked)
            if before is asked:
                yield from (_cell(run.job, each, self.design.score.n) for each in way.each)
            elif before != asked:
                raise ValueError(_twice(run.job, way.each[0], before, asked))

    def _training(self, given: At) -> _Training:
        """The training run of a point, if it is possible."""
        at = _settled(given)
        asked = tuple(at[axis] for axis in TRAINING)
        if at["weight"] == DEFAULT:
            at["weight"] = Variant(default_weight(at["objective"]))
        self._check(at, TRAINING)
        values = tuple(at[axis] for axis in TRAINING)
        if values not in self.jobs:
            budget = self.design.train
            train = Budget(epochs=0, images=budget.images) if at["net"] == ORACLE else budget.of(at["teach"])
            self.jobs[values] = Job(
                dataset=self.design.dataset, train=train, **dict(zip(TRAINING, values, strict=True))
            )
        draws = self.design.score.draws(at["seed"])
        ways = self.linked.setdefault((*(at[axis] for axis in LINKS), *draws), {})
        return _Training(at, asked, self.jobs[values], ways)

    def _way(self, trained: At, sampled: At) -> _Way:
        """A way to sample a training run, if it is possible."""
        at = _settled({**trained, **sampled})
        self._check(at, SAMPLING)
        values, draws = tuple(at[axis] for axis in SAMPLING), self.design.score.draws(at["seed"])
        if (*values, *draws) not in self.ways:
            own = dict(zip(SAMPLING, values, strict=True))
            self.ways[*values, *draws] = [Sampling(sample_seed=seed, **own) for seed in draws]
        return _Way(values, self.ways[*values, *draws])

    def _check(self, at: At, part: tuple[str, ...]) -> None:
        """Refuse what is impossible by a check that is about axes of this part.

        :raises ValueError: saying why.
        """
        for one in CHECKS:
            if (set(one.axes) <= set(TRAINING)) != (part is TRAINING):
                continue
            looked_at = (one, *(at[axis] for axis in one.axes))
            if looked_at not in self.why:
                self.why[looked_at] = one.why(self.design, at)
            if why := self.why[looked_at]:
                raise ValueError(f"impossible cell: {why}")


def _cell(job: Job, way: Sampling, n: int) -> Cell:
    """A cell of parts that are checked already: to check a hundred thousand again would take most of the time."""
    return Cell.model_construct(_SET, job=job, sampling=way, n=n)


_SET = set(Cell.model_fields)


def _settled(at: At) -> dict[str, Any]:
    """The point, with axes that mean nothing here at the value that says so."""
    settled = dict(at)
    for without in WITHOUT:
        if without.axis in at and without.holds(at[without.axis]):
            settled |= {axis: value for axis, value in without.values.items() if axis in at}
    return settled


def _twice(job: Job, way: Sampling, before: Iterable[Any], asked: Iterable[Any]) -> str:
    """What to say of a cell that two points of the grid ask for."""
    values = zip(TRAINING + SAMPLING, itertools.chain(*before), itertools.chain(*asked), strict=True)
    axis, one, other = next(each for each in values if each[1] != each[2])
    return f"duplicate cells: {job.label}, {way.label} comes from {axis}={one} and from {axis}={other}"


def _check_snapshots(design: Design) -> None:
    """Refuse more snapshots than there are steps.

    :raises ValueError: with both numbers.
    """
    train = design.train
    images = row(design.dataset).trained_on(train.images)
    epochs = min(train.of(teach).epochs for teach in design.axes.teach)
    steps = epochs * max(1, images // train.batch_size)
    if train.snapshots > steps:
        raise ValueError(f"train.snapshots: {train.snapshots} are more than the {steps} training steps")
