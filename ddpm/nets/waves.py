"""The time as a network is told of it: sines and cosines, which `unet` and `dit` share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FREQUENCIES = 32


class Waves(nn.Module):
    """Sines and cosines of π/2 times a time, at frequencies from 1 to 1,000, or to 10 for a smooth function of it.

    ``width`` is how many numbers that is.
    """

    width = 2 * FREQUENCIES

    def __init__(self, *, smooth: bool = False) -> None:
        super().__init__()
        self.frequencies: Tensor
        # numbers, not a tensor: on the meta device, which checks shapes alone, logspace takes a second to set up
        frequencies = torch.logspace(0, 1 if smooth else 3, FREQUENCIES, device="cpu").tolist()
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """(B,) → (B, width)."""
        angle = u[:, None] * self.frequencies * (math.pi / 2)
        return torch.cat([angle.sin(), angle.cos()], 1)


def both_times(u: Tensor) -> tuple[Tensor, Tensor]:
    """t/T and s/T, (B,) each, of (B, 2); (B,) alone means s = t."""
    if u.ndim == 1:
        return u, u
    t, s = u.unbind(1)
    return t, s
