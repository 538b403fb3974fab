"""What an axis is: said once, in the annotation of a field of :class:`~bench.study.model.Job` or ``Sampling``."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import getitem
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from bench.rows import read, written
from ddpm.spec import Variant

Part = Literal["training", "sampling"]
UNSET: Any = object()


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing that a study varies. Whatever shows it to somebody derives from here.

    ``title``: what a reader calls it. ``about``: a sentence for the reference pages.
    ``family``: of which rows a value names one (:data:`bench.rows.FAMILIES`).
    ``usual``: what a study means that does not list it, where that is not the field's default.
    ``words``: value → what tables call it, and ``column`` the name of that column, where these are not its own.
    ``say``: how a label says a table's value, the title and the value if not given. Labels leave out None and, where
    the field has a default, the usual. ``place``: labels say low places first.
    ``named``: a baseline's cell says it even where it is the usual, as it does every field without a default.
    ``instead``: what a study writes, where it is no list under ``axes:``.
    ``repeats``: whether it only repeats the same thing, as seeds do.
    ``of_weights``: whether it is about which weights are sampled, not how.
    ``later``: records leave out the usual, as those do that are older than the axis.
    """

    title: str
    about: str = ""
    family: str | None = None
    usual: Any = UNSET
    words: Mapping[Any, str] | None = None
    column: str = ""
    say: Callable[[Any], str] | None = None
    place: int = 0
    named: bool = False
    instead: str = ""
    repeats: bool = False
    of_weights: bool = False
    later: bool = False
    # as the field says that it is on
    name: str = ""
    part: Part = "training"
    type: Any = None
    always: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A row is read from text or a mapping, and written as text."""
        if self.family is None:
            return handler(source)
        text = core_schema.plain_serializer_function_ser_schema(partial(written, self.family), when_used="always")
        whole = core_schema.is_instance_schema(Variant, serialization=text)
        return core_schema.no_info_before_validator_function(partial(read, self.family), whole, serialization=text)

    @property
    def listed(self) -> bool:
        """Whether it is a list under ``axes:``."""
        return not self.instead

    @property
    def required(self) -> bool:
        """Whether a study must list it."""
        return self.usual is UNSET

    @property
    def holds(self) -> type:
        """What its column holds: text, bool, int or float."""
        return str if self.family or self.words else _plain_type(self.type)

    def tell(self, value: Any) -> Any:
        """What tables say of a value."""
        if self.words is not None:
            return self.words[value]
        return str(value) if isinstance(value, Variant) else value


def _plain_type(annotation: Any) -> type:
    """The type of the values, bounds and None left aside."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(_plain_type(one) for one in get_args(annotation) if one is not type(None))
    inner = get_args(annotation)
    found: type = _plain_type(inner[0]) if inner else annotation
    return found


@cache
def axes_of(model: type[BaseModel]) -> tuple[Axis, ...]:
    """The axes among a model's fields, in order; its ``PART`` says what they are axes of."""
    return tuple(_axes(model))


def _axes(model: type[BaseModel]) -> Iterator[Axis]:
    for name, info in model.model_fields.items():
        for axis in info.metadata:
            if isinstance(axis, Axis):
                usual = info.default if axis.usual is UNSET and not info.is_required() else axis.usual
                yield replace(
                    axis,
                    usual=usual,
                    column=axis.column or name,
                    named=axis.named or info.is_required(),
                    always=info.is_required(),
                    name=name,
                    part=getattr(model, "PART"),  # noqa: B009 (a model has none)
                    type=getitem(Annotated, (info.annotation, *info.metadata)),
                )


def said(axes: Iterable[Axis], told: Mapping[str, Any]) -> str:
    """What a label says of a table's values, column → value."""
    return " ".join(
        filter(None, (_said(axis, told[axis.column]) for axis in sorted(axes, key=lambda axis: axis.place)))
    )


def _said(axis: Axis, value: Any) -> str:
    if value is None or (not axis.always and value == axis.tell(axis.usual)):
        return ""
    return axis.say(value) if axis.say else f"{axis.title} {value}"
