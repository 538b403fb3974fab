"""Networks: name → a function of (channels, side) that builds one. All map (x_t, t/T) to an output shaped like x_t."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ddpm.nets.scorenet import ScoreNet
from ddpm.nets.unet import UNet

NETS: dict[str, Callable[[int, int], nn.Module]] = {
    "unet": UNet,
    "scorenet": ScoreNet,
}


def make_net(name: str, channels: int, side: int) -> nn.Module:
    """The named network for square images.

    :raises ValueError: if it does not exist for this shape.
    """
    return NETS[name](channels, side)
