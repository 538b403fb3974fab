"""How numbers are written in tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.report.blocks import (
    Cell,
    CodeSpan,
    Column,
    Emph,
    Link,
    OneSeed,
    Range,
    Spans,
    Spread,
    Strong,
    WithError,
    words,
)

DASH = "–"
GLUE = "\u00a0"
"""A space at which no line breaks."""


def short(value: float | None) -> str:
    """Three significant digits, thousands with a comma, an en dash for what is not a number."""
    if value is None or not np.isfinite(value):
        return DASH
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def seconds(value: float) -> str:
    """A duration a reader can take in."""
    return f"{short(value)} s" if value < 120 else f"{value / 60:.1f} min"


def count(value: float) -> str:
    """A large number with its prefix: 33.4 M."""
    power = next((p for p in (1e9, 1e6, 1e3) if abs(value) >= p), 1)
    return f"{value / power:.4g} {({1e9: 'G', 1e6: 'M', 1e3: 'k', 1: ''})[power]}".strip()


FORMATS: dict[str, Callable[[Any], str]] = {
    "short": short,
    "plain": lambda value: f"{value:.0f}",
    "whole": lambda value: f"{value:,.0f}",
    "two digits": lambda value: f"{value:.2g}",
    "two decimals": lambda value: f"{value:.2f}",
    "three decimals": lambda value: f"{value:.3f}",
    "five decimals": lambda value: f"{value:.5f}",
    "percent": lambda value: f"{value:.0%}",
    "percent, one decimal": lambda value: f"{value:.1%}",
    "signed percent": lambda value: f"{value:+.0%}",
    "times": lambda value: f"× {short(value)}",
    "fold": lambda value: f"{short(value)}×",
    "seconds": seconds,
    "prefix": count,
}
"""Name → a finite number in words."""


def number(value: float | None, how: str = "short") -> str:
    """A number in a format of :data:`FORMATS`; a dash for what is not a finite number."""
    return DASH if value is None or not np.isfinite(value) else FORMATS[how](value)


def shown(cell: Cell, column: Column) -> Spans:
    """A cell as text with marked parts."""
    if isinstance(cell, tuple):
        return cell
    if isinstance(cell, str | Strong | Emph | CodeSpan | Link):
        return (cell,)
    how = column.format
    if isinstance(cell, Spread):
        return (f"{number(cell.value, how)}{GLUE}({number(cell.low, how)}–{number(cell.high, how)})",)
    if isinstance(cell, OneSeed):
        return (f"{number(cell.value, how)}{GLUE}(1{GLUE}seed)",)
    if isinstance(cell, Range):
        return (f"{number(cell.low, how)}–{number(cell.high, how)}",)
    if isinstance(cell, WithError):
        both = cell.value, cell.error
        return (f"{GLUE}±{GLUE}".join(number(one, how) for one in both) if np.isfinite(cell.value) else DASH,)
    return (number(cell, how),)


def best_marked(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], better: Mapping[int, str], first: int = 0
) -> list[list[Cell]]:
    """The rows with the best number of some columns in bold, all of them where several look the same.

    :param better: a column's place → "lower" or "higher".
    :param first: the first row that takes part.
    """
    marked = [list(row) for row in rows]
    for place, way in better.items():
        values = {i: value for i, row in enumerate(rows[first:], first) if (value := _value(row[place])) is not None}
        if len(values) < 2:
            continue
        best = (min if way == "lower" else max)(values.values())
        same = number(best, columns[place].format)
        for i, value in values.items():
            if number(value, columns[place].format) == same:
                marked[i][place] = Strong(words(shown(rows[i][place], columns[place])))
    return marked


def _value(cell: Cell) -> float | None:
    """The number that a cell is about, if it is about one."""
    if isinstance(cell, Spread | OneSeed | WithError):
        cell = cell.value
    return float(cell) if isinstance(cell, int | float) and np.isfinite(cell) else None


def span_of(values: Sequence[float]) -> Range | float | None:
    """From the lowest to the highest; a single value by itself, nothing where there is none."""
    if len(values) < 2:
        return values[0] if values else None
    return Range(min(values), max(values))
