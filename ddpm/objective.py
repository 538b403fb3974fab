"""Objectives and loss weights, as rows of two tables.

An objective is a target, and a target is a :class:`~ddpm.mix.Mix` tabulated over t. A weight is a table over t that
multiplies the squared error of one named objective; it is converted for any other through D, so one name means the
same loss in x₀ space everywhere: |out − y|² = (D/σ_t)² |x̂₀ − x₀|².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ddpm.mix import Mix, bridge, determinant
from ddpm.schedule import Schedule

MAX_GAIN = 1e6
"""Largest |σ_t/D| that float32 survives: beyond it the rounding of the output alone moves x̂₀ by 0.1."""


@dataclass(frozen=True)
class Objective:
    """What the network regresses on, and the weight it is trained with unless a study says otherwise."""

    target: Callable[[Schedule], Mix]
    weight: str


def previous(s: Schedule) -> Mix:
    """The *drawn* X_{t−1} ~ q(x_{t−1} | x_t, x₀): the seed's Part 1. Index 0 repeats t = 1 and is never used."""
    return bridge(*_neighbours(s))


def mean(s: Schedule) -> Mix:
    """The posterior mean μ̃_t(x_t, x₀) (DDPM, eq. 7): ``previous`` with its noise averaged out."""
    return previous(s)._replace(c=torch.zeros_like(s.alpha))


def eps(s: Schedule) -> Mix:
    """ε (DDPM, eq. 14): the seed's Part 2."""
    return Mix(torch.zeros_like(s.alpha), torch.ones_like(s.alpha), torch.zeros_like(s.alpha))


def x0(s: Schedule) -> Mix:
    """The clean image (DDPM, section 3.2)."""
    return Mix(torch.ones_like(s.alpha), torch.zeros_like(s.alpha), torch.zeros_like(s.alpha))


def v(s: Schedule) -> Mix:
    """v = α_t ε − σ_t x₀ (Salimans & Ho, arXiv 2202.00512, section 4)."""
    return Mix(-s.sigma, s.alpha, torch.zeros_like(s.alpha))


OBJECTIVES: dict[str, Objective] = {
    "previous": Objective(previous, weight="seed"),
    "mean": Objective(mean, weight="seed"),
    "eps": Objective(eps, weight="unit"),
    "x0": Objective(x0, weight="unit"),
    "v": Objective(v, weight="unit"),
}


@dataclass(frozen=True)
class Weight:
    """λ_t as a function of the schedule, and the objective whose squared error it multiplies (None: any, as is)."""

    table: Callable[[Schedule], Tensor]
    of: str | None = None


def unit(s: Schedule) -> Tensor:
    """1 (DDPM's L_simple when the objective is ``eps``)."""
    return torch.ones_like(s.alpha)


def seed(s: Schedule) -> Tensor:
    """1/(2β_t) on the error of X_{t−1}: the seed's L₁, and DDPM's eq. 8 with σ_t² = β_t."""
    return 1 / (2 * s.beta)


def snr(s: Schedule) -> Tensor:
    """α_t²/σ_t² on the error of x₀, which is weight 1 on the error of ε."""
    return s.snr


def min_snr(s: Schedule) -> Tensor:
    """min(SNR, 5) on the error of x₀ (Hang et al., arXiv 2303.09556)."""
    return s.snr.clamp(max=5)


WEIGHTS: dict[str, Weight] = {
    "unit": Weight(unit),
    "seed": Weight(seed, of="previous"),
    "snr": Weight(snr, of="x0"),
    "min_snr": Weight(min_snr, of="x0"),
}


def gain(s: Schedule, objective: str) -> Tensor:
    """|σ_t/D| for t = 1 … T, shape (T,): how much an error of the output is magnified in x̂₀."""
    d = determinant(s.noise, OBJECTIVES[objective].target(s))
    magnified: Tensor = (s.sigma / d).abs()[1:]
    return magnified


def loss_weight(s: Schedule, objective: str, weight: str) -> Tensor:
    """The factor on |out − y|² for every t, float64 of shape (T + 1,); index 0 is zero."""
    row = WEIGHTS[weight]
    table = row.table(s)
    if row.of is not None:
        own, named = (determinant(s.noise, OBJECTIVES[o].target(s)) for o in (objective, row.of))
        table = table * (named / own) ** 2
    return torch.cat([table.new_zeros(1), table[1:]])


def check(s: Schedule, objective: str) -> None:
    """Refuse a combination from which x₀ cannot be recovered.

    :raises ValueError: if D = 0, or the gain |σ/D| is beyond float32, at some t.
    """
    g = gain(s, objective)
    worst = int(g.nan_to_num(nan=float("inf")).argmax())
    if not g[worst] <= MAX_GAIN:
        raise ValueError(
            f"objective '{objective}' cannot be inverted on schedule '{s.name}' with T={s.T}: "
            f"|σ/D| = {g[worst]:.3g} at t={worst + 1} (limit {MAX_GAIN:.0g})"
        )


def _neighbours(s: Schedule) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(α_t, σ_t, α_{t−1}, σ_{t−1}) over t, the row of t = 0 repeating t = 1."""
    t = torch.arange(s.T + 1).clamp(min=1)
    return s.alpha[t], s.sigma[t], s.alpha[t - 1], s.sigma[t - 1]
