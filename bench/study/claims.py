"""A study's claims, such as ``eps < previous on fid at {sampler: ddim, sample_steps: 10}``, as text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from bench.study.axes import AXES
from bench.study.yaml12 import read
from bench.text import as_yaml, listing

SEEDS = {axis.name for axis in AXES if axis.repeats}
"""Axes whose levels are not compared."""
FORM = re.compile(
    r"(?P<first>.+?)\s+(?P<sign>[<>])\s+((?P<times>\d+\.?\d*)\s*[*×]\s*)?(?P<second>.+?)"
    r"\s+on\s+(?P<metric>\w+)(\s+at\s+(?P<where>\{.*\}))?"
)
ABSENT: Any = object()
"""No level of an axis."""
Levels = dict[str, Any]
"""Axis → one of its levels."""


class Claim(NamedTuple):
    """``first`` is below (or above) ``times`` as much as ``second``, on a metric, where ``where`` holds.

    ``first`` and ``second`` name levels of the same axes.
    """

    text: str
    first: Levels
    second: Levels
    below: bool
    times: float
    metric: str
    where: Levels


class _Reader(NamedTuple):
    """What a claim may name: each axis with its levels in the study, and how a level is written as the axis has it."""

    text: str
    axes: Mapping[str, Sequence[Any]]
    named: Callable[[str, Any], Any]

    def levels(self, written: str) -> Levels:
        """A mapping of axes to levels."""
        try:
            found = dict(read(written))
        except (yaml.YAMLError, ValueError, TypeError, RecursionError):
            raise ValueError(f"'{self.text}': {written} is not a mapping of axes to levels") from None
        for axis, level in found.items():
            if axis not in self.axes:
                raise ValueError(f"'{self.text}': no axis '{axis}' (axes: {', '.join(self.axes)})")
            found[axis] = _level(self.named(axis, level), self.axes[axis])
            if found[axis] is ABSENT:
                there = ", ".join(map(as_yaml, self.axes[axis]))
                raise ValueError(f"'{self.text}': {axis}={as_yaml(level)} is not on the axis ({there})")
        return found

    def sides(self, first: str, second: str) -> tuple[Levels, Levels]:
        """Two levels of one axis, or two mappings of the same axes."""
        found = {}
        for axis in self.axes.keys() - SEEDS:
            one, two = (_level(_try(self.named, axis, side), self.axes[axis]) for side in (first, second))
            if ABSENT not in (one, two) and one != two:
                found[axis] = {axis: one}, {axis: two}
        if len(found) > 1:
            names = [axis for axis in self.axes if axis in found]
            raise ValueError(
                f"'{self.text}': {listing(names)} have '{first}' and '{second}'; name one of these axes on both "
                f"sides, such as {{{names[0]}: {first}}} and {{{names[0]}: {second}}}"
            )
        if found:
            return next(iter(found.values()))
        if not (first.startswith("{") and second.startswith("{")):
            raise ValueError(f"'{self.text}': no axis of the study has both '{first}' and '{second}'")
        both = self.levels(first), self.levels(second)
        if both[0].keys() != both[1].keys():
            raise ValueError(f"'{self.text}': both sides must name the same axes")
        if both[0] == both[1]:
            raise ValueError(f"'{self.text}': both sides are the same")
        return both


def parse(
    text: str, axes: Mapping[str, Sequence[Any]], metrics: Iterable[str], named: Callable[[str, Any], Any]
) -> Claim:
    """A claim as a study states it.

    :param axes: each axis and its levels in the study.
    :param named: (axis, level as written) → as the axis has it.
    :raises ValueError: saying what is wrong with it.
    """
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is not of the form 'eps < previous on fid at {{sampler: ddim}}'")
    if found["metric"] not in set(metrics):
        raise ValueError(f"'{text}': no metric '{found['metric']}' (metrics: {', '.join(metrics)})")
    reader, times = _Reader(text, axes, named), float(found["times"] or 1)
    if not times:
        raise ValueError(f"'{text}': the factor must be more than 0")
    where = reader.levels(found["where"] or "{}")
    first, second = reader.sides(found["first"], found["second"])
    if twice := where.keys() & first.keys():
        raise ValueError(f"'{text}': {', '.join(sorted(twice))} is compared, so `at` cannot name it too")
    return Claim(text, first, second, found["sign"] == "<", times, found["metric"], where)


def _try(named: Callable[[str, Any], Any], axis: str, level: str) -> Any:
    """The level as the axis has it, written as text or as in YAML; as it is where it is of another axis."""
    try:
        return named(axis, read(level) if level.startswith("{") else level)
    except (ValueError, yaml.YAMLError, RecursionError):
        return level


def _level(wanted: Any, levels: Sequence[Any]) -> Any:
    """The level that is written like this, or :data:`ABSENT`. None is a level too, and is ``null`` as text."""
    written = str(None if wanted == "null" else wanted)
    return next((level for level in levels if level == wanted or str(level) == written), ABSENT)
