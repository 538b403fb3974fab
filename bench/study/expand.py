"""From a design to its cells: the grid without what is excluded; every impossible cell is refused before a run."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bench.images.datasets import row
from bench.rows import DEFAULT, ORACLE
from bench.study.design import Design
from bench.study.model import Budget, Cell, Job, Sampling
from bench.study.possible import CHECKS, SAMPLING, TRAINING, WITHOUT, At, settled
from ddpm.objective import default_weight
from ddpm.spec import Variant

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
        at = settled(given)
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
        at = settled({**trained, **sampled})
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
            if one.of_training != (part is TRAINING):
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
