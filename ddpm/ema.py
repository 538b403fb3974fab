"""Averages of a network's weights over training: exponential, and power functions that can be chosen afterwards.

A power-function average (Karras et al., arXiv 2312.02696, section 3.1) weighs the weights of step τ by τ^γ, so that
its length is a share of the run, σ_rel. Snapshots of two of them, taken while training, combine to nearly any other:
each is a known mix of the same weights, and the wanted mix is their least-squares fit (their section 3.2), with
coefficients that add up to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ddpm.precision import as_float64

KEPT = (0.05, 0.10)
"""σ_rel of the averages that snapshots are taken of (their section 3.2)."""


class Ema:
    """Exponential moving average of a network's weights, its decay growing as (1 + k)/(10 + k) up to ``decay``.

    A constant network is a fixed point, whatever the decay.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self._pairs = [(self.weights[name], value.detach()) for name, value in net.state_dict().items()]

    def rate(self) -> float:
        """The share kept of what there was, at the current update."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network's current weights."""
        self.updates += 1
        decay = self.rate()
        averages, values = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(list(averages), list(values), 1 - decay)


class PowerEma(Ema):
    """The average with weight ∝ τ^γ on the weights of step τ, γ given by σ_rel: step t moves it by 1 − (1 − 1/t)^(γ+1).

    A constant network is a fixed point.
    """

    def __init__(self, net: nn.Module, sigma_rel: float) -> None:
        super().__init__(net, 0.0)
        self.power = exponent(sigma_rel)

    def rate(self) -> float:
        """The share kept of what there was, at the current update."""
        return (1 - 1 / self.updates) ** (self.power + 1)


def exponent(sigma_rel: float) -> float:
    """γ of the profile whose standard deviation is σ_rel of its length: σ² = (γ + 1)/((γ + 2)² (γ + 3)).

    :raises ValueError: unless 0 < σ_rel < 1/√12, which is that of a uniform average (γ = 0).
    """
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(f"the length of an average must be above 0 and below {12**-0.5:.3f}, not {sigma_rel:g}")
    inverse = sigma_rel**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def coefficients(snapshots: Sequence[tuple[int, float]], end: int, sigma_rel: float) -> np.ndarray:
    """What to multiply each snapshot by to get the average of length ``sigma_rel`` at step ``end``.

    They add up to 1, so that weights that never moved stay as they are. (The paper's fit leaves the sum free: where
    snapshots are few or the length is far from theirs, it is below 1, and all weights come out too small.)

    :param snapshots: (step, σ_rel) of each.
    """
    profiles = [(step, exponent(length)) for step, length in snapshots]
    wanted = (end, exponent(sigma_rel))
    between = np.array([[_product(p, q) for q in profiles] for p in profiles])
    with_wanted = np.array([_product(p, wanted) for p in profiles])
    # the last is 1 less all others, and what is fitted is how far each profile is from the last one
    row = between[-1]
    apart = (between - row - row[:, None] + row[-1])[:-1, :-1]
    towards = (with_wanted - with_wanted[-1] - row + row[-1])[:-1]
    others: np.ndarray = np.linalg.lstsq(apart, towards, rcond=1e-12)[0]
    return np.append(others, 1 - others.sum())


def _product(p: tuple[int, float], q: tuple[int, float]) -> float:
    """∫ p(τ) q(τ) dτ of the profiles (γ + 1) τ^γ/t^(γ+1) on [0, t]."""
    (a, gamma), (b, delta) = sorted([p, q])
    return (gamma + 1) * (delta + 1) / (gamma + delta + 1) * (a / b) ** delta / b


def combine(parts: Sequence[dict[str, Tensor]], by: np.ndarray) -> dict[str, Tensor]:
    """Σ by_i parts_i, entry by entry, summed in float64."""
    return {
        name: torch.stack([as_float64(part[name]) * float(c) for part, c in zip(parts, by, strict=True)])
        .sum(0)
        .to(value)
        for name, value in parts[0].items()
    }
