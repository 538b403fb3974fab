"""What follows from the formulas alone: pure functions of names and T, no training and no network.

Rows are plain dicts; :mod:`bench.theory.page` shows them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ddpm.denoiser import Denoiser
from ddpm.likelihood import prior
from ddpm.objective import MAX_GAIN, OBJECTIVES, WEIGHTS, gain, loss_weight
from ddpm.oracle import gaussian
from ddpm.sampler import SAMPLERS, evaluations, make_sampler, sample
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import space

Row = dict[str, Any]
VARIANCE = 0.25
"""Of the Gaussian data whose exact denoiser is sampled: REFERENCE figures are for it."""


def snr_curves(schedules: Iterable[str], T: int) -> dict[str, Tensor]:
    """Schedule → log₁₀ SNR at t = 1 … T, of those that exist at this T."""
    return {name: s.snr[1:].log10() for name in schedules if (s := _existing(name, T)) is not None}


def step_counts(schedules: Iterable[str], steps: Iterable[int], mean: float, std: float) -> list[Row]:
    """What each schedule leaves in x_T for each T: ᾱ_T, and the prior term that it costs; None where there is none."""
    rows = []
    for name, T in itertools.product(schedules, steps):
        s = _existing(name, T)
        left = None if s is None else float(s.alpha[-1] ** 2)
        rows.append({"schedule": name, "T": T, "left": left, "bits": s and prior(s, mean**2 + std**2) / math.log(2)})
    return rows


def weights_in_x0(schedule: str, T: int) -> dict[str, Tensor]:
    """``objective, weight`` → the factor on |x̂₀ − x₀|² at t = 1 … T, as a multiple of its value nearest SNR = 1.

    ``unit`` depends on the objective, so it is there for each; any other weight is the same for all.
    """
    s = make_schedule(schedule, T)
    middle = int((s.snr[1:].log()).abs().argmin())
    pairs = [(o, "unit") for o in ("x0", "eps", "v", "flow")]
    pairs += [("x0", name) for name in WEIGHTS if name not in ("unit", "snr")]
    found = {}
    for objective, weight in pairs:
        table = loss_weight(s, objective, weight)[1:] / gain(s, objective) ** 2
        found[f"{objective}, unit" if weight == "unit" else weight] = table / table[middle]
    return found


def conditioning(schedules: Iterable[str], T: int) -> list[Row]:
    """|σ_t/D| of every objective on every schedule: how much an error of the output is magnified in x̂₀."""
    rows = []
    for name, objective in itertools.product(schedules, OBJECTIVES):
        s = _existing(name, T)
        if s is not None:
            g = gain(s, objective).nan_to_num(nan=math.inf)
            rows.append({
                "schedule": name, "objective": objective, "gain": g,
                "largest": float(g.max()), "possible": bool(g.max() <= MAX_GAIN),
            })  # fmt: skip
    return rows


def sampler_errors(schedule: str, T: int, steps: Iterable[int]) -> list[Row]:
    """The variance of what each sampler draws of N(0, ¼) with its exact denoiser, in so many steps, to rounding."""
    s = make_schedule(schedule, T)
    denoiser = Denoiser(gaussian(s, "x0", VARIANCE), s, "x0")
    rows = []
    rules = {name: make_sampler(name) for name in SAMPLERS}
    # the exact denoiser has no variance to give, and knows of one time only
    plain = [name for name, rule in rules.items() if not (rule.learned or rule.jumps)]
    for name, count in itertools.product(plain, steps):
        variance = output_variance(denoiser, space(s, count), name)
        rows.append({"sampler": name, "steps": count, "evaluations": evaluations(name, count), "variance": variance})
    return rows


def output_variance(denoiser: Denoiser, times: list[int], sampler: str, eta: float = 0.0) -> float:
    """Of one pixel, exactly: with a linear denoiser the output is linear in x_T and each draw of noise.

    So one batch holds the unit vectors of that space, and the variance is the sum of the squares of what they become.
    """
    x = torch.zeros(2 * len(times) + 1, 1, 1, 1, dtype=torch.float64)
    x[0] = 1
    draws = itertools.count(1)

    def noise(s: int) -> Tensor:
        z = torch.zeros_like(x)
        z[next(draws)] = 1
        return z

    *_, last = sample(denoiser, x, times, sampler, noise, eta=eta, clip=False)
    return float(last.x.square().sum())


def _existing(name: str, T: int) -> Schedule | None:
    try:
        return make_schedule(name, T)
    except ValueError:
        return None
