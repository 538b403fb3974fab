"""Exact denoisers, for data whose E[x₀ | x_t] is known: networks that need no training.

Each is the minimiser of any objective's loss, so what a sampler makes of it shows the sampler's own error alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddpm.denoiser import Net
from ddpm.mix import Table
from ddpm.objective import make_target
from ddpm.precision import Cast, as_float64
from ddpm.schedule import Schedule
from ddpm.spec import Variant

CHUNK = 8192  # components looked at together: bounds memory, whatever their number


def gaussian(schedule: Schedule, objective: Variant | str, variance: float) -> Net:
    """The exact network for data N(0, ``variance``).

    E[x₀ | x_t] = α v x_t / (α² v + σ²) and E[ε | x_t] = σ x_t / (α² v + σ²), since all are jointly Gaussian.
    """
    table = Table(schedule.noise, make_target(schedule, objective))

    def net(x_t: Tensor, u: Tensor) -> Tensor:
        t = (u * schedule.T).round().long()
        noise, target = table.at(t, x_t)
        total = noise.a**2 * variance + noise.b**2
        return target(noise.a * variance * x_t / total, noise.b * x_t / total)

    return net


class Mixture(nn.Module):
    """The exact network for a mixture of Gaussians N(m_k, v_k I); with v = 0, for a finite data set.

    Given component k, E[x₀ | x_t] = m_k + α v_k/(α² v_k + σ²) (x_t − α m_k), and a component weighs as much as it is
    likely to have made x_t. The sum is taken a chunk at a time, the largest exponent so far divided out, so that memory
    does not depend on K.

    :param means: (K, C, H, W) float, or uint8 images that stand for [−1, 1].
    :param variances: (K,) or a number.
    :param weights: (K,), positive; equal by default.
    """

    def __init__(
        self,
        schedule: Schedule,
        objective: Variant | str,
        means: Tensor,
        variances: Tensor | float = 0.0,
        weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.T = schedule.T
        self.means: Tensor
        self._table = Table(schedule.noise, make_target(schedule, objective))
        self.register_buffer("means", means.flatten(1), persistent=False)
        spread = (
            as_float64(variances) if isinstance(variances, Tensor) else torch.tensor(variances, dtype=torch.float64)
        )
        self._variances = Cast(spread.expand(len(means)).clone())
        shares = torch.ones(len(means), dtype=torch.float64) if weights is None else as_float64(weights)
        self._log_weights = Cast(shares.log())

    def forward(self, x_t: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), t/T of shape (B,) or (1,) → the objective's output."""
        t = (u * self.T).round().long()
        noise, target = self._table.at(t, x_t)
        x0 = self.posterior_mean(x_t.flatten(1), noise.a.flatten(1), noise.b.flatten(1)).view_as(x_t)
        return target(x0, (x_t - noise.a * x0) / noise.b)

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x_t] of ``x`` (B, D), with α_t and σ_t of shape (B, 1) or (1, 1)."""
        top = x.new_full((len(x), 1), -torch.inf)
        total, of_means, of_x = torch.zeros_like(top), torch.zeros_like(x), torch.zeros_like(top)
        variances, log_weights = self._variances.like(x), self._log_weights.like(x)
        for start in range(0, len(self.means), CHUNK):
            part = slice(start, start + CHUNK)
            m, v = _as_float(self.means[part], x), variances[part]
            spread = alpha**2 * v + sigma**2  # (B, K)
            distance = x.square().sum(1, keepdim=True) - 2 * alpha * (x @ m.T) + alpha**2 * m.square().sum(1)
            log = log_weights[part] - distance / (2 * spread) - x.shape[1] / 2 * spread.log()
            before, top = top, torch.maximum(top, log.amax(1, keepdim=True))
            share, scale = (log - top).exp(), (before - top).exp()
            gain = alpha * v / spread
            total = total * scale + share.sum(1, keepdim=True)
            of_means = of_means * scale + (share * (1 - alpha * gain)) @ m
            of_x = of_x * scale + (share * gain).sum(1, keepdim=True)
        return (of_means + of_x * x) / total


def _as_float(means: Tensor, like: Tensor) -> Tensor:
    """The means in the type of ``like``."""
    return means.to(like) / 127.5 - 1 if means.dtype == torch.uint8 else means.to(like)
