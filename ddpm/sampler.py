"""Samplers: iterators over a decreasing grid of times, each step a :class:`~ddpm.mix.Mix` of (x̂₀, ε̂, z).

One step from t to s needs x̂₀ and the ε̂ that goes with it. A solver of higher order differs in the x̂₀ alone: a multistep
one extrapolates it from the steps before (in λ = log α/σ), and is otherwise DDIM, or the posterior where it has noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm.bounds import NotNegative
from ddpm.denoiser import Denoiser, Estimate
from ddpm.mix import Mix, bridge
from ddpm.spec import Variant, build

StepMix = Callable[[float, float, float, float, float], Mix]
"""(α_t, σ_t, α_s, σ_s, η) → the mix that gives x_s."""


@dataclass(frozen=True)
class Sampler:
    """How a step is made.

    ``order``: from how many evaluations x̂₀ is extrapolated. ``corrects``: whether a second evaluation, at s, follows.
    ``revises``: whether the x̂₀ found at s, where the next step starts, is used to take the step to s again.
    ``churn``: how much noise is added before a step, over all steps (EDM's S_churn).
    ``learned``: whether the noise's variance is the network's. ``jumps``: whether the network is told of s as well.
    ``maps``: whether x̂₀ stands for a sample, which in more than one step only some networks give.
    """

    step: StepMix
    uses_eta: bool = False
    order: int = 1
    corrects: bool = False
    revises: bool = False
    churn: float = 0.0
    learned: bool = False
    jumps: bool = False
    maps: bool = False


def posterior(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """q(x_s | x_t, x₀), of variance β̃ (DDPM, eq. 7)."""
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s)


def wide(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """The posterior's mean with the variance β_{t|s} = 1 − (α_t/α_s)²; none at the last step."""
    last = sigma_s == 0
    large = 0.0 if last else (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2) ** 0.5
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s)._replace(c=large)


def implicit(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """DDIM's family, of standard deviation η √β̃ (arXiv 2010.02502, eq. 12 and 16)."""
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s, eta)


def straight(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """α_s x̂₀ + σ_s ε̂: Euler's step of the probability-flow equation in σ/α."""
    return bridge(alpha_t, sigma_t, alpha_s, sigma_s, 0.0)


def afresh(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
    """α_s x̂₀ + σ_s z: nothing is kept of the noise in x_t."""
    return Mix(alpha_s, 0.0, sigma_s)


def ancestral() -> Sampler:
    """DDPM's algorithm 2 with the posterior variance β̃, on any pair of times s < t (arXiv 2006.11239).

    Use: with many steps. With few it draws too little variance.
    """
    return Sampler(posterior)


def ancestral_beta() -> Sampler:
    """The same mean with the variance β (DDPM, section 3.2, its larger choice).

    Use: with all T steps only. With few it leaves noise behind.
    """
    return Sampler(wide)


def ancestral_learned() -> Sampler:
    """The same mean with the variance that the network has learned, between β̃ and β (Improved DDPM, eq. 15).

    Use: with a network that has learned it (`net: [{unet: {variance: true}}]`); made for few steps.
    """
    return Sampler(posterior, learned=True)


def ddim() -> Sampler:
    """DDIM (arXiv 2010.02502): η = 0 draws no noise, η = 1 is ``ancestral``.

    Use: with few steps, and wherever the same noise should give the same image.
    """
    return Sampler(implicit, uses_eta=True)


def euler() -> Sampler:
    """Euler's method in σ/α on the probability-flow equation (EDM, arXiv 2206.00364, eq. 4): DDIM with η = 0.

    Use: to compare with EDM's tables. It does nothing that `ddim` does not do.
    """
    return Sampler(straight)


def heun(*, churn: NotNegative = 0.0) -> Sampler:
    """Heun's method in σ/α, two evaluations a step but for the last (EDM, algorithm 2).

    With ``churn`` noise is first added to reach σ/α times 1 + min(churn/S, √2 − 1), or the nearest step that there is.

    Use: where second order matters. It was compared with the other samplers that add no noise, on Gaussian data, whose
    network is known exactly. All had equal numbers of evaluations. From 15 on, its error is the smallest on `linear`.
    On `karras` and `cosine` others have a smaller one. Do not use it with few steps on `cosine`: there σ/α falls more
    than a thousandfold in the first step.
    """
    return Sampler(straight, corrects=True, churn=churn)


def dpmpp_2m() -> Sampler:
    """DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2), the last step of first order.

    Use: with twenty steps or more: second order at one evaluation a step. With fewer, `ddim` is steadier.
    """
    return Sampler(straight, order=2)


def dpmpp_2m_sde() -> Sampler:
    """SDE-DPM-Solver++(2M) (arXiv 2211.01095): the posterior's step with the extrapolated x̂₀.

    Use: like `dpmpp_2m`, if noise along the way is wanted. Noise corrects earlier errors.
    """
    return Sampler(posterior, order=2)


def dpmpp_3m() -> Sampler:
    """DPM-Solver++ with three steps' x̂₀ (arXiv 2211.01095), its second difference with the weight of third order.

    Released codes give that difference half the weight, and start with a step of first order. Each of the two makes
    them second order. Here the first step takes a second evaluation.

    Use: with a hundred steps or more; under that it is less steady than `dpmpp_2m`. With few and long steps its
    extrapolation overshoots, even with an exact network: `ddpm-bench plan` warns of such cells.
    """
    return Sampler(straight, order=3)


def unipc() -> Sampler:
    """UniPC of order 2 with B₂(h) (Zhao et al., arXiv 2302.04867): each step of `dpmpp_2m`, taken again (UniC).

    When x̂₀ is known at s as well, the step to s is repeated. Its polynomial then goes through three x̂₀ and not two. So
    the step is of third order, at no further evaluation. As all order conditions are met, B(h) drops out after the
    first step.

    Use: with five steps or more. It needs as many evaluations as `dpmpp_2m`, and is of one order more.
    """
    return Sampler(straight, order=2, revises=True)


def renoise() -> Sampler:
    """α_s x̂₀ + σ_s z: each x̂₀ gets fresh noise of the next time (consistency models, arXiv 2303.01469, algorithm 1).

    Use: with a network that was taught by `consistency`, in one to four steps. It is possible with `progressive` and
    `reflow`. The x̂₀ of other networks is a mean, and more steps do not make samples of it: more than one is refused.
    """
    return Sampler(afresh, maps=True)


def jump() -> Sampler:
    """α_s x̂₀ + σ_s ε̂ by a network that is told of t and s: the step of an average velocity.

    On the path (1 − u) x₀ + u ε it is x − (u_t − u_s) v̄, and v̄ is the mean velocity between t and s. Sources: MeanFlow,
    arXiv 2505.13447, eq. 12, and shortcut models, arXiv 2410.12557, algorithm 2.

    Use: with a network that was taught by `meanflow` or `shortcut`, in one to eight steps.
    """
    return Sampler(straight, jumps=True)


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ancestral": ancestral,
    "ancestral_beta": ancestral_beta,
    "ancestral_learned": ancestral_learned,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "dpmpp_3m": dpmpp_3m,
    "unipc": unipc,
    "renoise": renoise,
    "jump": jump,
}


def make_sampler(spec: Variant | str) -> Sampler:
    """The sampler of that name, with its options if there are any (:mod:`ddpm.spec`)."""
    return build(SAMPLERS, spec)


def evaluations(sampler: Variant | str, steps: int) -> int:
    """How often the network is evaluated for one image."""
    rule = make_sampler(sampler)
    return 2 * steps - 1 if rule.corrects else steps + (rule.order > 2 and steps > 1)


def extrapolate(past: list[tuple[float, Tensor]], lambda_s: float) -> Tensor:
    """The x̂₀ that makes a first-order step to λ_s one of the order of ``past``: up to three (λ, x̂₀), newest last.

    With h = λ_s − λ_t, the exact step weighs x̂₀(λ) by e^(λ − λ_s)/(1 − e^−h). Differences of ``past`` stand for its
    derivatives: for two with the weight h/2 (arXiv 2211.01095, algorithm 2), for three with the exact moments. Those
    before the newest may be at any other λ, λ_s included.
    """
    if len(past) == 1:
        return past[-1][1]
    (now, x0), (before, x0_before) = past[-1], past[-2]
    h, h1 = lambda_s - now, now - before
    slope = (x0 - x0_before) / h1
    if len(past) == 2:
        return x0 + h / 2 * slope
    h2 = before - past[-3][0]
    bend = (slope - (x0_before - past[-3][1]) / h2) / (h1 + h2)
    decayed = -math.expm1(-h)
    first = h / decayed - 1  # the mean of λ − λ_t under that weight
    second = h**2 / decayed - 2 * first  # and of its square
    # Newton's form: x̂₀ + slope (λ − λ_t) + bend (λ − λ_t)(λ − λ_{t−1})
    return x0 + first * slope + (second + first * h1) * bend


def interpolate(lambda_t: float, x0: Tensor, lambda_s: float, x0_s: Tensor) -> Tensor:
    """The x̂₀ that makes a first-order step from λ_t to λ_s one of second order, x̂₀ being known at both ends."""
    h = lambda_s - lambda_t
    return x0 + (1 / -math.expm1(-h) - 1 / h) * (x0_s - x0)


class Step(NamedTuple):
    """The state after a step: the time reached, x at that time, and the x̂₀ it was made from."""

    t: int
    x: Tensor
    x0: Tensor


def clamp(x0: Tensor) -> Tensor:
    """To [−1, 1] (as DDPM's released code does)."""
    return x0.clamp(-1, 1)


def dynamic(x0: Tensor) -> Tensor:
    """To [−q, q], over q: the 99.5th percentile of each image's |x̂₀|, at least 1 (Imagen, arXiv 2205.11487, 2.3)."""
    q = x0.flatten(1).abs().quantile(0.995, dim=1).clamp(min=1).view(-1, *[1] * (x0.ndim - 1))
    return x0.clamp(-q, q) / q


CLIPS: dict[bool | str, Callable[[Tensor], Tensor] | None] = {True: clamp, False: None, "dynamic": dynamic}


def sample(
    denoiser: Denoiser,
    x: Tensor,
    times: list[int],
    sampler: Variant | str,
    noise: Callable[[int], Tensor],
    *,
    eta: float = 0.0,
    clip: bool | str = True,
) -> Iterator[Step]:
    """Walk from x_T to an image, yielding after every step; the last one has t = 0.

    :param x: x at ``times[0]``, (B, C, H, W): standard normal, or an image with that much noise.
    :param times: decreasing steps to visit, all in 1 … T, as from :func:`ddpm.spacing.space`.
    :param noise: s ↦ fresh standard noise shaped like ``x``, asked for only by steps that use it; s = t + T + 1 for the
        noise that churning adds at t.
    :param clip: a row of :data:`CLIPS`: what is done to x̂₀; ε̂ is taken to match.
    """
    walk = _Walk(denoiser, make_sampler(sampler), CLIPS[clip], eta, noise)
    for t, s in zip(times, [*times[1:], 0], strict=True):
        x, x0 = walk.step(x, t, s, len(times))
        yield Step(s, x, x0)


class _Walk:
    """The steps of one sampler: the schedule as plain numbers, and what the steps before have left."""

    def __init__(
        self,
        denoiser: Denoiser,
        rule: Sampler,
        restrain: Callable[[Tensor], Tensor] | None,
        eta: float,
        noise: Callable[[int], Tensor],
    ) -> None:
        schedule = denoiser.schedule
        self.denoiser, self.rule, self.restrain, self.eta, self.noise = denoiser, rule, restrain, eta, noise
        self.T = schedule.T
        self.alpha, self.sigma = schedule.alpha.tolist(), schedule.sigma.tolist()
        self.lambdas = (schedule.alpha / schedule.sigma).log().tolist()
        self.past: list[tuple[float, Tensor]] = []  # (λ, x̂₀) of the last steps
        self.left: tuple[int, Tensor] | None = None  # where the step before this one started

    def step(self, x: Tensor, t: int, s: int, of: int) -> tuple[Tensor, Tensor]:
        """From x_t to (x_s, x̂₀), one of ``of`` steps."""
        rule, alpha, sigma = self.rule, self.alpha, self.sigma
        if rule.churn:
            x, t = self._churn(x, t, of)
        x0, eps, v = self._estimate(x, t, s if rule.jumps else None)
        if rule.revises and self.past:
            x = self._revised(x, x0, t)  # its ε̂ is worked out with x̂₀ below; the last step has no use for it
        self.left = t, x
        bar, bar_eps = self._combined(x, x0, eps, t, s) if rule.order > 1 else (x0, eps)
        mix = rule.step(alpha[t], sigma[t], alpha[s], sigma[s], self.eta)
        draws = bool(mix.c)
        if rule.learned and draws:
            mix = mix._replace(c=_learned(v, mix.c, wide(alpha[t], sigma[t], alpha[s], sigma[s], self.eta).c))
        reached = mix(bar, bar_eps, self.noise(s) if draws else None)
        if rule.corrects and s > 0 and alpha[t] > 0:
            eps_s = self._estimate(reached, s).eps
            # the trapezium of ε̂ over σ/α instead of its value at t
            reached = reached + (sigma[s] - alpha[s] * sigma[t] / alpha[t]) * (eps_s - bar_eps) / 2
        return reached, x0

    def _estimate(self, x: Tensor, t: int, s: int | None = None) -> Estimate:
        at = torch.full((len(x),), t, device=x.device)
        to = None if s is None else torch.full_like(at, s)
        if self.restrain is None:
            return self.denoiser.estimate(x, at, to)
        x0, v = self.denoiser.clean(x, at, to)
        x0 = self.restrain(x0)
        return Estimate(x0, (x - self.alpha[t] * x0) / self.sigma[t], v)

    def _churn(self, x: Tensor, t: int, of: int) -> tuple[Tensor, int]:
        """Noise added before a step, as much as brings x to a later time; and that time."""
        up = _churned(self.lambdas, t, self.rule.churn / of)
        if up <= t:
            return x, t
        ratio = self.alpha[up] / self.alpha[t]
        more = (self.sigma[up] ** 2 - ratio**2 * self.sigma[t] ** 2) ** 0.5
        return ratio * x + more * self.noise(up + self.T + 1), up

    def _revised(self, x: Tensor, x0: Tensor, t: int) -> Tensor:
        """The step to t again, x̂₀ at t being known."""
        if self.left is None or math.isinf(self.lambdas[self.left[0]]):
            return x
        known = [one for one in self.past if not math.isinf(one[0])]
        (u, x_u), alpha, sigma = self.left, self.alpha, self.sigma
        bar = extrapolate([(self.lambdas[t], x0), *known], self.lambdas[t])
        return straight(alpha[u], sigma[u], alpha[t], sigma[t], 0.0)(bar, (x_u - alpha[u] * bar) / sigma[u])

    def _combined(self, x: Tensor, x0: Tensor, eps: Tensor, t: int, s: int) -> tuple[Tensor, Tensor]:
        """x̂₀ extrapolated from this step's and those before, and the ε̂ that goes with it."""
        alpha, sigma, lambdas = self.alpha, self.sigma, self.lambdas
        self.past = [*self.past[1 - self.rule.order :], (lambdas[t], x0)]
        if s == 0 or math.isinf(lambdas[t]):  # a step that is infinitely long in λ
            return x0, eps
        if self.rule.order > 2 and len(self.past) == 1:  # a first step of first order would be felt to the end
            ahead = straight(alpha[t], sigma[t], alpha[s], sigma[s], 0.0)(x0, eps)
            bar = interpolate(lambdas[t], x0, lambdas[s], self._estimate(ahead, s).x0)
        else:
            bar = extrapolate(self.past, lambdas[s])
        return bar, (x - alpha[t] * bar) / sigma[t]


def _churned(lambdas: list[Any], t: int, share: float) -> int:
    """The step nearest to where σ/α is 1 + min(share, √2 − 1) times that at t; T has nowhere to go."""
    wanted = lambdas[t] - math.log1p(min(share, math.sqrt(2) - 1))
    return min(range(t, len(lambdas)), key=lambda u: abs(lambdas[u] - wanted))


def _learned(v: Tensor | None, small: float, large: float) -> Tensor:
    """The standard deviation exp ½((1 − u) log β̃ + u log β), u = (v + 1)/2.

    :raises ValueError: if the network has no such output.
    """
    if v is None:
        raise ValueError("sampler 'ancestral_learned' needs a network that has learned its variance")
    u = (v + 1) / 2
    return ((1 - u) * math.log(small) + u * math.log(large)).exp()
