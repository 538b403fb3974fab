"""What training leaves: held-out errors by epoch, and the variational bound's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.marks.style import blank, colour, in_order, label, legend, log_limits, marker, objective_handles

Data = Mapping[str, pd.DataFrame]
Options = Mapping[str, Any]
ERRORS = {"eps_mse": "MSE of ε̂", "x0_mse": "MSE of x̂₀"}


def losses(data: Data, options: Options) -> Figure:
    """Held-out error after each epoch, in ε and in x₀ space, by objective: a column for each schedule.

    Where there is one schedule, the two errors stand side by side instead of one above the other. ``epochs``: panel,
    schedule, objective, seed, epoch, eps_mse, x0_mse. Options: ``objectives`` and ``schedules`` in order.
    """
    frame = data["epochs"]
    panels, schedules = in_order(frame["panel"]), options["schedules"]
    shape = (2 * len(panels), len(schedules)) if len(schedules) > 1 else (len(panels), 2)
    figure = blank(0.6 + 1.4 * shape[0] if shape[0] > 1 else 2.4)
    grid = figure.subplots(*shape, sharex=True, squeeze=False).reshape(len(panels), 2, len(schedules))
    for i, title in enumerate(panels):
        panel = frame[frame["panel"] == title]
        for row, (metric, name) in zip(grid[i], ERRORS.items(), strict=True):
            for ax, schedule in zip(row, schedules, strict=True):
                _loss_curves(ax, panel[panel["schedule"] == schedule], metric, options["objectives"])
                if metric == "eps_mse" or len(schedules) == 1:
                    ax.set_title(_title(schedule, title))
                if frame["epoch"].max() == 1:
                    ax.set_xlim(0.5, 1.5)
                ax.tick_params(labelleft=ax is row[0])
            row[0].set_ylabel(f"{name} (log scale)")
            values = panel[metric][panel[metric] > 0]
            if len(values):
                log_limits(row, values, "y")
    figure.supxlabel("epoch", fontsize=8)
    legend(figure, objective_handles([o for o in options["objectives"] if o in set(frame["objective"])]))
    return figure


def _title(schedule: str, panel: str) -> str:
    return label(f"{schedule}, {panel}" if panel else schedule)


def _loss_curves(ax: Axes, frame: pd.DataFrame, metric: str, objectives: list[str]) -> None:
    for objective in objectives:
        part = frame[frame["objective"] == objective]
        by_epoch = part.groupby("epoch")[metric]
        middle = by_epoch.median()
        ax.plot(middle.index, middle, color=colour(objective), marker=marker(objective))
        if part["seed"].nunique() > 1:
            ax.fill_between(middle.index, by_epoch.min(), by_epoch.max(), color=colour(objective), alpha=0.2)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    sns.despine(ax=ax)


def terms(data: Data, options: Options) -> Figure:
    """The variational bound's terms over t by objective, a column for each schedule.

    ``terms``: panel, schedule, objective, T, t, bits. Options: ``objectives`` and ``schedules`` in order.
    """
    frame = data["terms"]
    panels, schedules = in_order(frame["panel"]), options["schedules"]
    figure = blank(0.7 + (1.9 if len(panels) == 1 else 1.35) * len(panels))
    grid = figure.subplots(len(panels), len(schedules), sharex=True, sharey=True, squeeze=False)
    for row, title in zip(grid, panels, strict=True):
        for ax, schedule in zip(row, schedules, strict=True):
            part = frame[(frame["panel"] == title) & (frame["schedule"] == schedule)]
            for objective in options["objectives"]:
                for _, line in part[part["objective"] == objective].groupby("T"):
                    ax.plot(line["t"], line["bits"], color=colour(objective), lw=0.9)
            ax.set(xscale="log", yscale="log")
            ax.set_title(_title(schedule, title))
            sns.despine(ax=ax)
        row[0].set_ylabel("bits/dim (log scale)")
    figure.supxlabel("t (log scale)", fontsize=8)
    legend(figure, objective_handles([o for o in options["objectives"] if o in set(frame["objective"])]))
    return figure
