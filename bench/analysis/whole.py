"""The largest whole block of a table with holes: rows that all have the same columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

R = TypeVar("R")
C = TypeVar("C")
MOST = 500
"""Sets of columns that are kept while looking: there are as many as that only where holes have no order at all."""


def block(have: Mapping[R, Iterable[C]], worth: Callable[[Sequence[R], Sequence[C]], Any]) -> tuple[list[R], list[C]]:
    """Rows and columns, so that each of these rows has each of these columns; nothing where there is nothing.

    The block is chosen by what is there and never by a value, so that the choice favours no result.

    :param have: the columns that each row has.
    :param worth: rows and columns → what the block is worth; the highest is taken.
    """
    columns = sorted({column for own in have.values() for column in own}, key=repr)
    bit = {column: 1 << i for i, column in enumerate(columns)}
    masks = {row: sum(bit[column] for column in set(own)) for row, own in have.items()}
    found: set[int] = set()
    for mask in sorted(set(masks.values()), key=_larger_first):
        found |= {mask} | {mask & other for other in found}
        found = set(sorted(found - {0}, key=_larger_first)[:MOST])
    blocks = [
        ([row for row, own in masks.items() if mask & own == mask], [one for one in columns if bit[one] & mask])
        for mask in sorted(found)
    ]
    return max(blocks, key=lambda one: worth(*one), default=([], []))


def _larger_first(mask: int) -> tuple[int, int]:
    return -mask.bit_count(), mask
