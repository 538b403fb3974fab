"""The judge of images without labels: it learns to tell quarter turns, and kinds and levels of damage, apart.

Turns are what RotNet learns from (Gidaris, Singh & Komodakis 2018, arXiv 1803.07728). No label is needed for either.
The network is that of :mod:`bench.score.texture`. It gives features and no classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.score.learning import Recipe, scale, shift
from bench.score.texture import WIDTHS, Texture, damaged

TURNS = 4


class Turns(Texture):
    """:class:`~bench.score.texture.Texture` with the turns in place of the digits."""

    def __init__(self, channels: int = 1, classes: int = 0) -> None:
        super().__init__(channels, TURNS)
        self.classes = classes

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 224), no logits (B, 0)."""
        features, logits = super().forward(images)
        return features, logits[:, :0]


def turned(images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Square ``images`` (N, C, H, H), each turned by as many quarters as the second of the two says."""
    turns = torch.randint(TURNS, (len(images),), generator=random).to(images.device)
    out = images.clone()
    for k in range(1, TURNS):
        out[turns == k] = images[turns == k].rot90(k, (2, 3))
    return out, turns


def loss(network: Turns, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Cross-entropy of the turn, plus that of the damage. ``labels`` are not looked at."""
    upright, turns = turned(images, random)
    shown, kinds = damaged(shift(upright, random), random)
    seen = network.seen(shown)
    turn = nn.functional.cross_entropy(network.digit(seen[:, -WIDTHS[-1] :]), turns)
    return turn + nn.functional.cross_entropy(network.kind(seen), kinds)


RECIPE = Recipe(Turns, loss, epochs=4, seed=3, standardise=scale)
