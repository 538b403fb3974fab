"""The page of what follows from the formulas alone: ``ddpm-bench theory``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes

from bench.report import figures
from bench.report.document import Pictures, escape, grid, listing, paragraphs
from bench.report.figures import short
from bench.theory import numbers as theory
from ddpm.schedule import RESIDUAL_SIGNAL

COUNTS = (10, 100, 200, 500, 1000)
STEPS = (5, 10, 20, 50, 100, 250)
LINES = ("-", "--", "-.", ":")
DEEP = -10.0
"""log₁₀ SNR below which a curve is cut off: an SNR of zero has no logarithm."""


def compose(dataset: str, moments: tuple[float, float], schedules: Sequence[str], T: int, pictures: Pictures) -> str:
    """The whole Markdown; fills ``pictures`` with what it refers to.

    :param moments: mean and standard deviation of the data set's pixels, in [−1, 1].
    :param schedules: the ones to show; the first is the one that weights are shown on.
    """
    head = (
        "# ddpm-bench: what the formulas say alone\n\n"
        f"Computed, not trained: T = {T:,}, pixels of {escape(dataset)} (mean {moments[0]:.4f}, standard deviation "
        f"{moments[1]:.4f}). Every number is exact to float64 rounding and comes from the tables that training and "
        "sampling use."
    )
    with rc_context(figures.STYLE):
        parts = [
            head,
            _schedules(schedules, T, pictures),
            _counts(schedules, moments),
            _weights(schedules[0], T, pictures),
            _conditioning(schedules, T, pictures),
            _samplers(schedules, T, pictures),
        ]
    return "\n\n".join(parts) + "\n"


def _schedules(schedules: Sequence[str], T: int, pictures: Pictures) -> str:
    curves = theory.snr_curves(schedules, T)
    figure = figures.blank(2.9)
    ax = figure.add_subplot()
    for style, (name, curve) in zip(_styles(), curves.items(), strict=False):
        u = np.arange(1, T + 1) / T
        ax.plot(u, curve.numpy().clip(min=DEEP), label=name, **style)
    ax.set(xlabel="t / T", ylabel="log₁₀ SNR", xlim=(0, 1))
    ax.axhline(0, color=figures.GREY, linewidth=0.8, linestyle=":")
    figure.legend(loc="outside right upper")
    shown = pictures.figure(
        "snr",
        figure,
        "The signal-to-noise ratio α_t²/σ_t² over time; at the dotted line signal and noise are equal. A schedule is "
        "nothing else: two with the same curve are the same up to relabelling t",
    )
    absent = [name for name in schedules if name not in curves]
    return paragraphs(
        "## Schedules",
        "A schedule decides how much of the training is spent at each SNR, and where the sampler's steps lie.",
        shown,
        f"Not defined at this T: {listing(absent)}." if absent else "",
    )


def _counts(schedules: Sequence[str], moments: tuple[float, float]) -> str:
    rows = theory.step_counts(schedules, COUNTS, *moments)
    table = []
    for name, group in itertools.groupby(rows, lambda row: row["schedule"]):
        cells = [
            "–" if row["left"] is None else f"{row['left']:.2g} ({row['bits']:.2g})" for row in group
        ]  # fmt: skip
        table.append([escape(name), *cells])
    confounded = [row for row in rows if row["left"] is not None and row["left"] > RESIDUAL_SIGNAL]
    worst = max(confounded, key=lambda row: row["left"], default=None)
    note = (
        f"Where more than a thousandth is left, sampling starts from noise that training never showed: at worst here "
        f"{escape(worst['schedule'])} with T = {worst['T']}, which leaves {worst['left']:.1%}. Comparing numbers of "
        "diffusion steps with such a schedule compares how much signal is left as well, and the two cannot be told "
        "apart."
        if worst
        else "No schedule leaves more than a thousandth."
    )
    return paragraphs(
        "## How many diffusion steps?",
        "What is left of the image's variance in x_T, ᾱ_T, and in brackets the prior term L_T of the variational bound "
        "that this costs, in bits a dimension; – where the schedule does not exist.",
        grid(["<schedule", *(f"T = {T}" for T in COUNTS)], table),
        note,
    )


def _weights(schedule: str, T: int, pictures: Pictures) -> str:
    curves = theory.weights_in_x0(schedule, T)
    log_snr = theory.snr_curves([schedule], T)[schedule].numpy()
    figure = figures.blank(3.2)
    ax = figure.add_subplot()
    for style, (name, curve) in zip(_styles(), curves.items(), strict=False):
        seen = curve.numpy() > 0
        ax.plot(log_snr[seen], np.log10(curve.numpy()[seen]), label=name, **style)
    ax.set(xlabel="log₁₀ SNR", ylabel="log₁₀ weight on |x̂₀ − x₀|²")
    ax.invert_xaxis()
    figure.legend(loc="outside right upper")
    return paragraphs(
        "## Loss weights",
        "An objective's squared error is (D/σ_t)² times that of x̂₀, so that every objective and weight is one weight "
        "on |x̂₀ − x₀|². With weight 1, predicting ε weighs by SNR, v by SNR + 1, x₀ by 1: they differ in little else.",
        pictures.figure(
            "weights",
            figure,
            f"The factor on |x̂₀ − x₀|² at each SNR, on the {escape(schedule)} schedule, as a multiple of its value at "
            "SNR = 1. Noise grows to the right",
        ),
    )


def _conditioning(schedules: Sequence[str], T: int, pictures: Pictures) -> str:
    rows = theory.conditioning(schedules, T)
    table = []
    for name, group in itertools.groupby(rows, lambda row: row["schedule"]):
        cells = [short(row["largest"]) if row["possible"] else "impossible" for row in group]
        table.append([escape(name), *cells])
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    first = [row for row in rows if row["schedule"] == rows[0]["schedule"]]
    figure = figures.blank(2.7)
    ax = figure.add_subplot()
    u = np.arange(1, T + 1) / T
    for line, row in zip(itertools.cycle(LINES), first, strict=False):
        name = row["objective"]
        ax.plot(u, row["gain"].numpy(), label=name, color=figures.colour(name), linestyle=line)
    ax.set(xlabel="t / T", ylabel="|σ_t / D|", xlim=(0, 1), yscale="log")
    figure.legend(loc="outside right upper")
    return paragraphs(
        "## Conditioning",
        "|σ_t/D| is how many times an error of the network's output is magnified in x̂₀. The table has its largest "
        "value over t. A cell is impossible where it is infinite, or so large that float32 rounding alone moves x̂₀.",
        pictures.figure(
            "conditioning",
            figure,
            f"|σ_t/D| of each objective on the {escape(rows[0]['schedule'])} schedule. Low is good; ε is badly "
            "conditioned where there is little signal, the posterior's mean throughout, as it hardly differs from x_t",
        ),
        grid(["<schedule", *map(escape, objectives)], table),
    )


def _samplers(schedules: Sequence[str], T: int, pictures: Pictures) -> str:
    steps = [count for count in STEPS if count <= T]
    curves = theory.snr_curves(schedules, T)
    first = next(iter(curves))
    others = [name for name, curve in curves.items() if not curve.allclose(curves[first])]
    names = [first, *(["cosine"] if "cosine" in others else others)[:1]]
    figure = figures.blank(3.0)
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    tables = []
    for ax, schedule in zip(axes, names, strict=True):
        rows = theory.sampler_errors(schedule, T, steps)
        _errors(ax, rows, schedule)
        tables.append(_error_table(schedule, rows, steps))
    axes[0].set_ylabel("error of the variance")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    shown = pictures.figure(
        "samplers",
        figure,
        "How far the variance of a sampler's output is from the data's, for Gaussian data with its exact denoiser: "
        "the sampler's own error and nothing else. Parallel lines are methods of one order; euler is DDIM",
    )
    return paragraphs(
        "## Samplers",
        "For data N(0, ¼) the best denoiser is known and linear, so what each sampler draws is Gaussian, its variance "
        "computed exactly: no network, no clipping, no luck.",
        shown,
        *tables,
        "The last step, to the clean image, is of first order for every method, and it ends at the data only as far as "
        "t = 1 is near it: with many steps that is what is left of the error.",
    )


def _errors(ax: Axes, rows: Sequence[dict[str, Any]], schedule: str) -> None:
    for style, (name, group) in zip(_styles(), itertools.groupby(rows, lambda row: row["sampler"]), strict=False):
        part = list(group)
        error = [abs(row["variance"] / theory.VARIANCE - 1) for row in part]
        ax.plot([row["evaluations"] for row in part], error, marker="o", markersize=3, label=name, **style)
    ax.set(xscale="log", yscale="log", xlabel="network evaluations", title=schedule)


def _error_table(schedule: str, rows: Sequence[dict[str, Any]], steps: Sequence[int]) -> str:
    table = [
        [escape(name), *(f"{row['variance']:.5f}" for row in group)]
        for name, group in itertools.groupby(rows, lambda row: row["sampler"])
    ]
    return paragraphs(
        f"Variance on the {escape(schedule)} schedule; the data's is {theory.VARIANCE}:",
        grid(["<sampler", *(f"S = {count}" for count in steps)], table),
    )


def _styles() -> Any:
    """Colours, then the same with other lines."""
    palette = sns.color_palette("colorblind")[:7]
    return ({"color": colour, "linestyle": line} for line, colour in itertools.product(LINES, palette))
