"""FID against the number of steps or the time, by objective, sampler and schedule."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.marks.style import (
    GREY,
    WIDTH,
    blank,
    colour,
    frame_logs,
    in_order,
    label,
    legend,
    marker,
    objective_handles,
    sampler_handles,
    sampler_style,
)

DASHES: Any = (0, (6, 3))
TITLE = {1: 60, 2: 42, 3: 27}
"""Panels side by side → the letters of a title that fit above one."""


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """FID against x, both on log scales: a line for each objective and sampler, a panel for each schedule.

    Colours are those of objectives. Where there is one, they are the samplers'.

    ``points``: panel, objective, method, x, fid, low, high, seeds. ``front`` (none, or settings that none beats, drawn
    in every panel and circled in their own): panel, x, fid. Options: ``label`` of x, ``objectives`` and ``methods`` in
    order, ``floor`` or None, ``ticks`` (whether x is marked where it was measured).
    """
    points, front, floor = data["points"], data["front"], options["floor"]
    panels = list(points.groupby("panel", sort=False))
    tints = _tints(points, options["methods"])
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = blank(0.65 + (2.35 if columns < 3 else 2.1) * rows, WIDTH if columns > 1 else 0.72 * WIDTH)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)[: len(panels)]
    for ax in list(grid.flat)[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, panel) in zip(axes, panels, strict=True):
        _lines(ax, panel, options, tints)
        if floor:
            ax.axhline(floor, color=GREY, linestyle=DASHES, linewidth=1)
        if len(front):
            _front(ax, front, front[front["panel"] == title])
        ax.set_title(textwrap.fill(label(title), TITLE[columns], break_long_words=False))
        ax.set(xscale="log", yscale="log")
    y = [*points["low"], *points["high"], *front["fid"], *([floor] if floor else [])]
    frame_logs(axes, [*points["x"], *front["x"]], y, options["ticks"])
    figure.supxlabel(options["label"], fontsize=8)
    figure.supylabel("FID (log scale; lower is better)", fontsize=8)
    legend(figure, [*_handles(points, options, tints), *_more(bool(floor), len(front) > 0)])
    return figure


def _tints(points: pd.DataFrame, methods: Sequence[str]) -> dict[str, Any]:
    """Sampler → its colour, where there is one objective and several samplers; else none."""
    if points["objective"].nunique() > 1 or points["method"].nunique() < 2:
        return {}
    return dict(zip(methods, sns.color_palette("colorblind", len(methods)), strict=True))


def _lines(ax: Axes, frame: pd.DataFrame, options: Mapping[str, Any], tints: Mapping[str, Any]) -> None:
    for objective in options["objectives"]:
        for method in options["methods"]:
            line, fill = sampler_style(options["methods"], method)
            part = frame[(frame["objective"] == objective) & (frame["method"] == method)].sort_values("x")
            if part.empty:
                continue
            spread = [part["fid"] - part["low"], part["high"] - part["fid"]] if part["seeds"].max() > 1 else None
            ax.errorbar(part["x"], part["fid"], yerr=spread, linestyle=line,
                        color=tints.get(method) or colour(objective),
                        marker="o" if tints else marker(objective), fillstyle=fill, markerfacecoloralt="white",
                        elinewidth=0.8, zorder=3)  # fmt: skip


def _front(ax: Axes, front: pd.DataFrame, here: pd.DataFrame) -> None:
    ax.plot(front["x"], front["fid"], color="0.75", linewidth=5, zorder=1, solid_capstyle="round",
            marker="o", markersize=5, markeredgewidth=0)  # fmt: skip
    ax.plot(here["x"], here["fid"], "o", markersize=11, markerfacecolor="none", color="0.2",
            markeredgewidth=0.9, zorder=4)  # fmt: skip


def _handles(points: pd.DataFrame, options: Mapping[str, Any], tints: Mapping[str, Any]) -> list[Line2D]:
    seen = set(in_order(points["objective"]))
    objectives = [one for one in options["objectives"] if one in seen]
    samplers = sampler_handles(options["methods"], set(points["method"]), tints)
    return samplers if tints else objective_handles(objectives) + samplers


def _more(floor: bool, front: bool) -> list[Line2D]:
    line = Line2D([], [], color=GREY, linestyle=DASHES, linewidth=1, label="floor: real test images")
    ring = Line2D([], [], color="0.75", linewidth=5, marker="o", markersize=10, markerfacecolor="white",
                  markeredgecolor="0.2", markeredgewidth=0.9, label="Pareto front")  # fmt: skip
    return [line] * floor + [ring] * front
