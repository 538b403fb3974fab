"""A study's claims, such as ``eps < previous on fid at {sampler: ddim, sample_steps: 10}``, as text is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

FORM = re.compile(
    r"(?P<first>.+?)\s+(?P<sign>[<>])\s+(?P<second>.+?)\s+on\s+(?P<metric>\w+)(\s+at\s+(?P<where>\{.*\}))?"
)


class Claim(NamedTuple):
    """``first`` is below (or above) ``second``, both levels of ``axis``, on a metric, where ``where`` holds."""

    text: str
    axis: str
    first: Any
    second: Any
    below: bool
    metric: str
    where: dict[str, Any]


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
    try:
        where = yaml.safe_load(found["where"] or "{}")
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"'{text}': {found['where']} is not a mapping of axes to levels") from None
    for axis, level in where.items():
        if axis not in axes:
            raise ValueError(f"'{text}': no axis '{axis}' (axes: {', '.join(axes)})")
        where[axis] = _level(named(axis, level), axes[axis])
        if where[axis] is None:
            raise ValueError(f"'{text}': {axis}={level} is not on the axis ({', '.join(map(str, axes[axis]))})")
    for axis, levels in axes.items():
        first, second = (_level(_try(named, axis, found[side]), levels) for side in ("first", "second"))
        if first is not None and second is not None and first != second:
            return Claim(text, axis, first, second, found["sign"] == "<", found["metric"], where)
    raise ValueError(f"'{text}': no axis of the study has both '{found['first']}' and '{found['second']}'")


def _try(named: Callable[[str, Any], Any], axis: str, level: str) -> Any:
    """The level as the axis has it, written as text or as in YAML; as it is where it is of another axis."""
    try:
        return named(axis, yaml.safe_load(level) if level.startswith("{") else level)
    except (ValueError, yaml.YAMLError):
        return level


def _level(wanted: Any, levels: Sequence[Any]) -> Any:
    """The level that is written like this, or None."""
    return next((level for level in levels if level == wanted or str(level) == str(wanted)), None)
