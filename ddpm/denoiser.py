"""A network, a schedule and an objective, read as one function x_t ↦ (x̂₀, ε̂)."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

from torch import Tensor

from ddpm.mix import Table, unmix
from ddpm.objective import check, make_target
from ddpm.schedule import Schedule
from ddpm.spec import Variant

Net = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (B, C, H, W), t/T of shape (B,)) → an output shaped like x_t; or with 2C channels, the second half of
which is v, the place of the learned variance between β̃ (v = −1) and β (v = 1)."""


class Estimate(NamedTuple):
    """x̂₀ and ε̂, shaped like x_t; and v, where the network has learned it."""

    x0: Tensor
    eps: Tensor
    v: Tensor | None


def halves(out: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor | None]:
    """An output, and its v if there is one."""
    if out.shape[1] == x_t.shape[1]:
        return out, None
    out, v = out.chunk(2, 1)
    return out, v


class Denoiser:
    """``denoiser(x_t, t)`` → (x̂₀, ε̂), both shaped like x_t, from any objective's output.

    :raises ValueError: if the objective cannot be inverted on this schedule.
    """

    def __init__(self, net: Net, schedule: Schedule, objective: Variant | str) -> None:
        check(schedule, objective)
        self.net = net
        self.schedule = schedule
        self._unmix = Table(*unmix(schedule.noise, make_target(schedule, objective)))

    def of(self, net: Net) -> Denoiser:
        """Another network of the same schedule and objective."""
        other = copy(self)
        other.net = net
        return other

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂₀, ε̂) from ``x_t`` (B, C, H, W) at integer steps ``t`` (B,) in 1 … T."""
        return self.estimate(x_t, t)[:2]

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        """The same, with what the network says of the variance."""
        out, v = self._evaluate(x_t, t)
        return Estimate(*self.recover(x_t, t, out), v)

    def clean(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """x̂₀ and v without the ε̂, for whoever is going to change x̂₀."""
        out, v = self._evaluate(x_t, t)
        return self._unmix.at(t, x_t)[0](x_t, out), v

    def _evaluate(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return halves(self.net(x_t, t.to(x_t.dtype) / self.schedule.T), x_t)

    def recover(self, x_t: Tensor, t: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂₀, ε̂) from an output the network has given already."""
        to_x0, to_eps = self._unmix.at(t, x_t)
        return to_x0(x_t, out), to_eps(x_t, out)
