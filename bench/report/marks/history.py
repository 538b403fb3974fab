"""Quantities over the runs of a study, with the places where they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.marks.style import blank, in_order, label, log_limits


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """A panel for each quantity, one below the other.

    ``runs``: title, place, value. ``means``: title, start, stop, mean (between two changes). No options.
    """
    runs, means = data["runs"], data["means"]
    titles = in_order(runs["title"])
    figure = blank(0.35 + 1.3 * len(titles))
    axes = figure.subplots(len(titles), 1, sharex=True, squeeze=False)[:, 0]
    blue, orange, *_ = sns.color_palette("colorblind")
    for ax, title in zip(axes, titles, strict=True):
        part, flat = runs[runs["title"] == title], means[means["title"] == title]
        ax.set(yscale="log", autoscaley_on=False)  # matplotlib warns of values that differ by rounding alone
        ax.plot(part["place"], part["value"], "o-", color=blue, linewidth=0.8, markersize=3)
        for i, (_, row) in enumerate(flat.iterrows()):
            ax.plot([row["start"], row["stop"]], [row["mean"]] * 2, color=orange, linewidth=2.2)
            if i:
                ax.axvline(row["start"] - 0.5, color="0.3", linestyle="--", linewidth=0.9)
        log_limits([ax], part["value"], "y", 1.1)
        ax.set_title(label(title), loc="left")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        sns.despine(ax=ax)
    axes[-1].set_xlabel("run")
    return figure
