"""What a row of :data:`ddpm.teach.TEACH` is given, a batch and the path that it lies on, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm.denoiser import Denoiser, Net
from ddpm.guidance import ClassNet, told
from ddpm.mix import Mix, Table, slope
from ddpm.precision import Cast
from ddpm.schedule import Schedule

FAR = 1e6
"""The largest σ/α that is told from others: beyond it there is no signal."""


class Around(NamedTuple):
    """What a row may use beside the batch.

    ``own``: the network in training. ``teacher``: the trained one. Both take classes as a third argument where
    ``classes`` (B,) are given. ``done``: the share of the training that is done. ``random``: for what a row draws.
    ``plain``: the network in training as it is, not compiled, to be differentiated.
    """

    own: Net | ClassNet | None = None
    teacher: Net | ClassNet | None = None
    classes: Tensor | None = None
    done: float = 0.0
    random: torch.Generator | None = None
    plain: Net | ClassNet | None = None


class Answer(NamedTuple):
    """What a batch is trained on.

    ``made_of``: the (x₀, ε) that x_t is made of. ``x0``, ``eps``: x̃₀ and ε̃, for the target. ``t``: the steps (B,) that
    are trained. ``factor`` (B,): what each image's loss is multiplied by, None for 1. ``second``: the second time (B,)
    that the network is told of, if it is.
    """

    made_of: tuple[Tensor, Tensor]
    x0: Tensor
    eps: Tensor
    t: Tensor
    factor: Tensor | None = None
    second: Tensor | None = None


class Path:
    """A schedule as rows look at it: (α, σ) and the noise level σ/α at steps of a batch."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._noise = Table(schedule.noise)
        self._levels = Cast((schedule.sigma / schedule.alpha).clamp(max=FAR))
        self._rho = Cast(schedule.alpha / schedule.sigma)

    @cached_property
    def _slopes(self) -> Table:
        return Table(Mix(slope(self.schedule.alpha), slope(self.schedule.sigma)))

    def slopes(self, t: Tensor, like: Tensor) -> Mix:
        """(α′_t, σ′_t), their derivatives by t.

        :raises ValueError: if T < 3.
        """
        return self._slopes.at(t, like)[0]

    def at(self, t: Tensor, like: Tensor) -> Mix:
        """(α_t, σ_t) at steps ``t`` (B,), shaped to multiply ``like``."""
        return self._noise.at(t, like)[0]

    def part(self, t: Tensor, m: Tensor, s: Tensor, like: Tensor) -> Tensor:
        """(ρ_m − ρ_t)/(ρ_s − ρ_t) for t ≥ m > s, ρ = α/σ: the share in a step to s of the x̂₀ that leads to m first."""
        rho = self._rho.like(like)
        part: Tensor = (rho[m] - rho[t]) / (rho[s] - rho[t])
        return part.view(-1, *[1] * (like.ndim - 1))

    def levels(self, like: Tensor) -> Tensor:
        """σ_t/α_t over t = 0 … T, rising from 0."""
        return self._levels.like(like)


@dataclass(frozen=True)
class Batch:
    """Images, their noise and steps, and what there is beside them."""

    x0: Tensor
    eps: Tensor
    t: Tensor
    path: Path
    denoiser: Denoiser
    around: Around

    @property
    def x_t(self) -> Tensor:
        """α_t x₀ + σ_t ε."""
        return self.path.at(self.t, self.x0)(self.x0, self.eps)

    @property
    def own(self) -> Denoiser:
        """The network in training."""
        return self._reading(self.around.own)

    @property
    def teacher(self) -> Denoiser:
        """The trained network."""
        return self._reading(self.around.teacher)

    @property
    def plain(self) -> Denoiser:
        """The network in training, to be differentiated."""
        return self._reading(self.around.plain)

    def only(self, part: Tensor) -> Batch:
        """Some of its images."""
        classes = None if self.around.classes is None else self.around.classes[part]
        around = self.around._replace(classes=classes)
        return replace(self, x0=self.x0[part], eps=self.eps[part], t=self.t[part], around=around)

    def some(self, share: float) -> Tensor:
        """The places of a share of its images, one at least, drawn."""
        order = torch.randperm(len(self.t), generator=self.around.random, device=self.t.device)
        return order[: max(1, round(share * len(self.t)))]

    def uniform(self) -> Tensor:
        """A number from 0 up to 1 for each image."""
        return torch.rand(len(self.t), generator=self.around.random, device=self.t.device)

    def _reading(self, net: Net | ClassNet | None) -> Denoiser:
        if net is None:
            raise ValueError("this row of TEACH needs a network that it was not given")
        return self.denoiser.of(net if self.around.classes is None else told(net, self.around.classes))  # type: ignore[arg-type]

    def answer(self, x0: Tensor, factor: Tensor | None = None, second: Tensor | None = None) -> Answer:
        """x̃₀ for the x_t of this batch."""
        noise = self.path.at(self.t, x0)
        return Answer((self.x0, self.eps), x0, (self.x_t - noise.a * x0) / noise.b, self.t, factor, second)

    def by_two_steps(
        self, net: Denoiser, m: Tensor, s: Tensor, to_m: Tensor | None = None, to_s: Tensor | None = None
    ) -> Tensor:
        """The x̃₀ by which one DDIM step from t to s lands where two of ``net`` do, by way of m. No gradient.

        It is a weighted mean of x̂₀(x_t, t) and x̂₀(x_m, m). With ρ = α/σ the weights are ρ_m − ρ_t and ρ_s − ρ_m.
        ``to_m`` and ``to_s`` are the second times that the network is told of, if it is.
        """
        with torch.no_grad():
            x0 = net.clean(self.x_t, self.t, to_m)[0]
            x_m = self.path.at(m, x0)(x0, self.answer(x0).eps)
            after = net.clean(x_m, m, to_s)[0]
        return after + self.path.part(self.t, m, s, x0) * (x0 - after)

    def jumping(self, part: Tensor, x0: Tensor, s: Tensor) -> Answer:
        """x̃₀ towards second times ``s`` for some of the images; the data's x₀, and s = t, for the others."""
        whole, second = self.x0.clone(), self.t.clone()
        whole[part], second[part] = x0, s
        return self.answer(whole, second=second)
