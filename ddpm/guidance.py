"""Classes: training with them left out now and then, and classifier-free guidance (Ho & Salimans, arXiv 2207.12598).

A network that knows K classes is ``net(x_t, t/T, y)`` with y in 0 … K; K means that none is said, as does no y at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm.denoiser import Net, halves

ClassNet = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_t of shape (B, C, H, W), t/T of shape (B,), classes of shape (B,)) → an output."""

UNTOLD = 0.1
"""Share of training images whose class is not said: p_uncond (section 4: 0.1 and 0.2 serve equally well)."""


def forget(classes: Tensor, none: int, random: torch.Generator) -> Tensor:
    """``classes`` (B,) with each one replaced by ``none`` with probability :data:`UNTOLD`."""
    untold = torch.rand(len(classes), generator=random, device=classes.device) < UNTOLD
    return classes.masked_fill(untold, none)


def told(net: ClassNet, classes: Tensor) -> Net:
    """The network with the classes of its images given."""
    return lambda x, u: net(x, u, classes)


def evaluations(scale: float | None) -> int:
    """How often the network is evaluated for one guided estimate."""
    return 1 if scale in (None, 0, 1) else 2


def guided(net: ClassNet, classes: Tensor, none: int, scale: float) -> Net:
    """The output without a class, moved ``scale`` times the way to the output with it, as a network of (x_t, t/T).

    0 is no class, 1 the class alone; the paper's w is ``scale`` − 1 (eq. 6). x̂₀ and ε̂ are affine in the output given
    x_t, so moving the output moves both, whatever the objective. What a network says of the variance is not moved: it
    is that of the class.
    """
    nothing = torch.full_like(classes, none)

    def evaluate(x: Tensor, u: Tensor) -> Tensor:
        if scale == 0:
            return net(x, u, nothing)
        whole = net(x, u, classes)
        if scale == 1:
            return whole
        whole = whole.clone()  # a captured graph writes over what it returned
        with_class, v = halves(whole, x)
        without, _ = halves(net(x, u, nothing), x)
        out = without + scale * (with_class - without)
        return out if v is None else torch.cat([out, v], 1)

    return evaluate
