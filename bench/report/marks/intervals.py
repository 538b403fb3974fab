"""Ratios with their intervals, a few for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.report.marks.choices import ratio_axis
from bench.report.marks.style import blank, in_order, label

SHAPES = ("o", "D", "s", "^")
APART = 0.26
"""How far the intervals of one row stand from one another."""


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """A row for each claim, and in it an interval for each study.

    ``intervals``: claim, study, ratio, low, high (NaN for none). Options: ``label``.
    """
    frame = data["intervals"]
    rows, studies = in_order(frame["claim"]), in_order(frame["study"])
    figure = blank(0.8 + 0.36 * len(rows))
    ax = figure.add_subplot()
    for i, study in enumerate(studies):
        part = frame[frame["study"] == study]
        y = np.array([rows.index(claim) for claim in part["claim"]]) + APART * (i - (len(studies) - 1) / 2)
        reach = np.nan_to_num([part["ratio"] - part["low"], part["high"] - part["ratio"]])
        ax.errorbar(part["ratio"], y, xerr=reach, fmt=SHAPES[i % len(SHAPES)], capsize=2, markersize=4.5,
                    color=sns.color_palette("colorblind")[i], label=label(study), zorder=3)  # fmt: skip
    ax.set_yticks(range(len(rows)), [label(row) for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ratio_axis(ax, options["label"])
    figure.legend(loc="outside upper right", ncols=len(studies))
    return figure
