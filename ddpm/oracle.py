"""Exact denoisers, for data whose E[x₀ | x_t] is known."""

from __future__ import annotations

from torch import Tensor

from ddpm.denoiser import Net
from ddpm.mix import Table
from ddpm.objective import OBJECTIVES
from ddpm.schedule import Schedule


def gaussian(schedule: Schedule, objective: str, variance: float) -> Net:
    """The minimiser of any objective's loss for data N(0, ``variance``): a network that needs no training.

    E[x₀ | x_t] = α v x_t / (α² v + σ²) and E[ε | x_t] = σ x_t / (α² v + σ²), since all are jointly Gaussian.
    """
    table = Table(schedule.noise, OBJECTIVES[objective].target(schedule))

    def net(x_t: Tensor, u: Tensor) -> Tensor:
        t = (u * schedule.T).round().long()
        noise, target = table.at(t, x_t)
        total = noise.a**2 * variance + noise.b**2
        return target(noise.a * variance * x_t / total, noise.b * x_t / total)

    return net
