"""Likelihood: the variational bound with its terms over t, and what the probability-flow equation gives exactly.

The bound (DDPM, arXiv 2006.11239, eq. 5) is L_T + Σ_{t≥2} L_{t−1} + L₀ for an image. All is in nats, averaged over
its D = C·H·W dimensions; :func:`bits` makes bits a dimension.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ddpm.denoiser import Denoiser
from ddpm.mix import Mix, Table, posterior_std
from ddpm.precision import widest
from ddpm.schedule import Schedule

LEVELS = 256
HALF_BIN = 1 / (LEVELS - 1)  # half the distance of neighbouring levels in [−1, 1]


def bits(nats: Tensor) -> Tensor:
    """Nats a dimension → bits a dimension."""
    return nats / math.log(2)


def small(s: Schedule) -> Tensor:
    """log β̃_t (DDPM, section 3.2), β̃₂ standing in for β̃₁ = 0 (Improved DDPM, arXiv 2102.09672); index 0 repeats 1."""
    past = torch.arange(s.T + 1).sub(1).clamp(min=0)
    std = posterior_std(s.alpha, s.sigma, s.alpha[past], s.sigma[past])
    std[:2] = std[2] if s.T > 1 else s.beta[1].sqrt()
    return 2 * std.log()


def large(s: Schedule) -> Tensor:
    """log β_t (DDPM, section 3.2); index 0 repeats 1."""
    log_beta = s.beta.log()
    log_beta[0] = log_beta[1]
    return log_beta


VARIANCES: dict[str, Callable[[Schedule], Tensor]] = {"small": small, "large": large}
"""The variance of the model's p(x_{t−1} | x_t): name → its logarithm over t = 0 … T."""


def prior(s: Schedule, square: Any) -> Any:
    """L_T = KL(q(x_T | x₀) ‖ N(0, I)) for images whose mean square is ``square``."""
    bar = float(s.alpha[-1] ** 2)
    return (bar * square - bar - 2 * math.log(float(s.sigma[-1]))) / 2


class Bound:
    """The variational bound of a denoiser, term by term.

    :param variance: a row of :data:`VARIANCES`, for a network that has not learned it.
    :param clip: whether x̂₀ is clamped to [−1, 1].
    """

    def __init__(self, denoiser: Denoiser, variance: str = "small", clip: bool = False) -> None:
        self.denoiser, self.clip = denoiser, clip
        s = self.schedule = denoiser.schedule
        past = torch.arange(s.T + 1).sub(1).clamp(min=0)
        of_x0 = s.alpha[past] * s.beta / s.sigma**2  # what μ̃ is in x₀, x_t being given
        self._table = Table(s.noise, Mix(small(s), large(s), VARIANCES[variance](s)), Mix(of_x0, 0.0, 0.0))

    def prior(self, x0: Tensor) -> Tensor:
        """L_T = KL(q(x_T | x₀) ‖ N(0, I)), (B,)."""
        return prior(self.schedule, x0.square().flatten(1).mean(1))

    def term(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """L_{t−1} for each image, (B,): for t > 1 the KL of the posterior and the model, for t = 1 the decoder's L₀.

        ``x0`` and ``eps`` are (B, C, H, W), ``t`` is (B,) in 1 … T.
        """
        noise, *_ = self._table.at(t, x0)
        found = self.denoiser.estimate(noise(x0, eps), t)
        return self.term_of(x0, t, found.x0.clamp(-1, 1) if self.clip else found.x0, found.v)

    def term_of(self, x0: Tensor, t: Tensor, found: Tensor, v: Tensor | None = None) -> Tensor:
        """:meth:`term`, from the x̂₀ that was ``found`` already; ``v``, if learned, takes the variance's place."""
        _, log, of_x0 = self._table.at(t, x0)
        log_variance = log.c if v is None else log.a + (v + 1) / 2 * (log.b - log.a)
        log_ratio = log.a - log_variance
        apart = (of_x0.a * (found - x0)).square()
        kl = (torch.expm1(log_ratio) - log_ratio + apart / log_variance.exp()) / 2
        decoder = -log_decoder(x0, found, log_variance / 2)
        each = torch.where((t == 1).view(-1, *[1] * (x0.ndim - 1)), decoder, kl)
        return each.flatten(1).mean(1)

    def draw(self, x0: Tensor, random: torch.Generator, chance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """An unbiased estimate of each image's L₀ + … + L_{T−1} from one t, (B,), and the t.

        :param chance: of each t, (T + 1,), none for 0; uniform by default.
        """
        T = self.schedule.T
        if chance is None:
            chance = torch.full((T + 1,), 1 / T, dtype=widest(x0.device), device=x0.device)
            chance[0] = 0
        t = torch.multinomial(chance, len(x0), replacement=True, generator=random)
        eps = torch.randn(x0.shape, generator=random, device=x0.device, dtype=x0.dtype)
        return self.term(x0, t, eps) / chance[t].to(x0), t

    def whole(self, x0: Tensor, noise: Callable[[int], Tensor]) -> Iterator[Tensor]:
        """Every term of each image, (B,), from t = T down to 1; ``noise(t)`` is shaped like ``x0``."""
        for t in range(self.schedule.T, 0, -1):
            yield self.term(x0, torch.full((len(x0),), t, device=x0.device), noise(t))


def log_decoder(x0: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log of a normal's mass in the bin of each of 256 levels in [−1, 1], the edge bins open (DDPM, eq. 13)."""
    scale = (-log_scale).exp()
    above, below = (x0 + HALF_BIN - mean) * scale, (x0 - HALF_BIN - mean) * scale
    inside = _log_mass(below, above)
    low = torch.special.log_ndtr(above)
    high = torch.special.log_ndtr(-below)
    return torch.where(x0 < -1 + HALF_BIN, low, torch.where(x0 > 1 - HALF_BIN, high, inside))


def _log_mass(below: Tensor, above: Tensor) -> Tensor:
    """log(Φ(above) − Φ(below)), taken in the lower tail, where the difference keeps its digits."""
    flip = below > 0
    low, high = torch.where(flip, -above, below), torch.where(flip, -below, above)
    log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    return log_high + torch.log1p(-(log_low - log_high).clamp(max=-1e-7).exp())


def flow_log_likelihood(denoiser: Denoiser, x: Tensor, times: list[int], random: torch.Generator) -> Tensor:
    """log p(x_t)/D of ``x`` (B, C, H, W) at t = ``times[0]``, by the probability-flow equation up to T, (B,).

    In x̃ = x_t/α_t and σ = σ_t/α_t the flow is dx̃/dσ = ε̂ (Song et al., arXiv 2011.13456, section 4.3; EDM, eq. 1). Along
    it log p changes by minus the divergence of ε̂, which one random vector of ±1 estimates without bias (their eq. 40).
    Heun's method takes x̃ along; the trapezium rule sums the divergence in log σ, where it is nearly constant at the
    noisy end.

    :param times: rising, from where ``x`` is to T.
    """
    s = denoiser.schedule
    alpha, sigma = s.alpha.tolist(), (s.sigma / s.alpha).tolist()
    dimensions = x[0].numel()
    probe = torch.randint(0, 2, x.shape, generator=random, device=x.device).to(x) * 2 - 1

    def slope(scaled: Tensor, t: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = scaled.detach().requires_grad_()
            _, eps = denoiser(leaf * alpha[t], torch.full((len(x),), t, device=x.device))
            (back,) = torch.autograd.grad(eps, leaf, probe)
        return eps.detach(), (back * probe).flatten(1).sum(1)

    scaled = x / alpha[times[0]]
    change = torch.zeros(len(x), device=x.device, dtype=x.dtype)
    here = slope(scaled, times[0])
    for t, up in itertools.pairwise(times):
        step, ratio = sigma[up] - sigma[t], math.log(sigma[up] / sigma[t])
        ahead, _ = slope(scaled + step * here[0], up)
        scaled = scaled + step * (here[0] + ahead) / 2
        before, here = here, slope(scaled, up)
        change = change + ratio * (sigma[t] * before[1] + sigma[up] * here[1]) / 2
    last = scaled * alpha[times[-1]]
    # x_T is N(0, I); x̃ is it over α_T, and x_t is x̃ times α at the start
    end = -(last.square().flatten(1).sum(1) + dimensions * math.log(2 * math.pi)) / 2
    volume = dimensions * (math.log(alpha[times[-1]]) - math.log(alpha[times[0]]))
    return (end + volume + change) / dimensions


def flow_bound(denoiser: Denoiser, x0: Tensor, eps: Tensor, times: list[int], random: torch.Generator) -> Tensor:
    """log q(x_t | x₀) − log p(x_t) for one x_t at t = ``times[0]``, p that of the probability flow, in nats/D, (B,).

    Its mean is KL(q(x_t | x₀) ‖ p(x_t)). With t = 1 it stands for the bound's terms but L₀: with that added, it is the
    discrete image's likelihood with q(x₁ | x₀) as variational dequantisation (Ho et al., arXiv 1902.00275, eq. 12).
    """
    s, t = denoiser.schedule, times[0]
    x_t = float(s.alpha[t]) * x0 + float(s.sigma[t]) * eps
    log_q = -(eps.square().flatten(1).mean(1) + math.log(2 * math.pi)) / 2 - math.log(float(s.sigma[t]))
    return log_q - flow_log_likelihood(denoiser, x_t, times, random)
