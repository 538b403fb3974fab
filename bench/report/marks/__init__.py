"""How data is drawn with matplotlib: :data:`MARKS` has a row for each kind of figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.report import blocks
from bench.report.marks import bars, choices, curves, durations, heat_map, history, intervals, lines, training
from bench.report.marks.style import STYLE, to_pdf, to_png

MARKS: dict[str, Callable[[Mapping[str, pd.DataFrame], Mapping[str, Any]], Figure]] = {
    "bars": bars.draw,
    "choices": choices.effects,
    "curves": curves.draw,
    "durations": durations.draw,
    "heat map": heat_map.draw,
    "history": history.draw,
    "intervals": intervals.draw,
    "lines": lines.draw,
    "losses": training.losses,
    "profiles": choices.profiles,
    "terms": training.terms,
}
"""A mark's name → what draws a block's data and options; each says what it expects of them."""


class Drawn(NamedTuple):
    """A figure for the screen and for print."""

    png: bytes
    pdf: bytes


def draw(block: blocks.Figure) -> Drawn:
    """The figure, the same for the same data."""
    with rc_context(STYLE):
        figure = MARKS[block.mark](block.data, block.options)
        return Drawn(to_png(figure), to_pdf(figure))
