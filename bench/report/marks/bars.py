"""Bars of shares, with every measurement as a dot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.report.marks.style import blank, in_order, label


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """A bar for each name.

    ``bars``: name, share, own (whether it is what the figure is about; the others are grey). ``dots``: name, share.
    Options: ``label``, and ``bars_to_meet``: share → matplotlib's name of a line.
    """
    bars, dots = data["bars"], data["dots"]
    names = in_order(bars["name"])
    figure = blank(0.6 + 0.21 * len(names))
    ax = figure.add_subplot()
    blue = sns.color_palette("colorblind")[0]
    ax.barh(range(len(names)), bars["share"], color=[blue if own else "0.75" for own in bars["own"]], height=0.68,
            zorder=2)  # fmt: skip
    ax.plot(dots["share"], [names.index(name) for name in dots["name"]], "o", color="0.15", markersize=2.2, zorder=3)
    for share, style in options["bars_to_meet"].items():
        ax.axvline(share, color="0.3", linestyle=style, linewidth=0.9, zorder=4)
    ax.set_yticks(range(len(names)), [label(name) for name in names])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlabel(options["label"])
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return figure
