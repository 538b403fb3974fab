"""Networks: name → a function of (channels, side) that builds one. All map (x_t, t/T) to an output shaped like x_t, or
with twice its channels where the variance is learned (Improved DDPM, arXiv 2102.09672, section 3.1). One that knows
classes takes them as a third argument (:mod:`ddpm.guidance`). One that is told of a second time takes (t/T, s/T), of
shape (B, 2), as well as t/T (:data:`ddpm.denoiser.Net`).

Keyword-only parameters are options: a study may write ``net: [unet, {unet: {width: 24}}]``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ddpm.nets.dit import DiT
from ddpm.nets.scorenet import ScoreNet
from ddpm.nets.unet import UNet
from ddpm.spec import Variant, build, option

NETS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "scorenet": ScoreNet,
    "dit": DiT,
}


def learns_variance(spec: Variant | str) -> bool:
    """Whether the network of that name has a second half of outputs, for the variance."""
    return bool(option(NETS, spec, "variance", False))


def classes_of(spec: Variant | str) -> int:
    """How many classes the network of that name can be told of; 0 if it takes none."""
    return int(option(NETS, spec, "classes", 0))


def takes_second_time(spec: Variant | str) -> bool:
    """Whether the network of that name can be told of a second time, as (t/T, s/T) in the place of t/T."""
    return bool(option(NETS, spec, "second_time", False))


def make_net(spec: Variant | str, channels: int, side: int) -> nn.Module:
    """The network of that name, with its options if there are any (:mod:`ddpm.spec`), for square images.

    :raises ValueError: if it does not exist for this shape or with these options.
    """
    return build(NETS, spec, channels, side)
