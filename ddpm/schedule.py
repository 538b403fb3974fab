"""Noise schedules: T → float64 tables of (α_t, σ_t) for t = 0 … T, with index 0 the clean image (α₀ = 1, σ₀ = 0).

x_t = α_t x₀ + σ_t ε; in DDPM's symbols α_t is √ᾱ_t and σ_t is √(1 − ᾱ_t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm.mix import Mix

MAX_BETA = 0.999  # Improved DDPM (arXiv 2102.09672) section 3.2 clips cosine's last β here
RESIDUAL_SIGNAL = 1e-3  # ᾱ_T above which sampling from N(0, I) starts visibly off the process


@dataclass(frozen=True)
class Schedule:
    """Tables of a variance-preserving process. ``alpha`` and ``sigma`` are float64 of shape (T + 1,)."""

    name: str
    alpha: Tensor
    sigma: Tensor

    @property
    def T(self) -> int:  # noqa: N802 (the paper's symbol)
        """The number of diffusion steps."""
        return len(self.alpha) - 1

    @property
    def noise(self) -> Mix:
        """x_t as a mix, tabulated over t."""
        return Mix(self.alpha, self.sigma)

    @property
    def beta(self) -> Tensor:
        """β_t = 1 − (α_t / α_{t−1})², (T + 1,) with β₀ = 0."""
        ratio = self.alpha[1:] / self.alpha[:-1]
        return torch.cat([self.alpha.new_zeros(1), 1 - ratio**2])

    @property
    def snr(self) -> Tensor:
        """α_t² / σ_t², (T + 1,), infinite at t = 0."""
        return (self.alpha / self.sigma) ** 2


def _from_beta(name: str, beta: Tensor) -> Schedule:
    """Tables from β_1 … β_T. Summing logarithms keeps σ exact where ᾱ is near 1.

    :raises ValueError: if some β is outside (0, 1).
    """
    bad = ((beta <= 0) | (beta >= 1)).nonzero()
    if len(bad):
        t = int(bad[0])
        raise ValueError(
            f"schedule '{name}' is undefined at T={len(beta)}: β_{t + 1} = {beta[t]:.3g} is not between 0 and 1"
        )
    log_alpha_bar = torch.cat([beta.new_zeros(1), torch.log1p(-beta).cumsum(0)])
    return Schedule(name, (log_alpha_bar / 2).exp(), (-torch.expm1(log_alpha_bar)).sqrt())


def _beta_from_alpha_bar(alpha_bar: Callable[[Tensor], Tensor], T: int) -> Tensor:
    """β_t = 1 − ᾱ(t/T)/ᾱ((t−1)/T), at most :data:`MAX_BETA`."""
    f = alpha_bar(torch.arange(T + 1, dtype=torch.float64) / T)
    return (1 - f[1:] / f[:-1]).clamp(max=MAX_BETA)


def linear_unscaled(T: int) -> Tensor:
    """β from 1e-4 to 0.02 whatever T (DDPM section 4): below T ≈ 700 much signal is left in x_T."""
    return torch.linspace(1e-4, 0.02, T, dtype=torch.float64)


def linear(T: int) -> Tensor:
    """DDPM's β, scaled by 1000/T so that x_T is noise at any T > 20 (Improved DDPM, section 4)."""
    return linear_unscaled(T) * (1000 / T)


def cosine(T: int) -> Tensor:
    """ᾱ ∝ cos²((t/T + s)/(1 + s) · π/2), s = 0.008 (Improved DDPM, eq. 17)."""
    s = 0.008
    return _beta_from_alpha_bar(lambda u: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, T)


def sigmoid(T: int) -> Tensor:
    """ᾱ a falling logistic from −3 to 3, rescaled to run from 1 to 0 (Jabri et al., arXiv 2212.11972, τ = 1)."""
    start, end = -3.0, 3.0

    def alpha_bar(u: Tensor) -> Tensor:
        low, high = torch.sigmoid(torch.tensor([start, end], dtype=torch.float64))
        falling: Tensor = (high - torch.sigmoid(u * (end - start) + start)) / (high - low)
        return falling

    return _beta_from_alpha_bar(alpha_bar, T)


#: name → (T → β_1 … β_T in float64)
SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "linear": linear,
    "linear_unscaled": linear_unscaled,
    "cosine": cosine,
    "sigmoid": sigmoid,
}


def make_schedule(name: str, T: int) -> Schedule:
    """The named schedule with T steps.

    :raises ValueError: if T < 1 or the schedule does not exist at this T.
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, not {T}")
    return _from_beta(name, SCHEDULES[name](T))
