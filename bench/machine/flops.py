"""Counting floating-point operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in ``run()``, 2 per multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def flops_per_image(net: nn.Module, channels: int, side: int) -> dict[str, int]:
    """:func:`flops` of one forward pass and of one training step, per image."""
    device = next(net.parameters()).device
    x, u = torch.zeros(1, channels, side, side, device=device), torch.ones(1, device=device)
    trained = [p for p in net.parameters() if p.requires_grad]
    with torch.no_grad():
        forward = flops(lambda: net(x, u))
    return {"forward": forward, "train": flops(lambda: torch.autograd.grad(net(x, u).sum(), trained))}
