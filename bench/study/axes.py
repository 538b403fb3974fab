"""The axes of a study, collected from the fields that state them (:mod:`bench.study.model`)."""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, create_model, model_validator

from bench.errors import UserError
from bench.rows import known
from bench.study.axis import Axis, axes_of
from bench.study.model import Job, Sampling, StrictModel
from bench.study.wrong import wrong
from ddpm.spec import Variant

AXES: tuple[Axis, ...] = (*axes_of(Job), *axes_of(Sampling))
"""Every axis, in the order in which a grid is gone through: the last varies fastest."""
LISTED = tuple(axis for axis in AXES if axis.listed)
"""Those that are lists under ``axes:``."""


class _Lists(StrictModel):
    @model_validator(mode="after")
    def _no_repeats(self) -> _Lists:
        for name, values in self:
            if not values:
                raise wrong(f"axis '{name}' is empty", "axes", name)
            seen = set()
            for value in values:
                if value in seen:
                    raise wrong(f"axis '{name}' lists {value} twice: duplicate cells", "axes", name)
                seen.add(value)
        return self


def _existing(axis: Axis) -> Any:
    """The type of a value on the axis, which must be there now; a record's may be of a package that is not."""

    def check(value: Variant) -> Variant:
        try:
            known(str(axis.family), value.name)
        except UserError as error:
            raise wrong(str(error)) from error
        return value

    return getitem(Annotated, (axis.type, AfterValidator(check))) if axis.family else axis.type


if TYPE_CHECKING:

    class Axes(StrictModel):
        """The lists whose product is the grid, a field for each of :data:`LISTED`."""

        def __getattr__(self, name: str) -> list[Any]: ...

else:
    Axes = create_model(
        "Axes",
        __base__=_Lists,
        __doc__="The lists whose product is the grid, a field for each of :data:`LISTED`.",
        **{axis.name: (list[_existing(axis)], ... if axis.required else [axis.usual]) for axis in LISTED},
    )
