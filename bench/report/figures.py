"""The figures: each a function of the results, as wide as an A4 page's text, told apart without colour."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)
from matplotlib.transforms import blended_transform_factory

from bench.analysis.effects import Effect, pareto
from bench.analysis.frames import MODEL_AXES, Results

WIDTH = 6.77  # inches: A4 less 19 mm on either side
DPI = 200
GREY = "0.45"
SAME_TIME = 0.05
"""Sampling times that differ by less than this share count as equal."""

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
#: how many times the best level's FID: where performance profiles are drawn
FACTORS = np.geomspace(1, 10, 121)

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
    """The figure as a PNG that is the same for the same results."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def colour(objective: str) -> Any:
    """The objective's colour; names without a row of their own share grey."""
    return sns.color_palette("colorblind")[OBJECTIVE_STYLE.get(objective, (7, "*"))[0]]


def marker(objective: str) -> str:
    """The objective's marker."""
    return OBJECTIVE_STYLE.get(objective, (7, "*"))[1]


def sampler_style(results: Results, method: str) -> tuple[Any, Any]:
    """The sampler's line and marker filling."""
    return SAMPLER_STYLE[results.methods.index(method)]


def effect_ratios(groups: Sequence[tuple[str, Sequence[Effect]]]) -> Figure:
    """For each axis, the FID ratio of each level to the best: every matched pair, and the geometric mean."""
    count = sum(len(group) for _, group in groups) + 0.9 * (len(groups) - 1)
    figure = blank(0.7 + 0.23 * count)
    ax = figure.add_subplot()
    y, ticks, labels = 0.0, [], []
    for title, group in groups:
        ax.text(-0.24, y, title, transform=blended_transform_factory(ax.transAxes, ax.transData), weight="bold",
                ha="left", va="center")  # fmt: skip
        for effect in group:
            ticks.append(y)
            labels.append(str(effect.level))
            if effect.ratios and effect.level != effect.best:
                shown = _thinned(effect.ratios)
                ax.plot(shown, [y] * len(shown), "|", color="0.6", markersize=7, zorder=2)
            if effect.ratios:
                is_best = effect.level == effect.best
                ax.plot(effect.ratio, y, "D" if is_best else "o", color=sns.color_palette("colorblind")[0], zorder=3,
                        markersize=5.5)  # fmt: skip
            y += 1
        y += 0.9
    ax.set_yticks(ticks, labels)
    ax.set_ylim(y - 1.2, -0.7)
    ax.axvline(1, color="0.3", linewidth=0.8)
    ax.set_xscale("log")
    ax.margins(x=0.04)
    _log_ticks(ax.xaxis, ax.get_xlim())
    ax.set_xlabel("FID relative to the best level (log scale; 1 = as good)")
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    sns.despine(ax=ax, left=True)
    return figure


def profiles(panels: Sequence[tuple[str, Sequence[Any], np.ndarray]]) -> Figure:
    """A panel an axis, (title, levels, shares over :data:`FACTORS`): how often each is near the best."""
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = blank(2.3 * lines + 0.1, WIDTH if columns == 2 else 0.62 * WIDTH)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for i, (ax, (title, levels, shares)) in enumerate(zip(axes, panels, strict=False)):
        palette = sns.color_palette("colorblind", len(levels))
        dashes = itertools.cycle(line for line, _ in SAMPLER_STYLE)
        for level, share, tint, dash in zip(levels, shares.T, palette, dashes, strict=False):
            ax.plot(FACTORS, share, color=tint, linestyle=dash, drawstyle="steps-post", label=str(level))
        ax.set_title(title)
        ax.set_xscale("log")
        ax.set_xlim(FACTORS[0], FACTORS[-1])
        ax.set_ylim(-0.02, 1.03)
        ax.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 3, 5, 10]))
        ax.xaxis.set_major_formatter("× {x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        if i % columns == 0:
            ax.set_ylabel("share of settings")
        if i >= len(panels) - columns:
            ax.set_xlabel("FID over the best level's (log scale)")
        ax.legend(fontsize=6.5, ncols=1 + (len(levels) > 6))
    return figure


def heat_map(results: Results, fixed: tuple[str, int] | None) -> Figure:
    """FID by objective and schedule: the best sampler and steps of each, and one sampling common to all."""
    frame = results.settings
    panels = _panels(results, frame)
    columns = results.levels("schedule")
    views = 2 if fixed else 1
    # a panel has the objectives that it has anything of
    rows_of = [[o for o in results.levels("objective") if o in set(panel["objective"])] for _, panel in panels]
    heights = [0.85 + 0.36 * len(rows) for rows in rows_of]
    figure = blank(sum(heights) + 0.2, WIDTH if views == 2 else 0.62 * WIDTH)
    grid = figure.subplots(len(panels), views, squeeze=False, height_ratios=heights)
    longest = max(len(_annotation(row, sampling=True).splitlines()[-1]) for _, row in frame.iterrows())
    size = min(7.0, 7.0 * 44 / (longest * max(4, len(columns))))  # what fits a cell
    low, high = frame["fid"].min(), frame["fid"].max()
    norm = LogNorm(max(low, 1e-6), max(high, low * 1.5, 2e-6))
    for i, ((title, panel), rows) in enumerate(zip(panels, rows_of, strict=True)):
        for j in range(views):
            part = panel
            if j == 1 and fixed:
                part = panel[(panel["method"] == fixed[0]) & (panel["sample_steps"] == fixed[1])]
            best = part.drop_duplicates(["objective", "schedule"])  # the frame is sorted by FID
            table = best.pivot_table(index="objective", columns="schedule", values="fid", aggfunc="first")
            table = table.reindex(index=rows, columns=columns)
            label = best.assign(text=[_annotation(r, j == 0) for _, r in best.iterrows()])
            text = label.pivot_table(index="objective", columns="schedule", values="text", aggfunc="first")
            text = text.reindex(index=rows, columns=columns).astype(object).fillna("")
            ax: Axes = grid[i][j]
            sns.heatmap(table, ax=ax, norm=norm, cmap="mako_r", annot=text.to_numpy(), fmt="", cbar=False,
                        linewidths=1.5, annot_kws={"fontsize": 7 if j else size, "linespacing": 1.25})  # fmt: skip
            ax.grid(visible=False)
            ax.set_facecolor("0.93")
            view = f"{fixed[0]}, {fixed[1]} steps" if j and fixed else "best sampler and steps"
            ax.set_title(f"{title}: {view}" if title else view[0].upper() + view[1:])
            ax.set(xlabel="schedule" if i == len(panels) - 1 else "", ylabel="objective" if j == 0 else "")
            ax.tick_params(length=0)
            ax.tick_params(axis="y", rotation=0)
            if j:
                ax.set_yticklabels([])
    bar = figure.colorbar(grid[0][0].collections[0], ax=grid, pad=0.02, aspect=18 * len(panels))
    bar.set_label("FID (log scale)")
    bar.outline.set_visible(False)
    _log_ticks(bar.ax.yaxis, (norm.vmin or 1, norm.vmax or 1))
    return figure


def _thinned(values: Sequence[float], most: int = 1000) -> Sequence[float]:
    """About so many at most, in order, the extremes among them: more marks than that are one smear."""
    if len(values) <= most:
        return values
    ordered = sorted(values)
    return [*ordered[:: len(ordered) // most], ordered[-1]]


def _annotation(row: Any, sampling: bool) -> str:
    fid = short(row["fid"])
    return f"{fid}\n{row['method']} {row['sample_steps']}" if sampling else fid


def against(results: Results, x: str, label: str, front: bool = False) -> Figure:
    """FID against ``x``, both on log scales: a line for each objective and sampler, a panel for each schedule.

    :param front: mark the settings that none beats in both, the same ones in every panel.
    """
    frame = results.settings.dropna(subset=[x])
    best = pareto(frame, x, within=SAME_TIME) if front else frame.iloc[:0]
    frame = frame[frame["method"].isin(results.methods)]
    panels = [
        (f"{schedule}, {title}" if title else str(schedule), schedule, panel[panel["schedule"] == schedule])
        for title, panel in _panels(results, frame)
        for schedule in results.levels("schedule")
        if schedule in set(panel["schedule"])
    ]
    if not front:  # a single number of steps is no curve, and there is a table of all
        curves = [one for one in panels if one[2][x].nunique() > 1]
        panels = curves or panels
        frame = pd.concat([panel for *_, panel in panels]) if panels else frame
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = blank(0.65 + (2.35 if columns < 3 else 2.1) * rows, WIDTH if columns > 1 else 0.72 * WIDTH)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)[: len(panels)]
    for ax in list(grid.flat)[len(panels) :]:
        ax.set_axis_off()
    floor = results.bounds[0]["fid"] if results.bounds and not front else None
    for ax, (title, schedule, panel) in zip(axes, panels, strict=True):
        _curves(ax, results, panel, x)
        if floor:
            ax.axhline(floor, color=GREY, linestyle=(0, (6, 3)), linewidth=1)
        if front:
            ax.plot(best[x], best["fid"], color="0.75", linewidth=5, zorder=1, solid_capstyle="round",
                    marker="o", markersize=5, markeredgewidth=0)  # fmt: skip
            here = best[(best["schedule"] == schedule) & (best.index.isin(panel.index))]
            ax.plot(here[x], here["fid"], "o", markersize=11, markerfacecolor="none", color="0.2",
                    markeredgewidth=0.9, zorder=4)  # fmt: skip
        ax.set_title(title)
        ax.set(xscale="log", yscale="log")
    y = [*frame["low"], *frame["high"], *best["fid"], *([floor] if floor else [])]
    _frame_logs(axes, [*frame[x], *best[x]], y, x in ("sample_steps", "evaluations"))
    figure.supxlabel(label, fontsize=8)
    figure.supylabel("FID (log scale; lower is better)", fontsize=8)
    floor_line = [Line2D([], [], color=GREY, linestyle=(0, (6, 3)), linewidth=1, label="floor: real test images")]
    rings = [Line2D([], [], color="0.75", linewidth=5, marker="o", markersize=10, markerfacecolor="white",
                    markeredgecolor="0.2", markeredgewidth=0.9, label="Pareto front")]  # fmt: skip
    _legend(figure, results, frame, (floor_line if floor else []) + (rings if front else []))
    return figure


def _curves(ax: Axes, results: Results, frame: pd.DataFrame, x: str) -> None:
    for objective in results.levels("objective"):
        for method in results.methods:
            line, fill = sampler_style(results, method)
            part = frame[(frame["objective"] == objective) & (frame["method"] == method)].sort_values(x)
            if part.empty:
                continue
            spread = [part["fid"] - part["low"], part["high"] - part["fid"]] if part["seeds"].max() > 1 else None
            ax.errorbar(part[x], part["fid"], yerr=spread, linestyle=line, color=colour(objective),
                        marker=marker(objective), fillstyle=fill, markerfacecoloralt="white",
                        elinewidth=0.8, zorder=3)  # fmt: skip


def losses(results: Results) -> Figure:
    """Held-out error after each epoch, in ε and in x₀ space, by objective: a column for each schedule.

    Where there is one schedule, the two errors stand side by side instead of one above the other.
    """
    frame = results.epochs
    panels = _panels(results, frame)
    schedules = [s for s in results.levels("schedule") if s in set(frame["schedule"])]
    metrics = {"eps_mse": "MSE of ε̂", "x0_mse": "MSE of x̂₀"}
    shape = (2 * len(panels), len(schedules)) if len(schedules) > 1 else (len(panels), 2)
    figure = blank(0.6 + 1.6 * shape[0] if shape[0] > 1 else 2.6)
    grid = figure.subplots(*shape, sharex=True, squeeze=False).reshape(len(panels), 2, len(schedules))
    for i, (title, panel) in enumerate(panels):
        for row, (metric, name) in zip(grid[i], metrics.items(), strict=True):
            for ax, schedule in zip(row, schedules, strict=True):
                _loss_curves(ax, results, panel[panel["schedule"] == schedule], metric)
                if metric == "eps_mse" or len(schedules) == 1:
                    ax.set_title(f"{schedule}, {title}" if title else schedule)
                ax.tick_params(labelleft=ax is row[0])
            row[0].set_ylabel(f"{name} (log scale)")
            values = panel[metric][panel[metric] > 0]
            if len(values):
                log_limits(row, values, "y")
    figure.supxlabel("epoch", fontsize=8)
    _legend(figure, results, frame, [], samplers=False)
    return figure


def _loss_curves(ax: Axes, results: Results, frame: pd.DataFrame, metric: str) -> None:
    for objective in results.levels("objective"):
        part = frame[frame["objective"] == objective]
        by_epoch = part.groupby("epoch")[metric]
        middle = by_epoch.median()
        ax.plot(middle.index, middle, color=colour(objective), marker=marker(objective))
        if part["seed"].nunique() > 1:
            ax.fill_between(middle.index, by_epoch.min(), by_epoch.max(), color=colour(objective), alpha=0.2)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if results.epochs["epoch"].max() == 1:
        ax.set_xlim(0.5, 1.5)
    sns.despine(ax=ax)


def terms(results: Results) -> Figure:
    """The variational bound's terms over t by objective, a column for each schedule."""
    frame = results.likelihoods
    panels = _panels(results, frame)
    schedules = [s for s in results.levels("schedule") if s in set(frame["schedule"])]
    figure = blank(0.7 + 1.9 * len(panels))
    grid = figure.subplots(len(panels), len(schedules), sharex=True, sharey=True, squeeze=False)
    for row, (title, panel) in zip(grid, panels, strict=True):
        for ax, schedule in zip(row, schedules, strict=True):
            part = panel[panel["schedule"] == schedule]
            for objective in results.levels("objective"):
                lines = [np.asarray(one) for one in part["terms"][part["objective"] == objective]]
                for T in sorted({len(line) for line in lines}):
                    middle = np.median([line for line in lines if len(line) == T], axis=0)
                    ax.plot(np.arange(1, T + 1), middle, color=colour(objective), lw=0.9)
            ax.set(xscale="log", yscale="log")
            ax.set_title(f"{schedule}, {title}" if title else schedule)
            sns.despine(ax=ax)
        row[0].set_ylabel("bits/dim (log scale)")
    figure.supxlabel("t (log scale)", fontsize=8)
    _legend(figure, results, frame, [], samplers=False)
    return figure


def durations(results: Results) -> Figure:
    """Raw durations: each epoch of each model, and each batch of samples by the number of sampling steps."""
    epochs, batches = results.epochs[results.epochs["exclusive"].astype(bool)], results.batches
    views = [name for name, part in (("epochs", epochs), ("batches", batches)) if len(part)]
    models = epochs.assign(model=[results.model(row) for _, row in epochs.iterrows()])
    if models["model"].nunique() > 30:
        models["model"] = [f"{row['net']}, {row['objective']}" for _, row in models.iterrows()]
    names = list(dict.fromkeys(models["model"]))
    figure = blank(max(2.9, 0.9 + 0.22 * len(names)), WIDTH if len(views) == 2 else 0.72 * WIDTH)
    axes = figure.subplots(1, len(views), squeeze=False)[0]
    for ax, view in zip(axes, views, strict=True):
        if view == "epochs":
            for i, name in enumerate(names):
                part = models[models["model"] == name]
                shade, shape = colour(part["objective"].iloc[0]), marker(part["objective"].iloc[0])
                for warm, fill in ((True, "full"), (False, "none")):
                    seconds = part[part["warm"] == warm]["seconds"]
                    ax.plot(seconds, [i] * len(seconds), shape, color=shade, fillstyle=fill, alpha=0.85)
            ax.set_yticks(range(len(names)), names)
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set_xlim(0, 1.08 * epochs["seconds"].max())
            ax.set(xlabel="seconds per epoch", title="Training: every epoch (hollow: first)")
        else:
            for method in results.methods:
                line, fill = sampler_style(results, method)
                by_steps = batches[batches["method"] == method].groupby("sample_steps")["per_1000"]
                middle = by_steps.median()
                if middle.empty:
                    continue
                shown = [(steps, value) for steps, part in by_steps for value in _thinned(list(part), 200)]
                ax.plot(*zip(*shown, strict=True), "o", color="0.6", markersize=3, fillstyle=fill,
                        markeredgewidth=0.7, zorder=2)  # fmt: skip
                ax.plot(middle.index, middle, linestyle=line, color="0.15", marker="o", fillstyle=fill, zorder=3,
                        label=method)  # fmt: skip
            ax.set(xscale="log", yscale="log", xlabel="sampling steps (log scale)")
            ax.set(ylabel="seconds per 1,000 images (log scale)", title="Sampling: every batch, and medians")
            _frame_logs([ax], batches["sample_steps"], batches["per_1000"], True)
            ax.legend(loc="upper left")
        sns.despine(ax=ax)
    return figure


MOST_GALLERY_ROWS, MOST_GALLERY_COLUMNS = 12, 3


def gallery_rows(results: Results) -> list[list[Any]]:
    """Every trained model, None for gaps: columns are objectives, rows everything else about the model.

    One after the other where there are more objectives than have room, or mostly gaps.
    """
    models = results.shown.drop_duplicates(list(MODEL_AXES))
    objectives = results.levels("objective")
    groups = models.groupby([*results.extras, "schedule"], sort=False)
    if 1 < len(objectives) <= MOST_GALLERY_COLUMNS and 2 * len(models) > len(objectives) * len(groups):
        return [[_row_of(part, objective) for objective in objectives] for _, part in groups]
    flat = [row for _, row in models.iterrows()]
    return [flat[i : i + 3] for i in range(0, len(flat), 3)]


def galleries(results: Results, rows: list[list[Any]], rows_a_page: int = 4) -> Iterator[Figure]:
    """Samples of trained models, side by side: of many rows, those with the best cells."""

    def lowest(row: list[Any]) -> float:
        cells = [results.best_of(model) for model in row if model is not None]
        return min((float(cell["fid"]) for cell in cells if cell is not None), default=float("inf"))

    if len(rows) > MOST_GALLERY_ROWS:
        rows = sorted(rows, key=lowest)[:MOST_GALLERY_ROWS]
    columns = max(len(row) for row in rows)
    gap, head = 0.06, 0.36
    side = (WIDTH - gap * (max(columns, 2) - 1)) / max(columns, 2)
    rows_a_page = min(rows_a_page, max(1, int(9.2 / (side + head))))
    for start in range(0, len(rows), rows_a_page):
        page = rows[start : start + rows_a_page]
        width, height = columns * (side + gap) - gap, len(page) * (side + head)
        figure = blank(height, width, layout=None)
        for (i, row), j in itertools.product(enumerate(page), range(columns)):
            if j >= len(row) or row[j] is None:
                continue
            bottom = height - (i + 1) * (side + head)
            ax = figure.add_axes((j * (side + gap) / width, bottom / height, side / width, side / height))
            _gallery_panel(ax, results, row[j])
        yield figure


def _gallery_panel(ax: Axes, results: Results, model: Any) -> None:
    """One model's samples, with its name and how the best of its cells scores."""
    best = results.best_of(model)
    path = None if best is None else results.preview(best["key"])
    ax.set_axis_off()
    above: Any = {"xy": (0.5, 1), "xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
    ax.annotate(results.model(model), xytext=(0, 13), weight="bold", **above)
    if best is None or path is None:
        text = "not scored" if best is None else "no picture kept"
        ax.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=ax.transAxes)
        return
    ax.imshow(imread(path), cmap="gray", vmin=0, vmax=1)
    score = f"{best['method']} {best['sample_steps']}: FID {short(best['fid'])}, conf. {best['confidence']:.3f}"
    ax.annotate(score, xytext=(0, 4), fontsize=7, **above)


def _row_of(frame: pd.DataFrame, objective: str) -> Any:
    part = frame[frame["objective"] == objective]
    return None if part.empty else part.iloc[0]


def strip(picture: np.ndarray, times: Sequence[int], images: int = 2) -> Figure:
    """A denoising strip: for each image a row of x_t above a row of x̂₀, a column for each time."""
    columns = len(times)
    cell = picture.shape[1] // columns
    images = min(images, picture.shape[0] // (2 * cell))
    left, top, side, gap = 0.42, 0.34, (WIDTH - 0.45) / max(columns, 6), 0.09
    height = images * (2 * side + gap) + top
    figure = blank(height, left + side * columns + 0.03, layout=None)
    width = left + side * columns + 0.03
    for i in range(images):
        ax = figure.add_axes((
            left / width, 1 - (top + i * (2 * side + gap) + 2 * side) / height,
            side * columns / width, 2 * side / height,
        ))  # fmt: skip
        ax.imshow(picture[2 * i * cell : 2 * (i + 1) * cell], cmap="gray", vmin=0, vmax=1, aspect="auto")
        ax.set_yticks([cell / 2 - 0.5, 1.5 * cell - 0.5], ["$x_t$", r"$\hat{x}_0$"])
        ax.set_xticks([(c + 0.5) * cell - 0.5 for c in range(columns)], [f"t = {t}" for t in times] if i == 0 else [])
        ax.tick_params(length=0, labelsize=7.5, top=False, labeltop=True, labelbottom=False)
        ax.axhline(cell - 0.5, color="0.5", linewidth=0.6)
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def short(value: float) -> str:
    """Three significant digits, thousands with a comma, an en dash for what is not a number."""
    if value is None or not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:#.3g}".rstrip(".") if value else "0"


def blank(height: float, width: float = WIDTH, layout: Any = "constrained") -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _panels(results: Results, frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The frame split by whatever else varies about the models."""
    if not results.extras:
        return [("", frame)]
    groups = frame.groupby(results.extras, sort=False)
    panels = {results.panel(part.iloc[0]): part for _, part in groups}
    return [(title, panels[title]) for title in results.panels if title in panels]


def _legend(figure: Figure, results: Results, frame: pd.DataFrame, more: list[Line2D], samplers: bool = True) -> None:
    """Objectives, samplers and whatever else, in a line or two above the panels."""
    handles = [
        Line2D([], [], color=colour(o), marker=marker(o), linestyle="-", label=o)
        for o in results.levels("objective")
        if o in set(frame["objective"])
    ]
    for method in results.methods if samplers else ():
        line, fill = sampler_style(results, method)
        if method in set(frame["method"]):
            handles.append(Line2D([], [], color="0.2", linestyle=line, marker="o", fillstyle=fill,
                                  markerfacecoloralt="white", label=method))  # fmt: skip
    shown = handles + more
    columns = _columns(figure, [str(handle.get_label()) for handle in shown])
    figure.legend(handles=shown, loc="outside upper center", ncols=columns, handlelength=2.6, columnspacing=1.4)


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    """As many columns as fit the figure's width, going by the lengths of the labels (inches, at the legend's size)."""
    width = figure.get_size_inches()[0]
    for count in range(len(labels), 1, -1):
        columns = np.array_split([0.55 + 0.056 * len(label) for label in labels], count)
        if sum(column.max() for column in columns) <= width:
            return count
    return 1


APART = 1.15
"""How many times another a number of steps must be for both to be marked."""


def _frame_logs(axes: Sequence[Axes], x: Any, y: Any, steps: bool) -> None:
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
        _log_ticks(ax.xaxis if which == "x" else ax.yaxis, (low, high))


#: up to so many decades → the multiples of powers of ten to mark
_TICKS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.35, tuple(s / 2 for s in range(2, 20))),
    (0.9, (1, 1.5, 2, 3, 4, 6, 8)),
    (1.6, (1, 2, 5)),
    (2.6, (1, 3)),
    (float("inf"), (1,)),
)


def _log_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Plain numbers on a log axis, as many as fit its range."""
    decades = np.log10(max(limits) / min(limits))
    subs = next(subs for most, subs in _TICKS if decades <= most)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    if decades <= 2.6:
        axis.set_minor_locator(NullLocator())
