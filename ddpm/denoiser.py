"""A network, a schedule and an objective, read as one function x_t ↦ (x̂₀, ε̂)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ddpm.mix import Table, unmix
from ddpm.objective import OBJECTIVES, check
from ddpm.schedule import Schedule

Net = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (B, C, H, W), t/T of shape (B,)) → an output shaped like x_t."""


class Denoiser:
    """``denoiser(x_t, t)`` → (x̂₀, ε̂), both shaped like x_t, from any objective's output.

    :raises ValueError: if the objective cannot be inverted on this schedule.
    """

    def __init__(self, net: Net, schedule: Schedule, objective: str) -> None:
        check(schedule, objective)
        self.net = net
        self.schedule = schedule
        self._unmix = Table(*unmix(schedule.noise, OBJECTIVES[objective].target(schedule)))

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate from ``x_t`` (B, C, H, W) at integer steps ``t`` (B,) in 1 … T."""
        out = self.net(x_t, t.to(x_t.dtype) / self.schedule.T)
        return self.recover(x_t, t, out)

    def recover(self, x_t: Tensor, t: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂₀, ε̂) from an output the network has given already."""
        to_x0, to_eps = self._unmix.at(t, x_t)
        return to_x0(x_t, out), to_eps(x_t, out)
