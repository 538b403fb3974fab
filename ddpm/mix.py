"""The algebra: everything DDPM adds is a mix of three vectors.

A :class:`Mix` ``(a, b, c)`` stands for ``a x₀ + b ε + c z`` with x₀ the clean image, ε the noise inside x_t and z
fresh standard noise. The forward process, the regression targets, the posterior and every sampler step are values of
this one type, so nothing downstream branches on the objective.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddpm.precision import Cast


class Mix(NamedTuple):
    """``a x₀ + b ε + c z``. Each coefficient is a float or a tensor that broadcasts against images."""

    a: Any
    b: Any
    c: Any = 0.0

    def __call__(self, x0: Tensor, eps: Tensor, z: Tensor | None = None) -> Tensor:
        """The mixed tensor, shaped like ``x0``; without ``z`` its mean (c z has mean zero)."""
        mean = self.a * x0 + self.b * eps
        return mean if z is None else mean + self.c * z


def posterior_std(alpha_t: Any, sigma_t: Any, alpha_s: Any, sigma_s: Any) -> Any:
    """√β̃, the standard deviation of q(x_s | x_t, x₀) for s < t (DDPM, arXiv 2006.11239, eq. 7)."""
    return (sigma_s / sigma_t) * _sqrt(sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2)


def bridge(alpha_t: Any, sigma_t: Any, alpha_s: Any, sigma_s: Any, eta: float = 1.0) -> Mix:
    """q_η(x_s | x_t, x₀) for s < t, as a mix of x₀, the ε inside x_t, and z.

    η = 1 is DDPM's posterior (eq. 7) and η = 0 is deterministic DDIM (arXiv 2010.02502, eq. 12 and 16, where the
    standard deviation is linear in η). With σ_s = 0 the mix is x₀ itself: the last step needs no special case.
    """
    c = eta * posterior_std(alpha_t, sigma_t, alpha_s, sigma_s)
    return Mix(alpha_s, _sqrt(sigma_s**2 - c**2), c)


def determinant(noise: Mix, target: Mix) -> Any:
    """D = α_t b − σ_t a: zero where a target says nothing about x₀ that x_t does not say already."""
    return noise.a * target.b - noise.b * target.a


def unmix(noise: Mix, target: Mix) -> tuple[Mix, Mix]:
    """Solve x_t = noise(x₀, ε), out = target(x₀, ε) by Cramer's rule: two mixes that take (x_t, out) to x̂₀ and to ε̂.

    ``target.c`` plays no part, since E[z | x_t] = 0. Coefficients are whatever the arguments' are: solve float64
    tables once and cast the result, as D is a small difference for some targets.
    """
    d = determinant(noise, target)
    return Mix(target.b / d, -noise.b / d), Mix(-target.a / d, noise.a / d)


class Table:
    """Mixes tabulated over t, cast once for a type and device, then gathered per batch."""

    def __init__(self, *mixes: Mix) -> None:
        self._columns = 3 * len(mixes)
        self._cast = Cast(torch.stack([torch.as_tensor(k).expand(len(m.a)) for m in mixes for k in m], 1))

    def at(self, t: Tensor, like: Tensor) -> list[Mix]:
        """The mixes at steps ``t`` of shape (B,), their coefficients shaped (B, 1, …) to multiply ``like``."""
        columns = self._cast.like(like)[t].view(-1, self._columns, *[1] * (like.ndim - 1)).unbind(1)
        return [Mix(*columns[i : i + 3]) for i in range(0, len(columns), 3)]


def slope(table: Tensor) -> Tensor:
    """The derivative by t of a table over t = 0 … T, of second order in the step; the row of t = 0 repeats t = 1.

    :raises ValueError: if T < 3.
    """
    if len(table) < 4:
        raise ValueError(f"a derivative by t needs T of 3 or more, not {len(table) - 1}")
    (inner,) = torch.gradient(table[1:], edge_order=2)
    return torch.cat([inner[:1], inner])


def _sqrt(x: Any) -> Any:
    """Square root of what is non-negative but for rounding."""
    return x.clamp(min=0).sqrt() if isinstance(x, Tensor) else math.sqrt(max(x, 0.0))
