"""The judge that sees texture: a small CNN that learns digits, and to tell kinds and levels of damage apart.

Its features are means *and standard deviations* over pixels of early responses, beside the averages that say what is
drawn. A mean over pixels forgets much of the noise in them; a standard deviation is what noise changes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.images.damage import blurred, noisy
from bench.images.datasets import to_float
from bench.score.learning import JudgeNetwork, Recipe, scale, shift

WIDTHS = (16, 32, 64)
NOISE = (4.0, 8.0, 16.0, 32.0, 64.0)
"""Standard deviations in grey levels that it learns to tell apart."""
BLUR = (0.4, 0.6, 1.0)
"""Standard deviations in pixels that it learns to tell apart."""
KINDS = 1 + len(NOISE) + len(BLUR)
CLASSES = 10


class Texture(JudgeNetwork):
    """Four 3×3 convolutions, two of them with stride 2: responses of 28×28, 14×14, 7×7 and 7×7 pixels."""

    def __init__(self, channels: int = 1, classes: int = CLASSES) -> None:
        super().__init__()
        self.classes = classes
        a, b, c = WIDTHS
        self.parts = (2 * a, 2 * b, c, c)
        self.first = nn.Conv2d(channels, a, 3, padding=1)
        self.second = nn.Conv2d(a, b, 3, 2, padding=1)
        self.third = nn.Conv2d(b, c, 3, 2, padding=1)
        self.fourth = nn.Conv2d(c, c, 3, padding=1)
        self.digit, self.kind = nn.Linear(c, classes), nn.Linear(self.features, KINDS)
        self.register_buffer("scale", torch.ones(self.features))
        self.scale: Tensor
        self.to(memory_format=torch.channels_last)

    def seen(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) → features (B, 224) before they are scaled."""
        x = to_float(images).contiguous(memory_format=torch.channels_last)
        found: list[Tensor] = []
        for layer, wide in ((self.first, True), (self.second, True), (self.third, False), (self.fourth, False)):
            x = layer(x).relu()
            found.append(x.mean((2, 3)))
            if wide:
                found.append((x.var((2, 3), correction=0) + 1e-6).sqrt())
        return torch.cat(found, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 224), logits (B, 10)."""
        seen = self.seen(images)
        return seen * self.scale, self.digit(seen[:, -WIDTHS[-1] :])


def damaged(images: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of uint8 ``images`` damaged, and the kind of damage of each: 0 for none, then noise, then blur."""
    n = len(images)
    kinds = torch.randint(1, KINDS, (n,), generator=random) * (torch.rand(n, generator=random) < 0.5)
    kinds = kinds.to(images.device)
    out = images.clone()
    for i, level in enumerate(NOISE, 1):
        out[kinds == i] = noisy(images[kinds == i], level, random)
    for i, level in enumerate(BLUR, 1 + len(NOISE)):
        out[kinds == i] = blurred(images[kinds == i], level)
    return out, kinds


def loss(network: Texture, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Cross-entropy of the digit, plus that of the damage."""
    shown, kinds = damaged(shift(images, random), random)
    seen = network.seen(shown)
    digit = nn.functional.cross_entropy(network.digit(seen[:, -WIDTHS[-1] :]), labels)
    return digit + nn.functional.cross_entropy(network.kind(seen), kinds)


RECIPE = Recipe(Texture, loss, epochs=4, seed=1, standardise=scale)
