"""Variants: a row of a table by its name, with the options that differ from their defaults.

The one spelling is ``unet`` or ``unet(inner=96,width=24)``, values as JSON. A study, a key, a table and a picture all
use it. Text is read once, where it comes in; after that a :class:`Variant` travels.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, TypeVar

from ddpm.bounds import Bound

Row = TypeVar("Row")
_FORM = re.compile(r"\s*(?P<name>\w+)\s*(\((?P<options>.*)\)\s*)?", re.DOTALL)
_KEY = re.compile(r"\s*(?P<key>\w+)\s*(?P<equals>=?)\s*")
_NEXT = re.compile(r"\s*(,|$)")
_write = json.JSONEncoder(separators=(",", ":")).encode
_read = json.JSONDecoder().raw_decode


@dataclass(frozen=True, eq=False)
class Variant:
    """A row's name and its options, in the order of their names. Lists among the options become tuples.

    A variant equals its text and has the same hash, so that either finds a value in a dict.

    :raises ValueError: if the name is no word, or a value is not plain (JSON without objects and NaN).
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):
            raise ValueError(f"'{self.name}' is not a name: letters, digits and _ only")
        plain = {key: _plain(value, key, self.name) for key, value in dict(self.options).items()}
        options = tuple(sorted(plain.items()))
        inside = ",".join(f"{key}={_write(value)}" for key, value in options)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "text", f"{self.name}({inside})" if inside else self.name)

    @classmethod
    def of(cls, spec: Variant | str) -> Variant:
        """The variant itself, or the one that a text spells."""
        return spec if isinstance(spec, Variant) else parse(spec)

    def __str__(self) -> str:
        return self.text

    def __format__(self, how: str) -> str:
        return format(self.text, how)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Variant):
            return self.text == other.text
        return self.text == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=4096)  # every record of a study spells the same few
def parse(text: str) -> Variant:
    """``name(k=v,…)``, values being JSON, as a variant. Defaults are not known here: see :func:`canonical`.

    :raises ValueError: if it is not of that form.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is not a name, nor name(option=value,…)")
    options: dict[str, Any] = {}
    rest, at = (found["options"] or "").strip(), 0
    while at < len(rest):
        key = _KEY.match(rest, at)
        if key is None:
            raise ValueError(f"'{text}' is not a name, nor name(option=value,…)")
        if key["key"] in options:
            raise ValueError(f"'{text}': option '{key['key']}' is there twice")
        try:
            value, end = _read(rest, key.end())
            after = _NEXT.match(rest, end)
        except (ValueError, RecursionError):
            after = None
        if after is None or not key["equals"]:
            raise ValueError(f"'{text}': option '{key['key']}' has no plain value")
        options[key["key"]], at = value, after.end()
    return Variant(found["name"], tuple(options.items()))


@lru_cache(maxsize=4096)
def canonical(variant: Variant, *of: Callable[..., Any]) -> Variant:
    """The one form of a variant of functions ``of``, whose keyword-only parameters are its options.

    Each value gets the type of its default (1 becomes 1.0), and those equal to their default are left out.

    :raises ValueError: for an option they do not have, a value of another type than the default's, or out of bounds.
    """
    valid = {key: default for function in of for key, default in parameters(function).items()}
    kept = {}
    for key, given in variant.options:
        if key not in valid:
            raise ValueError(f"'{variant.name}' has no option '{key}' (options: {', '.join(valid) or 'none'})")
        default = _plain(valid[key], key, variant.name)
        try:
            value = _like(default, given)
        except (TypeError, OverflowError):
            given = list(given) if isinstance(given, tuple) else given
            raise ValueError(
                f"option '{key}' of '{variant.name}' takes a value like {_write(default)}, not {given!r}"
            ) from None
        if _write(value) != _write(default):
            kept[key] = value
    found = Variant(variant.name, tuple(kept.items()))
    chosen(found, *of)
    return found


def chosen(variant: Variant, *of: Callable[..., Any]) -> dict[str, Any]:
    """The options of a variant of functions ``of``, by name.

    :raises ValueError: for a value that is out of the bounds that its parameter is annotated with.
    """
    limits = {key: bound for function in of for key, bound in bounds(function).items()}
    for key, value in variant.options:
        if key in limits and not limits[key].holds(value):
            raise ValueError(f"option '{key}' of '{variant.name}' must be {limits[key].words}, not {_write(value)}")
    return dict(variant.options)


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Its keyword-only parameters and their defaults: the options of a variant."""
    return dict(_parameters(function))


@cache
def bounds(function: Callable[..., Any]) -> dict[str, Bound]:
    """The bounds of its options, of those that have any."""
    try:
        found = inspect.signature(function, eval_str=True).parameters.values()
    except Exception:  # the annotations of other packages may be of names that are not there
        return {}
    return {p.name: one for p in found for one in getattr(p.annotation, "__metadata__", ()) if isinstance(one, Bound)}


@cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    found = inspect.signature(function).parameters.values()
    return tuple((p.name, p.default) for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY)


def row(table: Mapping[str, Row], variant: Variant) -> Row:
    """The row that a variant names.

    :raises ValueError: if the table has none of that name.
    """
    try:
        return table[variant.name]
    except KeyError:
        raise ValueError(f"'{variant.name}' is not there (choices: {', '.join(table)})") from None


def build(table: Mapping[str, Callable[..., Row]], spec: Variant | str, *args: Any) -> Row:
    """What the named row makes of the arguments and the variant's options.

    :raises ValueError: if the table has none of that name, or an option is out of its bounds.
    """
    variant = Variant.of(spec)
    make = row(table, variant)
    return make(*args, **chosen(variant, make))


def option(table: Mapping[str, Callable[..., Any]], spec: Variant | str, name: str, absent: Any) -> Any:
    """The value of an option, the row's default where it is not given; ``absent`` where the row has no such option."""
    variant = Variant.of(spec)
    defaults = parameters(table[variant.name]) if variant.name in table else {}
    return (defaults | dict(variant.options)).get(name, absent)


def _plain(value: Any, key: str, name: str) -> Any:
    """The value without lists, -0.0 and anything that JSON cannot hold and give back."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and not math.isnan(value):
        return value + 0.0  # -0.0 is 0.0, and so is its text
    if isinstance(value, list | tuple):
        return tuple(_plain(item, key, name) for item in value)
    raise ValueError(f"option '{key}' of '{name}' has no plain value: {value!r}")


def _like(default: Any, value: Any) -> Any:
    """The value, of the default's type; where the default says nothing, a whole number is an int.

    :raises TypeError: if it is of another type.
    """
    if default is None:
        return _whole(value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, tuple) and isinstance(value, tuple):
        return tuple(_like(default[0] if default else None, item) for item in value)
    if type(value) is not type(default):
        raise TypeError
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_whole, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value
