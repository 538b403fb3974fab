"""The page of what follows from the formulas alone: ``ddpm-bench theory``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.report.blocks import Block, Column, Figure, heading, table, text
from bench.report.sections.common import numbers
from bench.text import listing
from bench.theory import numbers as theory
from ddpm.schedule import RESIDUAL_SIGNAL

COUNTS = (10, 100, 200, 500, 1000)
STEPS = (5, 10, 20, 50, 100, 250)
DEEP = -10.0
"""log₁₀ SNR below which a curve is cut off: an SNR of zero has no logarithm."""


def compose(dataset: str, moments: tuple[float, float], schedules: Sequence[str], T: int) -> Iterator[Block]:
    """The page's blocks.

    :param moments: mean and standard deviation of the data set's pixels, in [−1, 1].
    :param schedules: the ones to show; the first is the one that weights are shown on.
    """
    yield heading(1, "ddpm-bench: what the formulas say alone")
    yield text(
        f"Computed, not trained: T = {T:,}, pixels of {dataset} (mean {moments[0]:.4f}, standard deviation "
        f"{moments[1]:.4f}). Every number is exact to float64 rounding. It comes from the tables that training and "
        "sampling use."
    )
    yield from _schedules(schedules, T)
    yield from _counts(schedules, moments)
    yield from _weights(schedules[0], T)
    yield from _conditioning(schedules, T)
    yield from _samplers(schedules, T)


def _lines(curves: Mapping[str, Any], x: Any, **more: Any) -> pd.DataFrame:
    """Curves over one x, as the mark "lines" draws them."""
    return pd.concat([pd.DataFrame({"series": name, "x": x, "y": y} | more) for name, y in curves.items()])


def _schedules(schedules: Sequence[str], T: int) -> Iterator[Block]:
    curves = theory.snr_curves(schedules, T)
    yield heading(2, "Schedules")
    yield text("A schedule decides how much training is spent at each SNR, and where the sampler's steps lie.")
    yield Figure(
        name="snr",
        mark="lines",
        data={"lines": _lines({k: v.numpy().clip(min=DEEP) for k, v in curves.items()}, np.arange(1, T + 1) / T)},
        caption=(
            "The signal-to-noise ratio α_t²/σ_t² over time. At the dotted line signal and noise are equal. Two "
            "schedules with the same curve differ only in how t is named.",
        ),
        alt="The signal-to-noise ratio of each schedule over time",
        options={"x": "t / T", "y": "log₁₀ SNR", "limits": (0, 1), "levels": {0: ""}},
    )
    absent = [name for name in schedules if name not in curves]
    if absent:
        yield text(f"Not defined at this T: {listing(absent)}.")


def _counts(schedules: Sequence[str], moments: tuple[float, float]) -> Iterator[Block]:
    rows = theory.step_counts(schedules, COUNTS, *moments)
    cells = [
        [name, *("–" if row["left"] is None else f"{row['left']:.2g} ({row['bits']:.2g})" for row in group)]
        for name, group in itertools.groupby(rows, lambda row: row["schedule"])
    ]
    yield heading(2, "How many diffusion steps?")
    yield text(
        "The share of the image's variance that is left in x_T (ᾱ_T). In brackets is the prior term L_T of the "
        "variational bound that this costs, in bits a dimension. A dash means that the schedule does not exist there."
    )
    yield table([Column("schedule", "left"), *numbers(*(f"T = {T}" for T in COUNTS))], cells)
    confounded = [row for row in rows if row["left"] is not None and row["left"] > RESIDUAL_SIGNAL]
    worst = max(confounded, key=lambda row: row["left"], default=None)
    if worst is None:
        yield text("No schedule leaves more than a thousandth.")
        return
    yield text(
        "Where more than a thousandth is left, sampling starts from pure noise, but in training x_T still held some of "
        "the image. The largest "
        f"share here is {worst['left']:.1%}, by {worst['schedule']} with T = {worst['T']}. With such a schedule, two "
        "numbers of diffusion steps also differ in how much signal is left. The two effects cannot be told apart."
    )


def _weights(schedule: str, T: int) -> Iterator[Block]:
    log_snr = theory.snr_curves([schedule], T)[schedule].numpy()
    curves = {name: curve.numpy() for name, curve in theory.weights_in_x0(schedule, T).items()}
    parts = [
        pd.DataFrame({"series": name, "x": log_snr[curve > 0], "y": np.log10(curve[curve > 0])})
        for name, curve in curves.items()
    ]
    yield heading(2, "Loss weights")
    yield text(
        "The squared error of an objective is (D/σ_t)² times that of x̂₀. D says how x₀ and ε mix in the target "
        "(docs/algebra.md). So every objective and weight is one weight "
        "on |x̂₀ − x₀|². With weight 1, the weight is SNR for ε, SNR + 1 for v, and 1 for x₀. These objectives differ "
        "in little else."
    )
    yield Figure(
        name="weights",
        mark="lines",
        data={"lines": pd.concat(parts)},
        caption=(
            f"The factor on |x̂₀ − x₀|² at each SNR, on the {schedule} schedule, as a multiple of its value at SNR = 1. "
            "Noise grows to the right.",
        ),
        alt="The weight of each objective on the error of x̂₀ at each SNR",
        options={"x": "log₁₀ SNR", "y": "log₁₀ weight on |x̂₀ − x₀|²", "height": 3.2, "falling": True},
    )


def _conditioning(schedules: Sequence[str], T: int) -> Iterator[Block]:
    rows = theory.conditioning(schedules, T)
    cells = [
        [name, *(float(row["largest"]) if row["possible"] else "impossible" for row in group)]
        for name, group in itertools.groupby(rows, lambda row: row["schedule"])
    ]
    first = rows[0]["schedule"]
    gains = {row["objective"]: row["gain"].numpy() for row in rows if row["schedule"] == first}
    yield heading(2, "Conditioning")
    yield text(
        "|σ_t/D| says how many times an error of the network's output is magnified in x̂₀. The table has its largest "
        "value over t. A cell is impossible where the value is infinite, or so large that float32 rounding alone moves "
        "x̂₀."
    )
    yield Figure(
        name="conditioning",
        mark="lines",
        data={"lines": _lines(gains, np.arange(1, T + 1) / T)},
        caption=(
            f"|σ_t/D| of each objective on the {first} schedule. Low is good. ε is badly conditioned where there is "
            "little signal. The posterior's mean is badly conditioned everywhere, because it hardly differs from x_t.",
        ),
        alt="The conditioning of each objective over time",
        options={
            "x": "t / T", "y": "|σ_t / D|", "height": 2.7, "limits": (0, 1), "scale": ("linear", "log"),
            "objectives": True,
        },
    )  # fmt: skip
    yield table([Column("schedule", "left"), *numbers(*dict.fromkeys(row["objective"] for row in rows))], cells)


def _samplers(schedules: Sequence[str], T: int) -> Iterator[Block]:
    steps = [count for count in STEPS if count <= T] or [T]
    curves = theory.snr_curves(schedules, T)
    first = next(iter(curves))
    others = [name for name, curve in curves.items() if not curve.allclose(curves[first])]
    names = [first, *(["cosine"] if "cosine" in others else others)[:1]]
    errors = {schedule: theory.sampler_errors(schedule, T, steps) for schedule in names}
    yield heading(2, "Samplers")
    yield text(
        "For data N(0, ¼) the best denoiser is known and linear. So what each sampler draws is Gaussian, and its "
        "variance is computed exactly. There is no network, no clipping and no chance in it."
    )
    points = [
        {"panel": schedule, "series": row["sampler"], "x": row["evaluations"],
         "y": abs(row["variance"] / theory.VARIANCE - 1)}
        for schedule, rows in errors.items() for row in rows
    ]  # fmt: skip
    yield Figure(
        name="samplers",
        mark="lines",
        data={"lines": pd.DataFrame(points)},
        caption=(
            "How far the variance of a sampler's output is from the data's, for Gaussian data with its exact denoiser. "
            "This is the sampler's own error and nothing else. Parallel lines are methods of the same order. euler is "
            "DDIM.",
        ),
        alt="The error of each sampler's variance against network evaluations",
        options={
            "x": "network evaluations",
            "y": "relative error of the variance",
            "height": 3.0,
            "scale": "log",
            "marker": True,
        },
    )
    for schedule, rows in errors.items():
        yield _error_table(schedule, rows, steps)
    yield text(
        "The last step, to the clean image, is of first order for every method. At t = 1 there is still a little "
        "noise. With many steps, that is what is left of the error of the methods of higher order. No number of steps "
        "gives renoise the variance of the data."
    )


def _error_table(schedule: str, rows: Sequence[dict[str, Any]], steps: Sequence[int]) -> Block:
    cells = [
        [name, *(float(row["variance"]) for row in group)]
        for name, group in itertools.groupby(rows, lambda row: row["sampler"])
    ]
    columns = [Column("sampler", "left"), *numbers(*(f"S = {count}" for count in steps), how="five decimals")]
    return table(columns, cells, f"Variance on the {schedule} schedule. The data's is {theory.VARIANCE}:")
