"""Raw durations: each epoch of each model, and each batch of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.marks.style import WIDTH, blank, colour, frame_logs, in_order, label, legend, marker, sampler_style


def draw(data: Mapping[str, pd.DataFrame], options: Mapping[str, Any]) -> Figure:
    """Epochs on the left, batches by the number of sampling steps on the right; either may be empty.

    ``epochs``: model, objective, seconds, warm. ``batches``: method, sample_steps, per_1000. ``medians``: the same
    columns. Options: ``methods`` in order.
    """
    epochs, batches = data["epochs"], data["batches"]
    names = in_order(epochs["model"])
    views = [name for name, part in (("epochs", epochs), ("batches", batches)) if len(part)]
    figure = blank(max(2.9, 0.9 + 0.22 * len(names)), WIDTH if len(views) == 2 else 0.72 * WIDTH)
    for ax, view in zip(figure.subplots(1, len(views), squeeze=False)[0], views, strict=True):
        if view == "epochs":
            _epochs(ax, epochs, names)
        else:
            legend(figure, _batches(ax, batches, data["medians"], options["methods"]))
        sns.despine(ax=ax)
    return figure


def _epochs(ax: Axes, epochs: pd.DataFrame, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        part = epochs[epochs["model"] == name]
        shade, shape = colour(part["objective"].iloc[0]), marker(part["objective"].iloc[0])
        for warm, fill in ((True, "full"), (False, "none")):
            seconds = part[part["warm"] == warm]["seconds"]
            ax.plot(seconds, [i] * len(seconds), shape, color=shade, fillstyle=fill, alpha=0.85)
    ax.set_yticks(range(len(names)), [label(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.08 * epochs["seconds"].max())
    ax.set(xlabel="seconds per epoch", title="Training: every epoch (hollow: first)")


def _batches(ax: Axes, batches: pd.DataFrame, medians: pd.DataFrame, methods: Sequence[str]) -> list[Line2D]:
    """Returns the samplers' lines, for the legend."""
    lines: list[Line2D] = []
    for method in methods:
        line, fill = sampler_style(methods, method)
        part, middle = batches[batches["method"] == method], medians[medians["method"] == method]
        if middle.empty:
            continue
        ax.plot(part["sample_steps"], part["per_1000"], "o", color="0.6", markersize=3, fillstyle=fill,
                markeredgewidth=0.7, zorder=2)  # fmt: skip
        lines += ax.plot(middle["sample_steps"], middle["per_1000"], linestyle=line, color="0.15", marker="o",
                         fillstyle=fill, zorder=3, label=label(method))  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="sampling steps (log scale)")
    ax.set(ylabel="seconds per 1,000 images (log scale)", title="Sampling: every batch, and medians")
    frame_logs([ax], batches["sample_steps"], batches["per_1000"], True)
    return lines
