"""Noise schedules: T → float64 tables of (α_t, σ_t) for t = 0 … T, with index 0 the clean image (α₀ = 1, σ₀ = 0).

x_t = α_t x₀ + σ_t ε; in DDPM's symbols α_t is √ᾱ_t and σ_t is √(1 − ᾱ_t). Every schedule is brought to this
variance-preserving form: a process a x₀ + b ε is the same one, its x_t divided by √(a² + b²).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm.bounds import Finite, NotNegative, Part, Positive, Rho
from ddpm.mix import Mix
from ddpm.spec import Variant, chosen, parameters, row

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

    def until(self, t: int) -> Schedule:
        """The same process, cut off after t steps."""
        return Schedule(self.name, self.alpha[: t + 1], self.sigma[: t + 1])

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


def _log_bar(beta: Tensor) -> Tensor:
    """log ᾱ_t, t = 1 … T, from β_t. Summing logarithms keeps σ exact where ᾱ is near 1.

    :raises ValueError: if some β is outside (0, 1); the last may be 1.
    """
    bad = ((beta <= 0) | (beta > 1) | ((beta == 1) & (torch.arange(len(beta)) < len(beta) - 1))).nonzero()
    if len(bad):
        t = int(bad[0])
        raise ValueError(f"β_{t + 1} = {beta[t]:.3g} is not between 0 and 1")
    return torch.log1p(-beta).cumsum(0)


def _from_alpha_bar(alpha_bar: Callable[[Tensor], Tensor], T: int, max_beta: float) -> Tensor:
    """log ᾱ_t, with β_t = 1 − ᾱ(t/T)/ᾱ((t−1)/T) at most ``max_beta``."""
    f = alpha_bar(torch.arange(T + 1, dtype=torch.float64) / T)
    return _log_bar((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def _from_noise(noise: Tensor) -> Tensor:
    """log ᾱ_t from the noise on an unscaled image, σ_t/α_t: ᾱ = 1/(1 + (σ/α)²)."""
    return -torch.log1p(noise**2)


def linear_unscaled(T: int, *, start: Positive = 1e-4, end: Positive = 0.02) -> Tensor:
    """β from 1e-4 to 0.02 whatever T (DDPM section 4): below T ≈ 700 much signal is left in x_T.

    Use: to show what a smaller T does where β is not rescaled, or to reproduce codes that do so.
    """
    return _log_bar(torch.linspace(start, end, T, dtype=torch.float64))


def linear(T: int, *, start: Positive = 1e-4, end: Positive = 0.02) -> Tensor:
    """DDPM's β, scaled by 1000/T so that x_T is noise at any T > 20 (Improved DDPM, section 4).

    Use: to compare with DDPM at any T.
    """
    return _log_bar(torch.linspace(start, end, T, dtype=torch.float64) * (1000 / T))


def scaled_linear(T: int, *, start: Positive = 8.5e-4, end: Positive = 0.012) -> Tensor:
    """√β linear, with latent diffusion's ends (Rombach et al., arXiv 2112.10752, its released code); times 1000/T.

    Use: to compare with latent diffusion. About half a percent of the signal's variance is left in x_T: say
    `zero_snr` too.
    """
    return _log_bar(torch.linspace(math.sqrt(start), math.sqrt(end), T, dtype=torch.float64) ** 2 * (1000 / T))


def quadratic(T: int, *, start: Positive = 1e-4, end: Positive = 0.02) -> Tensor:
    """√β linear between DDPM's ends (``quad`` in DDPM's released code); times 1000/T.

    Use: to compare with codes that have it; slower at the clean end than `linear`.
    """
    return scaled_linear(T, start=start, end=end)


def cosine(T: int, *, s: NotNegative = 0.008, max_beta: Part = MAX_BETA) -> Tensor:
    """ᾱ ∝ cos²((t/T + s)/(1 + s) · π/2), s = 0.008 (Improved DDPM, eq. 17). With ``max_beta`` 1 no signal is left.

    Use: as a good first choice for small images: it spends little time at SNRs where there is nothing to learn.
    """
    return _from_alpha_bar(lambda u: torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2, T, max_beta)


def sigmoid(
    T: int, *, start: Finite = -3.0, end: Finite = 3.0, tau: Positive = 1.0, max_beta: Part = MAX_BETA
) -> Tensor:
    """ᾱ a falling logistic of (start … end)/τ, rescaled to run from 1 to 0 (Jabri et al., arXiv 2212.11972).

    Use: for larger images, with τ above 1; at 28 × 28 it is close to `cosine`.
    """

    def alpha_bar(u: Tensor) -> Tensor:
        low, high = torch.sigmoid(torch.tensor([start, end], dtype=torch.float64) / tau)
        falling: Tensor = (high - torch.sigmoid((u * (end - start) + start) / tau)) / (high - low)
        return falling

    return _from_alpha_bar(alpha_bar, T, max_beta)


def laplace(T: int, *, mu: Finite = 0.0, b: Positive = 0.5, max_beta: Part = MAX_BETA) -> Tensor:
    """log SNR with a Laplace(μ, b) density over uniform t: most time near SNR = 1 (Hang et al., arXiv 2407.03297).

    Use: when training is short: most time goes to middle SNRs. Its first step is large, so sample in many steps.
    """

    def alpha_bar(u: Tensor) -> Tensor:
        log_snr = mu - b * torch.sign(0.5 - u) * torch.log1p(-2 * (u - 0.5).abs())
        return torch.sigmoid(log_snr)

    return _from_alpha_bar(alpha_bar, T, max_beta)


def flow(T: int) -> Tensor:
    """The straight path (1 − u) x₀ + u ε, u = t/T (Lipman et al., arXiv 2210.02747; Liu et al., 2209.03003).

    No signal is left at t = T, so no network can learn ε or the score there.

    Use: with the objective `flow` or any other but `eps` and `score`; few sampling steps suit it.
    """
    u = torch.arange(1, T + 1, dtype=torch.float64) / T
    return _from_noise(u / (1 - u))


def karras(T: int, *, sigma_min: Positive = 0.002, sigma_max: Positive = 80.0, rho: Rho = 7.0) -> Tensor:
    """Noise on the unscaled image from σ_min to σ_max, even in σ^(1/ρ) (Karras et al., arXiv 2206.00364, eq. 5).

    Use: with the objective `edm` and the sampler `heun`.
    """
    share = torch.linspace(0, 1, T, dtype=torch.float64) if T > 1 else torch.ones(1, dtype=torch.float64)
    low, high = math.pow(sigma_min, 1 / rho), math.pow(sigma_max, 1 / rho)
    return _from_noise((low + share * (high - low)) ** rho)


#: name → (T → log ᾱ_1 … log ᾱ_T in float64); keyword-only parameters are options
SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "linear": linear,
    "linear_unscaled": linear_unscaled,
    "scaled_linear": scaled_linear,
    "quadratic": quadratic,
    "cosine": cosine,
    "sigmoid": sigmoid,
    "laplace": laplace,
    "flow": flow,
    "karras": karras,
}


def rescale(log_bar: Tensor, *, zero_snr: bool = False) -> Tensor:
    """What any schedule can have done to it. ``zero_snr``: √ᾱ shifted and stretched to end at 0, its first value kept.

    Lin et al., arXiv 2305.08891, algorithm 1: no signal is left in x_T, and ε cannot be regressed on there.

    :raises ValueError: if there is only one step.
    """
    if not zero_snr:
        return log_bar
    if len(log_bar) == 1:
        raise ValueError("zero_snr needs more than one step")
    root = (log_bar / 2).exp()
    return 2 * ((root - root[-1]) * (root[0] / (root[0] - root[-1]))).log()


def make_schedule(spec: Variant | str, T: int) -> Schedule:
    """The schedule of that name, with its options if there are any (:mod:`ddpm.spec`), and T steps.

    :raises ValueError: if T < 1 or the schedule does not exist at this T.
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, not {T}")
    variant = Variant.of(spec)
    function = row(SCHEDULES, variant)
    options = chosen(variant, function)
    common = {key: options.pop(key) for key in parameters(rescale) if key in options}
    try:
        log_bar = rescale(function(T, **options), **common)
        if not (log_bar.diff(prepend=log_bar.new_zeros(1)) < 0).all():
            raise ValueError("ᾱ does not fall from one step to the next")
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"schedule '{spec}' is undefined at T={T}: {error}") from None
    log_bar = torch.cat([log_bar.new_zeros(1), log_bar])
    return Schedule(str(variant), (log_bar / 2).exp(), (-torch.expm1(log_bar)).sqrt())
