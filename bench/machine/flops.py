"""Counting floating-point operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Counter(TorchDispatchMode):
    """Adds up torch's own formulas for what is computed while it is on.

    torch's ``FlopCounterMode`` counts the same, but imports torch's compiler first: about 2 s and 70 MB.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from torch.utils.flop_counter import flop_registry  # imports Triton: 80 MB that only counting needs

        self.total, self.formulas = 0, flop_registry

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, torch imports it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each operation."""
        kwargs = kwargs or {}
        formula = self.formulas.get(func.overloadpacket)
        if formula is None:
            with self:  # in inference mode an operation made of others comes whole
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.total += int(formula(*args, **kwargs, out_val=out))
        return out


def flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in ``run()``, 2 per multiply-add."""
    with Counter() as counter:
        run()
    return counter.total


def flops_per_image(net: nn.Module, channels: int, side: int) -> dict[str, int]:
    """:func:`flops` of one forward pass and of one training step, per image."""
    device = next(net.parameters()).device
    x, u = torch.zeros(1, channels, side, side, device=device), torch.ones(1, device=device)
    trained = [p for p in net.parameters() if p.requires_grad]
    with torch.no_grad():
        forward = flops(lambda: net(x, u))
    return {"forward": forward, "train": flops(lambda: torch.autograd.grad(net(x, u).sum(), trained))}
