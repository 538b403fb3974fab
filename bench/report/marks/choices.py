"""What each choice costs: ratios of FID, and performance profiles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter
from matplotlib.transforms import blended_transform_factory

from bench.report.marks.style import SAMPLER_STYLE, WIDTH, blank, in_order, label, log_ticks

Data = Mapping[str, pd.DataFrame]
Options = Mapping[str, Any]
TINTS = 10
"""Colours of the usual palette; with more levels they would come twice."""
TITLE = 1.3
"""Rows that the title of a choice takes, above its levels: beside them there is no room where they are long."""


def effects(data: Data, options: Options) -> Figure:
    """Ratios of each level of each choice: every matched pair, and the geometric mean.

    ``levels``: choice, level, ratio (NaN for none), reference (whether the others are measured against it);
    ``pairs``: choice, level, ratio.
    """
    levels, pairs = data["levels"], data["pairs"]
    choices = in_order(levels["choice"])
    figure = blank(0.6 + 0.19 * (len(levels) + TITLE * len(choices)))
    ax = figure.add_subplot()
    places = _places(levels)
    for choice in choices:
        first = next(y for (name, _), y in places.items() if name == choice)
        ax.text(-0.01, first - 1, label(choice), transform=blended_transform_factory(ax.transAxes, ax.transData),
                weight="bold", ha="right", va="center")  # fmt: skip
    ax.plot(pairs["ratio"], [places[key] for key in zip(pairs["choice"], pairs["level"], strict=True)], "|",
            color="0.6", markersize=7, zorder=2)  # fmt: skip
    for shape, part in (("D", levels[levels["reference"]]), ("o", levels[~levels["reference"]])):
        y = [places[key] for key in zip(part["choice"], part["level"], strict=True)]
        ax.plot(part["ratio"], y, shape, color=sns.color_palette("colorblind")[0], zorder=3, markersize=5.5)
    ax.set_yticks(list(places.values()), [label(level) for _, level in places])
    ax.set_ylim(max(places.values()) + 0.7, -0.7)
    ratio_axis(ax, options["label"])
    return figure


def _places(levels: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(choice, level) → its height: one below the other, with room for the title of each choice."""
    choices = in_order(levels["choice"])
    keys = zip(levels["choice"], levels["level"], strict=True)
    return {key: i + 1 + TITLE * choices.index(key[0]) for i, key in enumerate(keys)}


def ratio_axis(ax: Axes, title: str) -> None:
    """Make x a logarithmic axis of ratios, with a line where there is no difference."""
    ax.axvline(1, color="0.3", linewidth=0.8)
    ax.set_xscale("log")
    ax.margins(x=0.04)
    log_ticks(ax.xaxis, ax.get_xlim())
    ax.set_xlabel(title)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    sns.despine(ax=ax, left=True)


def profiles(data: Data, options: Options) -> Figure:
    """A panel for each choice: how often each level is near the best one.

    ``shares``: panel, level, factor, share.
    """
    panels = list(data["shares"].groupby("panel", sort=False))
    columns = 3 if len(panels) > 4 else min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = blank((2.3 if lines == 1 else 1.65) * lines + 0.1, WIDTH if columns > 1 else 0.62 * WIDTH)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for i, (ax, (title, panel)) in enumerate(zip(axes, panels, strict=False)):
        _profile(ax, panel)
        ax.set_title(label(title))
        if i % columns == 0:
            ax.set_ylabel("share of settings")
        if i >= len(panels) - columns:
            ax.set_xlabel("FID over the best level's (log scale)")
    return figure


def _profile(ax: Axes, panel: pd.DataFrame) -> None:
    levels = in_order(panel["level"])
    dashes = itertools.cycle(line for line, _ in SAMPLER_STYLE)
    palette = sns.color_palette("colorblind" if len(levels) <= TINTS else "husl", len(levels))
    for level, tint, dash in zip(levels, palette, dashes, strict=False):
        part = panel[panel["level"] == level]
        ax.plot(part["factor"], part["share"], color=tint, linestyle=dash, drawstyle="steps-post", label=label(level))
    ax.set_xscale("log")
    ax.set_xlim(panel["factor"].min(), panel["factor"].max())
    ax.set_ylim(-0.02, 1.03)
    ax.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 3, 5, 10]))
    ax.xaxis.set_major_formatter("× {x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.legend(fontsize=6, ncols=1 + (len(levels) > 6), labelspacing=0.3)
