"""Lines: any series of x and y, in one panel or more side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.marks.style import blank, colour, in_order, label, log_limits

DASHES = ("-", "--", "-.", ":")


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """Each series a line, named beside the panels.

    ``lines``: series, x, y, and panel where there is more than one. Options: ``x`` and ``y`` (titles of the axes); and
    any of ``height`` in inches, ``scale`` ("linear" or "log" for both, or a pair), ``limits`` of x, ``falling`` (x runs
    from right to left), ``marker``, ``objectives`` (series are named after objectives and have their colours),
    ``styles`` (series → matplotlib's words for a line), ``levels`` (height → what a dotted line there is called),
    ``plain`` (ticks that read as numbers on log axes; "measured": those of x where there are points), ``legend``
    ("right" or "above").
    """
    frame = data["lines"]
    panels = list(frame.groupby("panel", sort=False)) if "panel" in frame else [("", frame)]
    figure = blank(options.get("height", 2.9))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    styles = _styles(in_order(frame["series"]), options)
    for ax, (title, panel) in zip(axes, panels, strict=True):
        for series, part in panel.groupby("series", sort=False):
            ax.plot(part["x"], part["y"], label=label(series), **styles[str(series)])
        _axes(ax, panel, options)
        ax.set_title(label(title))
    axes[0].set_ylabel(options["y"])
    handles, names = axes[0].get_legend_handles_labels()
    if options.get("legend") == "above":
        figure.legend(handles, names, loc="outside upper center", ncols=3, handlelength=2.6)
    else:
        figure.legend(handles, names, loc="outside right upper")
    return figure


def _styles(series: Sequence[str], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if "styles" in options:
        return dict(options["styles"])
    points = {"marker": "o", "markersize": 3} if options.get("marker") else {}
    if options.get("objectives"):
        return {
            name: {"color": colour(name), "linestyle": dash} | points
            for name, dash in zip(series, itertools.cycle(DASHES), strict=False)
        }
    return {name: style | points for name, style in zip(series, _told_apart(), strict=False)}


def _told_apart() -> Iterator[dict[str, Any]]:
    """Colours, then the same with other lines, over and over."""
    palette = sns.color_palette("colorblind")[:7]
    every = [{"color": tint, "linestyle": dash} for dash, tint in itertools.product(DASHES, palette)]
    return itertools.cycle(every)


def _axes(ax: Axes, panel: pd.DataFrame, options: Mapping[str, Any]) -> None:
    scale = options.get("scale", "linear")
    x, y = (scale, scale) if isinstance(scale, str) else scale
    ax.set(xlabel=options["x"], xscale=x, yscale=y)
    if "limits" in options:
        ax.set_xlim(*options["limits"])
    if options.get("falling"):
        ax.invert_xaxis()
    levels = options.get("levels", {})
    for height, name in levels.items():
        ax.axhline(height, color="0.3", linestyle=":", linewidth=0.9)
        ax.annotate(name, (1, height), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                    ha="right", fontsize=7, color="0.3")  # fmt: skip
    if options.get("plain"):
        log_limits([ax], [*panel["y"], *levels], "y")
        log_limits([ax], panel["x"], "x", 1.25)
        if options["plain"] == "measured":
            at = sorted(panel["x"].unique())
            ax.set_xticks(at, [f"{x:g}" for x in at])
        sns.despine(ax=ax)
