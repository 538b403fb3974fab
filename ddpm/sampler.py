"""Samplers: iterators over a decreasing grid of times, each step a :class:`~ddpm.mix.Mix` of (x̂₀, ε̂, z)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm.denoiser import Denoiser
from ddpm.mix import Mix, bridge

StepMix = Callable[[float, float, float, float, float], Mix]
"""(α_t, σ_t, α_s, σ_s, η) → the mix that gives x_s."""


@dataclass(frozen=True)
class Sampler:
    """A step rule, and whether η means anything to it."""

    step: StepMix
    uses_eta: bool = False


def ancestral(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """DDPM's algorithm 2 with the posterior variance β̃, on any pair of times s < t."""
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s)


def ancestral_beta(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """The same mean with the variance β_{t|s} = 1 − (α_t/α_s)² (DDPM, section 3.2); none at the last step."""
    last = sigma_s == 0
    large = 0.0 if last else (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2) ** 0.5
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s)._replace(c=large)


def ddim(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """DDIM (arXiv 2010.02502, eq. 12), standard deviation η √β̃."""
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s, eta)


SAMPLERS: dict[str, Sampler] = {
    "ancestral": Sampler(ancestral),
    "ancestral_beta": Sampler(ancestral_beta),
    "ddim": Sampler(ddim, uses_eta=True),
}


class Step(NamedTuple):
    """The state after a step: the time reached, x at that time, and the x̂₀ it was made from."""

    t: int
    x: Tensor
    x0: Tensor


def respace(T: int, steps: int) -> list[int]:
    """Exactly ``steps`` distinct times from T down to 1, evenly spread (diffusers' ``linspace``).

    :raises ValueError: unless 1 ≤ steps ≤ T.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"sampling steps must be between 1 and T={T}, not {steps}")
    if steps == 1:
        return [T]
    return [int(t) + 1 for t in np.round(np.linspace(0, T - 1, steps))[::-1]]


def sample(
    denoiser: Denoiser,
    x: Tensor,
    times: list[int],
    sampler: str,
    noise: Callable[[int], Tensor],
    *,
    eta: float = 0.0,
    clip: bool = True,
) -> Iterator[Step]:
    """Walk from x_T to an image, yielding after every step; the last one has t = 0.

    :param x: x at ``times[0]``, (B, C, H, W), standard normal for a new sample.
    :param times: decreasing steps to visit, all in 1 … T, as from :func:`respace`.
    :param noise: s ↦ fresh standard noise shaped like ``x``, asked for only by steps that use it.
    :param clip: clamp x̂₀ to [−1, 1] and take ε̂ to match (as DDPM's released code does).
    """
    schedule = denoiser.schedule
    alpha, sigma = schedule.alpha.tolist(), schedule.sigma.tolist()
    for t, s in zip(times, [*times[1:], 0], strict=True):
        x0, eps = denoiser(x, torch.full((len(x),), t, device=x.device))
        if clip:
            x0 = x0.clamp(-1, 1)
            eps = (x - alpha[t] * x0) / sigma[t]
        mix = SAMPLERS[sampler].step(alpha[t], sigma[t], alpha[s], sigma[s], eta)
        x = mix(x0, eps, noise(s) if mix.c else None)
        yield Step(s, x, x0)
