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

from ddpm.bounds import Finite, NotNegative, Positive, Scale
from ddpm.mix import Mix, bridge, determinant, posterior_std
from ddpm.schedule import Schedule
from ddpm.spec import Variant, chosen, row

MAX_GAIN = 1e6
"""Largest |σ_t/D| that float32 survives: beyond it the rounding of the output alone moves x̂₀ by 0.1."""


@dataclass(frozen=True)
class Objective:
    """What the network regresses on, and the weight it is trained with unless a study says otherwise.

    Keyword-only parameters of ``target`` are options (:mod:`ddpm.spec`), as are those of a weight's ``table``.
    """

    target: Callable[..., Mix]
    weight: str


def previous(s: Schedule) -> Mix:
    """The *drawn* X_{t−1} ~ q(x_{t−1} | x_t, x₀): the demo's Part 1. Index 0 repeats t = 1 and is never used.

    Use: to reproduce the demo's Part 1, and to see what a drawn target costs beside `mean`, which has the same
    minimiser.
    """
    return bridge(*_neighbours(s))


def mean(s: Schedule) -> Mix:
    """The posterior mean μ̃_t(x_t, x₀) (DDPM, eq. 7): ``previous`` with its noise averaged out.

    Use: to compare with DDPM's first parametrisation (its table 2).
    """
    return previous(s)._replace(c=torch.zeros_like(s.alpha))


def eps(s: Schedule) -> Mix:
    """ε (DDPM, eq. 14): the demo's Part 2.

    Use: to compare with published numbers: most of them are for it. Not where the schedule leaves no signal in x_T:
    nothing can be said about x₀ there, and such cells are refused.
    """
    return Mix(torch.zeros_like(s.alpha), torch.ones_like(s.alpha), torch.zeros_like(s.alpha))


def x0(s: Schedule) -> Mix:
    """The clean image (DDPM, section 3.2).

    Use: where no signal is left in x_T, or to read the output as an image. Its unit weight cares little for small
    noise, which is where fine detail comes from: try `snr` or `truncated_snr` as well.
    """
    return Mix(torch.ones_like(s.alpha), torch.zeros_like(s.alpha), torch.zeros_like(s.alpha))


def v(s: Schedule) -> Mix:
    """v = α_t ε − σ_t x₀ (Salimans & Ho, arXiv 2202.00512, section 4).

    Use: as a safe first choice: it is well conditioned at both ends and possible on every schedule.
    """
    return Mix(-s.sigma, s.alpha, torch.zeros_like(s.alpha))


def score(s: Schedule) -> Mix:
    """∇ log q(x_t | x₀) = −ε/σ_t (Song et al., arXiv 2011.13456, eq. 7, with its weight λ_t = σ_t²).

    Use: to compare with score-based codes. With its own weight it is `eps` in another scale.
    """
    sigma = _neighbours(s)[1]
    return Mix(torch.zeros_like(sigma), -1 / sigma, torch.zeros_like(sigma))


def flow(s: Schedule) -> Mix:
    """ε − x₀, the velocity of the straight path (1 − u) x₀ + u ε (Liu et al., arXiv 2209.03003, eq. 1).

    Use: on the schedule `flow`, for rectified flow and flow matching; possible and well conditioned on any other.
    """
    return Mix(-torch.ones_like(s.alpha), torch.ones_like(s.alpha), torch.zeros_like(s.alpha))


def edm(s: Schedule, *, sigma_data: Scale = 0.5) -> Mix:
    """What EDM's F_θ regresses on (Karras et al., arXiv 2206.00364, eq. 8), for data of variance σ_data².

    It is (σ x₀ − α σ_d² ε)/(σ_d √(α² σ_d² + σ²)): the part of x₀ that a linear function of x_t cannot tell, scaled to
    variance 1. For any other target it is the same part, up to its sign. Preconditioning an objective
    c_skip x_t + c_out F_θ is therefore this objective with that one's weight. c_skip = b/D and c_out = −σ/D are what
    :func:`ddpm.mix.unmix` finds.

    Use: on the schedule `karras`, for EDM; on any other its gain is at most σ_d.
    """
    total = sigma_data * (s.alpha**2 * sigma_data**2 + s.sigma**2).sqrt()
    return Mix(s.sigma / total, -s.alpha * sigma_data**2 / total, torch.zeros_like(s.alpha))


OBJECTIVES: dict[str, Objective] = {
    "previous": Objective(previous, weight="demo"),
    "mean": Objective(mean, weight="demo"),
    "eps": Objective(eps, weight="unit"),
    "x0": Objective(x0, weight="unit"),
    "v": Objective(v, weight="unit"),
    "score": Objective(score, weight="snr"),
    "flow": Objective(flow, weight="unit"),
    "edm": Objective(edm, weight="unit"),
}


def default_weight(objective: Variant | str) -> str:
    """The weight that the objective of that name is trained with unless a study says otherwise."""
    return row(OBJECTIVES, Variant.of(objective)).weight


def make_target(s: Schedule, objective: Variant | str) -> Mix:
    """The target of the objective of that name, with its options if there are any, over t = 0 … T."""
    variant = Variant.of(objective)
    target = row(OBJECTIVES, variant).target
    return target(s, **chosen(variant, target))


@dataclass(frozen=True)
class Weight:
    """λ_t as a function of the schedule, and the objective whose squared error it multiplies (None: any, as is)."""

    table: Callable[..., Tensor]
    of: str | None = None


def unit(s: Schedule) -> Tensor:
    """1 (DDPM's L_simple when the objective is ``eps``).

    Use: for the objective's own error. What that means for x₀ depends on the objective (see `ddpm-bench theory`).
    """
    return torch.ones_like(s.alpha)


def demo(s: Schedule) -> Tensor:
    """1/(2β_t) on the error of X_{t−1}: the demo's L₁, and DDPM's eq. 8 with σ_t² = β_t.

    Use: to reproduce the demo's loss, or DDPM's bound with the larger variance.
    """
    return 1 / (2 * s.beta)


def snr(s: Schedule) -> Tensor:
    """α_t²/σ_t² on the error of x₀, which is weight 1 on the error of ε.

    Use: for DDPM's L_simple, whatever the objective.
    """
    return s.snr


def min_snr(s: Schedule, *, gamma: Positive = 5.0) -> Tensor:
    """min(SNR, γ) on the error of x₀ (Hang et al., arXiv 2303.09556).

    Use: when training `x0` or `v` learns fine detail slowly, or `eps` learns too much from nearly clean images.
    """
    return s.snr.clamp(max=gamma)


def truncated_snr(s: Schedule, *, least: NotNegative = 1.0) -> Tensor:
    """max(SNR, 1) on the error of x₀ (Salimans & Ho, arXiv 2202.00512, section 4).

    Use: with `x0`, to keep some weight where there is hardly any signal; made for distillation.
    """
    return s.snr.clamp(min=least)


def vlb(s: Schedule) -> Tensor:
    """The variational bound's own (DDPM, eq. 8 with σ_t² = β̃_t): α_{t−1}² (β_t/σ_t²)²/(2 β̃_t) on the error of x₀.

    For t > 1 that is (SNR_{t−1} − SNR_t)/2. β̃₁ is 0, and β̃₂ stands in for it (Improved DDPM, section 3.1).

    Use: for likelihood rather than looks: the bound's own gradient.
    """
    alpha_t, sigma_t, alpha_s, sigma_s = _neighbours(s)
    variance = posterior_std(alpha_t, sigma_t, alpha_s, sigma_s) ** 2
    variance[:2] = variance[2] if s.T > 1 else s.beta[1]
    beta = s.beta[torch.arange(s.T + 1).clamp(min=1)]
    return (alpha_s * beta / sigma_t**2) ** 2 / (2 * variance)


def p2(s: Schedule, *, k: NotNegative = 1.0, gamma: Finite = 1.0) -> Tensor:
    """1/(k + SNR)^γ on the error of ε: less weight where little noise is left (Choi et al., arXiv 2204.00227).

    Use: for looks rather than likelihood: nearly clean images, whose noise nobody sees, count less.
    """
    return (k + s.snr) ** -gamma


def edm_weight(s: Schedule, *, sigma_data: Scale = 0.5) -> Tensor:
    """(σ² + σ_d²)/(σ σ_d)² on the error of x₀, σ = σ_t/α_t (Karras et al., arXiv 2206.00364, table 1, λ(σ)).

    Use: with the objective `edm`, where it is weight 1; elsewhere for the same loss in x₀ space.
    """
    return s.snr + 1 / sigma_data**2


def sigmoid_weight(s: Schedule, *, bias: Finite = 2.0) -> Tensor:
    """The bound's weight times a logistic of b − log SNR (Kingma & Gao, arXiv 2303.00848, w(λ) = sigmoid(−λ + b)).

    Use: as a smooth `min_snr` on the bound's scale: it does not depend on how the schedule spends its time.
    """
    return vlb(s) * torch.sigmoid(bias - s.snr.log())


WEIGHTS: dict[str, Weight] = {
    "unit": Weight(unit),
    "demo": Weight(demo, of="previous"),
    "vlb": Weight(vlb, of="x0"),
    "snr": Weight(snr, of="x0"),
    "truncated_snr": Weight(truncated_snr, of="x0"),
    "min_snr": Weight(min_snr, of="x0"),
    "p2": Weight(p2, of="eps"),
    "edm": Weight(edm_weight, of="x0"),
    "sigmoid": Weight(sigmoid_weight, of="x0"),
}


def gain(s: Schedule, objective: Variant | str) -> Tensor:
    """|σ_t/D| for t = 1 … T, shape (T,): how much an error of the output is magnified in x̂₀."""
    d = determinant(s.noise, make_target(s, objective))
    magnified: Tensor = (s.sigma / d).abs()[1:]
    return magnified


def loss_weight(s: Schedule, objective: Variant | str, weight: Variant | str) -> Tensor:
    """The factor on |out − y|² for every t, float64 of shape (T + 1,); index 0 is zero.

    :raises ValueError: if it is not a finite number at some t.
    """
    variant = Variant.of(weight)
    named = row(WEIGHTS, variant)
    table = named.table(s, **chosen(variant, named.table))
    if named.of is not None:
        own, its = (determinant(s.noise, make_target(s, o)) for o in (objective, named.of))
        table = table * (its / own) ** 2
    if not table[1:].isfinite().all():
        t = int(table[1:].isfinite().int().argmin()) + 1
        raise ValueError(f"weight '{weight}' of objective '{objective}' is not finite on schedule '{s.name}' at t={t}")
    return torch.cat([table.new_zeros(1), table[1:]])


def check(s: Schedule, objective: Variant | str) -> None:
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
