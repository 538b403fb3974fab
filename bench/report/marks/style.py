"""What all figures share: as wide as an A4 page's text, and told apart without colour."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

WIDTH = 6.77  # inches: A4 less 19 mm on either side
DPI = 200
COLOURS = 256
"""A PNG with so many colours takes a third of the room and looks the same: a plot has few colours besides blends."""
GREY = "0.45"

#: objective → (index into seaborn's colour-blind palette, marker), the same in every figure of every study
OBJECTIVE_STYLE = {
    "previous": (1, "o"),
    "mean": (5, "s"),
    "eps": (0, "D"),
    "x0": (2, "^"),
    "v": (4, "v"),
    "score": (3, "P"),
    "flow": (9, "X"),
    "edm": (8, "p"),
}
#: by the order of the samplers in a study: (line, how much of the marker is filled)
SAMPLER_STYLE = (("-", "full"), ("--", "none"), ("-.", "left"), (":", "top"), ((0, (3, 1, 1, 1, 1, 1)), "right"))

STYLE: Any = {
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 1.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
}


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG that is the same for the same results, its colours rounded to :data:`COLOURS`."""
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white")
    picture = Image.open(drawn, formats=["PNG"]).convert("RGB")
    colours = picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    colours.save(buffer, "PNG", optimize=True, dpi=(DPI, DPI))
    return buffer.getvalue()


def to_pdf(figure: Figure) -> bytes:
    """The figure as a PDF that is the same for the same results; where things stand is as :func:`to_png` left it."""
    buffer = io.BytesIO()
    figure.set_layout_engine("none")
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def blank(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def label(text: object) -> str:
    """Text in which no dollar begins a formula."""
    return str(text).replace("$", r"\$")


def colour(objective: str) -> Any:
    """The objective's colour; names without a row of their own share grey."""
    return sns.color_palette("colorblind")[OBJECTIVE_STYLE.get(objective, (7, "*"))[0]]


def marker(objective: str) -> str:
    """The objective's marker."""
    return OBJECTIVE_STYLE.get(objective, (7, "*"))[1]


def sampler_style(methods: Sequence[str], method: str) -> tuple[Any, Any]:
    """The line and the marker filling of one of a study's samplers."""
    return SAMPLER_STYLE[methods.index(method)]


def in_order(column: pd.Series) -> list[Any]:
    """The different values of a column in the order of their first appearance."""
    return list(column.unique())


# Legends


def objective_handles(objectives: Sequence[str]) -> list[Line2D]:
    """A line for each objective."""
    return [Line2D([], [], color=colour(o), marker=marker(o), linestyle="-", label=label(o)) for o in objectives]


def sampler_handles(methods: Sequence[str], seen: set[str], tints: Mapping[str, Any]) -> list[Line2D]:
    """A line for each sampler that was seen, in its style among all: grey where it has no colour."""
    styles = {method: sampler_style(methods, method) for method in methods if method in seen}
    return [
        Line2D([], [], color=tints.get(method, "0.2"), linestyle=line, marker="o", fillstyle=fill,
               markerfacecoloralt="white", label=label(method))
        for method, (line, fill) in styles.items()
    ]  # fmt: skip


def legend(figure: Figure, handles: list[Line2D]) -> None:
    """The lines' names in a line or two above the panels."""
    columns = _columns(figure, [str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handlelength=2.6, columnspacing=1.4)


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    """As many columns as fit the figure's width, going by the lengths of the labels (inches, at the legend's size)."""
    width = figure.get_size_inches()[0]
    for count in range(len(labels), 1, -1):
        columns = np.array_split([0.55 + 0.056 * len(label) for label in labels], count)
        if sum(column.max() for column in columns) <= width:
            return count
    return 1


# Logarithmic axes

APART = 1.15
"""How many times another a number of steps must be for both to be marked."""


def frame_logs(axes: Sequence[Axes], x: Any, y: Any, steps: bool) -> None:
    """Limits with room to spare, ticks that read as numbers; steps are marked where they were measured."""
    log_limits(axes, y, "y")
    log_limits(axes, x, "x", 1.25)
    for ax in axes:
        if steps:
            values: list[float] = []
            for value in sorted(set(x)):
                if not values or value > APART * values[-1]:
                    values.append(value)
            ax.xaxis.set_major_locator(FixedLocator(values))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
        sns.despine(ax=ax)


def log_limits(axes: Sequence[Axes], values: Any, which: str, room: float = 1.3) -> None:
    """Limits of a log axis (``which``: x or y) a factor ``room`` beyond the values, with ticks that fit."""
    finite = [v for v in values if np.isfinite(v) and v > 0]
    low, high = min(finite) / room, max(finite) * room
    for ax in axes:
        (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)
        log_ticks(ax.xaxis if which == "x" else ax.yaxis, (low, high))


#: up to so many decades → the multiples of powers of ten to mark
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.35, tuple(s / 2 for s in range(2, 20))),
    (0.9, (1, 1.5, 2, 3, 4, 6, 8)),
    (1.6, (1, 2, 5)),
    (2.6, (1, 3)),
    (float("inf"), (1,)),
)


def log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Plain numbers on a log axis, as many as fit its range."""
    decades = np.log10(max(limits) / min(limits))
    subs = next(subs for most, subs in _TICKS if decades <= most)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    if decades <= 2.6:
        axis.set_minor_locator(NullLocator())
