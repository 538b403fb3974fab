"""The other judges of a metric: columns of the table that hold the same distance in other features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.score import judges


def others(metric: str, rows: Iterable[Mapping[Any, Any]]) -> dict[str, str]:
    """Judge → its column, as ``texture`` → ``fid_texture``, as far as the rows have scores by it.

    A judge that agrees to the last digit is the one that the metric is by.
    """
    seats = {}
    for column in judges.panel(metric):
        pairs = [(row[column], row.get(metric)) for row in rows if row.get(column) is not None]
        if any(score == score and score != own for score, own in pairs):
            seats[column.removeprefix(f"{metric}_").replace("_", " ")] = column
    return seats
