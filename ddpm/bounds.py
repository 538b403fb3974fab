"""Which numbers an option takes, said once: beside its type, in the signature of its row.

``width: Count = 32`` is an option from 1 to 65,536. :func:`ddpm.spec.chosen` looks at these wherever a row is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple


class Bound(NamedTuple):
    """What a value must be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Bound:
    """The whole numbers from ``least`` to ``most``."""
    return Bound(f"a whole number from {least} to {most}", lambda n: isinstance(n, int) and least <= n <= most)


def number(words: str, holds: Callable[[float], bool]) -> Bound:
    """The finite numbers that ``holds`` is true of; ``words`` come after "a finite number"."""
    return Bound(
        f"a finite number {words}".rstrip(),
        lambda x: isinstance(x, int | float) and -math.inf < x < math.inf and holds(x),
    )


Count = Annotated[int, whole(1, 65_536)]
Natural = Annotated[int, whole(0, 65_536)]
Layers = Annotated[int, whole(0, 1000)]
Components = Annotated[int, whole(1, 10_000)]  # half of the images that ddpm.base fits them to
Halvings = Annotated[int, whole(1, 32)]  # T is at most 1,000,000, which is less than 2^32
Finite = Annotated[float, number("", lambda x: True)]
Positive = Annotated[float, number("above 0", lambda x: x > 0)]
NotNegative = Annotated[float, number("of 0 or more", lambda x: x >= 0)]
Part = Annotated[float, number("above 0 and at most 1", lambda x: 0 < x <= 1)]
Share = Annotated[float, number("between 0 and 1", lambda x: 0 < x < 1)]
Start = Annotated[float, number("from 0 up to 1", lambda x: 0 <= x < 1)]
Scale = Annotated[float, number("from 1e-06 to 1e+06", lambda x: 1e-6 <= x <= 1e6)]  # whose square is a number too
Rho = Annotated[float, number("from 0.1 to 1000", lambda x: 0.1 <= x <= 1000)]  # beyond them its powers overflow
