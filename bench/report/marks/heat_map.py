"""FID by objective and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from bench.report.formats import short
from bench.report.marks.style import WIDTH, blank, in_order, label, log_ticks


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """A row of panels for each kind of model, a column of panels for each view.

    ``cells``: panel, view, objective, schedule, fid, sampling (said below the number; "" for nothing). Options:
    ``objectives`` and ``schedules`` in order, ``range`` of FID.
    """
    cells = data["cells"]
    panels, views = in_order(cells["panel"]), in_order(cells["view"])
    # a panel has the objectives that it has anything of
    seen = {panel: set(cells["objective"][cells["panel"] == panel]) for panel in panels}
    rows_of = [[o for o in options["objectives"] if o in seen[panel]] for panel in panels]
    heights = [0.85 + 0.36 * len(rows) for rows in rows_of]
    figure = blank(sum(heights) + 0.2, WIDTH if len(views) == 2 else 0.62 * WIDTH)
    grid = figure.subplots(len(panels), len(views), squeeze=False, height_ratios=heights)
    longest = max((len(text) for text in cells["sampling"]), default=0)
    size = min(7.0, 7.0 * 44 / (max(1, longest) * max(4, len(options["schedules"]))))  # what fits a cell
    norm = _norm(options["range"])
    for i, (panel, rows) in enumerate(zip(panels, rows_of, strict=True)):
        for j, view in enumerate(views):
            part = cells[(cells["panel"] == panel) & (cells["view"] == view)]
            ax: Axes = grid[i][j]
            _panel(ax, part, rows, options["schedules"], norm, 7.0 if j else size)
            ax.set_title(f"{label(panel)}: {label(view)}" if panel else label(view[0].upper() + view[1:]))
            ax.set(xlabel="schedule" if i == len(panels) - 1 else "", ylabel="objective" if j == 0 else "")
            if j:
                ax.set_yticklabels([])
    _bar(figure, grid, norm)
    return figure


def _norm(limits: tuple[float, float]) -> LogNorm:
    low, high = limits
    return LogNorm(max(low, 1e-6), max(high, low * 1.5, 2e-6))


def _panel(ax: Axes, part: pd.DataFrame, rows: list[str], columns: list[str], norm: LogNorm, size: float) -> None:
    said = zip(part["fid"], part["sampling"], strict=True)
    texts = ["\n".join(filter(None, (short(fid), label(sampling)))) for fid, sampling in said]
    named = part.assign(text=texts)
    table, text = (
        named.pivot_table(index="objective", columns="schedule", values=value, aggfunc="first").reindex(
            index=rows, columns=columns
        )
        for value in ("fid", "text")
    )
    sns.heatmap(table, ax=ax, norm=norm, cmap="mako_r", annot=text.astype(object).fillna("").to_numpy(), fmt="",
                cbar=False, linewidths=1.5, annot_kws={"fontsize": size, "linespacing": 1.25})  # fmt: skip
    ax.grid(visible=False)
    ax.set_facecolor("0.93")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", rotation=0)


def _bar(figure: Figure, grid: Any, norm: LogNorm) -> None:
    bar = figure.colorbar(grid[0][0].collections[0], ax=grid, pad=0.02, aspect=18 * len(grid))
    bar.set_label("FID (log scale)")
    bar.outline.set_visible(False)
    log_ticks(bar.ax.yaxis, (norm.vmin or 1, norm.vmax or 1))
