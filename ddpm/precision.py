"""Where float64 lives: on the CPU. A device may have none (Apple's MPS), and gets copies in its own type."""

from __future__ import annotations

import torch
from torch import Tensor


def widest(device: torch.device) -> torch.dtype:
    """The widest floating type that a device has: float64, or float32 on MPS."""
    return torch.float32 if device.type == "mps" else torch.float64


def as_float64(x: Tensor) -> Tensor:
    """A float64 copy on the CPU (``x`` itself where it is one)."""
    return x.cpu().double()


class Cast:
    """Numbers that stay in float64 on the CPU, and a copy for each type and device that they are wanted in."""

    def __init__(self, float64: Tensor) -> None:
        self.float64 = float64
        self._made: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """The numbers in the type and on the device of ``x``; made once, so not to be written to."""
        kind = (x.dtype, x.device)
        if kind not in self._made:
            with torch.inference_mode(False):  # what is made while sampling may have to be differentiated later
                self._made[kind] = self.float64.to(x)
        return self._made[kind]
