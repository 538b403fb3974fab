"""Networks: name → a function of (channels, side) that builds one. All map (x_t, t/T) to an output shaped like x_t, or
with twice its channels where the variance is learned (Improved DDPM, arXiv 2102.09672, section 3.1). One that knows
classes takes them as a third argument (:mod:`ddpm.guidance`).

Keyword-only parameters are options: a study may write ``net: [unet, {unet: {width: 24}}]``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ddpm.nets.scorenet import ScoreNet
from ddpm.nets.unet import UNet
from ddpm.spec import parse

NETS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "scorenet": ScoreNet,
}


def learns_variance(spec: str) -> bool:
    """Whether the network of that name has a second half of outputs, for the variance."""
    return bool(parse(spec)[1].get("variance", False))


def classes_of(spec: str) -> int:
    """How many classes the network of that name can be told of; 0 if it takes none."""
    return int(parse(spec)[1].get("classes", 0))


def make_net(spec: str, channels: int, side: int) -> nn.Module:
    """The network of that name, with its options if there are any (:mod:`ddpm.spec`), for square images.

    :raises ValueError: if it does not exist for this shape.
    """
    name, options = parse(spec)
    return NETS[name](channels, side, **options)
