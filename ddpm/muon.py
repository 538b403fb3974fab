"""Muon: momentum whose update is made orthogonal, for a network's matrices; AdamW for whatever else it has.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). A convolution's kernel counts as the
matrix (outputs, inputs · height · width). The update is scaled to the root mean square that AdamW's has, so that both
halves share one learning rate (Liu et al., arXiv 2502.16982, eq. 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
SMALLEST = 16
"""Fewest inputs and outputs of what counts as a matrix: the layers next to pixels have no directions to balance."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""p(x) = a x + b x³ + c x⁵, which five times over takes every singular value in (0, 1] to between 0.7 and 1.2."""


def orthogonalise(g: Tensor, rounds: int = 5) -> Tensor:
    """Nearly U Vᵀ of each matrix's singular value decomposition: (B, m, n) → the same, by Newton–Schulz iteration."""
    a, b, c = QUINTIC
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal. Matrices of one shape are stacked, so that a step is a few large products.

    :param params: weights of two or more dimensions.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002 (the base class has it)
        """One update from the gradients; every parameter must have one."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                shapes.setdefault(tuple(p.flatten(1).shape), []).append(p)
            for (m, n), alike in shapes.items():
                for p in alike:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                gradients = [p.grad for p in alike if p.grad is not None]
                momenta = [self.state[p]["momentum"] for p in alike]
                torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
                ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)
                update = orthogonalise(torch.stack([a.flatten(1) for a in ahead]))
                if group["weight_decay"]:
                    torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * max(m, n) ** 0.5
                torch._foreach_add_(alike, [u.view(p.shape) for u, p in zip(update, alike, strict=True)], alpha=-rate)


def split(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters of ``net``: its matrices, and the rest."""
    trained = [p for p in net.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and min(p.shape[:2]) >= SMALLEST]
    chosen = set(map(id, matrices))
    return matrices, [p for p in trained if id(p) not in chosen]
