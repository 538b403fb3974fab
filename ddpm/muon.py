"""Muon: momentum whose update is made orthogonal, for a network's matrices; AdamW for whatever else it has.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). A convolution's kernel counts as the
matrix (outputs, inputs · height · width). The update is scaled to the root mean square that AdamW's has, so that both
halves share one learning rate (Liu et al., arXiv 2502.16982, eq. 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
SMALLEST = 16
"""Fewest inputs and outputs of what counts as a matrix: the layers next to pixels have no directions to balance."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""p(x) = a x + b x³ + c x⁵, which five times over takes every singular value in (0, 1] to between 0.7 and 1.2."""


def orthogonalise(stacks: Sequence[Tensor], rounds: int = 5) -> list[Tensor]:
    """Nearly U Vᵀ of each matrix's singular value decomposition, by Newton–Schulz iteration.

    The iterate is P X, with X the matrix (wide, or transposed) and P a polynomial of X Xᵀ. So X Xᵀ is all that is
    iterated, for all stacks at once and however wide X is, and P X is taken once, at the end.

    :param stacks: (B, m, n) each, with one min(m, n) for all of them. The result is like them.
    """
    a, b, c = QUINTIC
    wide = [g.mT if g.shape[-2] > g.shape[-1] else g for g in stacks]
    wide = [x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7) for x in wide]
    gram = torch.cat([x @ x.mT for x in wide])
    product = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    for _ in range(rounds):
        p = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal(dim1=-2, dim2=-1).add_(a)
        product, gram = p @ product, p @ gram @ p
    done = [p @ x for p, x in zip(product.split([len(x) for x in wide]), wide, strict=True)]
    return [x.mT if g.shape[-2] > g.shape[-1] else x for g, x in zip(stacks, done, strict=True)]


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal. Matrices are stacked, so that a step is a few large products.

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
            sides: dict[int, list[list[Tensor]]] = {}
            for shape, alike in shapes.items():
                sides.setdefault(min(shape), []).append(alike)
            for stacks in sides.values():
                updates = orthogonalise([self._ahead(alike) for alike in stacks])
                for alike, update in zip(stacks, updates, strict=True):
                    if group["weight_decay"]:
                        torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
                    rate = group["lr"] * 0.2 * max(update.shape[1:]) ** 0.5
                    moves = [u.view(p.shape) for u, p in zip(update.contiguous(), alike, strict=True)]
                    torch._foreach_add_(alike, moves, alpha=-rate)

    def _ahead(self, alike: list[Tensor]) -> Tensor:
        """Update the momenta of parameters of one shape; what they will be at the next step, (B, m, n)."""
        for p in alike:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients = [p.grad for p in alike if p.grad is not None]
        momenta = [self.state[p]["momentum"] for p in alike]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        return torch.stack([a.flatten(1) for a in torch._foreach_lerp(gradients, momenta, MOMENTUM)])


def split(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters of ``net``: its matrices, and the rest."""
    trained = [p for p in net.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2 and min(p.shape[:2]) >= SMALLEST]
    chosen = set(map(id, matrices))
    return matrices, [p for p in trained if id(p) not in chosen]
