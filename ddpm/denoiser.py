"""A network, a schedule and an objective, read as one function x_t ↦ (x̂₀, ε̂)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ddpm.mix import Mix, Table, slope, unmix
from ddpm.objective import check, make_target
from ddpm.schedule import Schedule
from ddpm.spec import Variant

Net = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (B, C, H, W), t/T of shape (B,)) → an output shaped like x_t; or with 2C channels, the second half of
which is v, the place of the learned variance between β̃ (v = −1) and β (v = 1).

A network that is told of a second time s takes (t/T, s/T) of shape (B, 2) as well. Its output then stands for the x̂₀
by which DDIM's step from t leads to where the flow is at s. (B,) alone means s = t, the usual x̂₀."""


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


def times(t: Tensor, s: Tensor | None, T: int, like: Tensor) -> Tensor:
    """What a network is told of steps t (B,), and s where there is a second time: (B,) or (B, 2)."""
    return (t if s is None else torch.stack([t, s], 1)).to(like.dtype) / T


class Denoiser:
    """``denoiser(x_t, t)`` → (x̂₀, ε̂), both shaped like x_t, from any objective's output.

    :raises ValueError: if the objective cannot be inverted on this schedule.
    """

    def __init__(self, net: Net, schedule: Schedule, objective: Variant | str) -> None:
        check(schedule, objective)
        self.net = net
        self.schedule, self.objective = schedule, objective
        self._unmix = Table(*unmix(schedule.noise, make_target(schedule, objective)))

    def of(self, net: Net) -> Denoiser:
        """Another network of the same schedule and objective."""
        other = copy(self)
        other.net = net
        return other

    def __call__(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂₀, ε̂) from ``x_t`` (B, C, H, W) at integer steps ``t`` (B,) in 1 … T."""
        return self.estimate(x_t, t)[:2]

    def estimate(self, x_t: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """The same, with what the network says of the variance; towards a second time ``s`` (B,) if it is given."""
        out, v = self._evaluate(x_t, t, s)
        return Estimate(*self.recover(x_t, t, out), v)

    def clean(self, x_t: Tensor, t: Tensor, s: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """x̂₀ and v without the ε̂, for whoever is going to change x̂₀."""
        out, v = self._evaluate(x_t, t, s)
        return self._unmix.at(t, x_t)[0](x_t, out), v

    def moving(self, x_t: Tensor, t: Tensor, s: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """x̂₀ towards ``s``, and its derivative by t where x_t moves with ``velocity``, by one JVP of the network.

        Attention is done step by step here, as its fused kernels have no such derivative.

        :raises ValueError: if T < 3.
        """
        u = times(t, s, self.schedule.T, x_t)
        forward = torch.zeros_like(u)
        forward[:, 0] = 1 / self.schedule.T
        with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # the first JVP of a process loads a part of torch that warns of another
            warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)
            net = self.net
            out, d_out = torch.func.jvp(lambda x, u: halves(net(x, u), x)[0], (x_t, u), (velocity, forward))[:2]
        to_x0, changing = self._unmix.at(t, x_t)[0], self._slopes.at(t, x_t)[0]
        return to_x0(x_t, out), changing(x_t, out) + to_x0(velocity, d_out)

    @cached_property
    def _slopes(self) -> Table:
        to_x0, _ = unmix(self.schedule.noise, make_target(self.schedule, self.objective))
        return Table(Mix(slope(to_x0.a), slope(to_x0.b)))

    def _evaluate(self, x_t: Tensor, t: Tensor, s: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        return halves(self.net(x_t, times(t, s, self.schedule.T, x_t)), x_t)

    def recover(self, x_t: Tensor, t: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂₀, ε̂) from an output the network has given already."""
        to_x0, to_eps = self._unmix.at(t, x_t)
        return to_x0(x_t, out), to_eps(x_t, out)
