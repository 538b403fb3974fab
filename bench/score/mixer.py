"""A judge of another kind: an MLP-Mixer (Tolstikhin et al., arXiv 2105.01601) on patches of 4×4 pixels.

It has neither the convolutions nor the ReLU of the other judges, and another seed. It is shown plain training images
with smoothed labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.images.datasets import to_float
from bench.score.learning import JudgeNetwork, Recipe, scale

PATCH, WIDTH, HIDDEN, BLOCKS = 4, 64, 128, 3
CLASSES = 10
SMOOTHED = 0.05


class Block(nn.Module):
    """Tokens are mixed in each channel, then channels in each token, each by two layers and added."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.tokens = nn.Sequential(nn.Linear(tokens, WIDTH), nn.GELU(), nn.Linear(WIDTH, tokens))
        self.channels = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, channels) → the same."""
        x = x + self.tokens(self.first(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.second(x))


class Mixer(JudgeNetwork):
    """Three blocks. The features are what the first and the last give, averaged over patches: 64 each."""

    parts = (WIDTH, WIDTH)

    def __init__(self, channels: int = 1, classes: int = CLASSES, side: int = 28) -> None:
        super().__init__()
        self.classes = classes
        self.patches = nn.Conv2d(channels, WIDTH, PATCH, PATCH)
        self.blocks = nn.ModuleList(Block((side // PATCH) ** 2) for _ in range(BLOCKS))
        self.last, self.digit = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, classes)
        self.register_buffer("scale", torch.ones(self.features))
        self.scale: Tensor

    def seen(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 128) before they are scaled, and logits (B, 10)."""
        x = self.patches(to_float(images)).flatten(2).transpose(1, 2)
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        last = self.last(x).mean(1)
        return torch.cat([found[0].mean(1), last], 1), self.digit(last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 128), logits (B, 10)."""
        seen, logits = self.seen(images)
        return seen * self.scale, logits


def loss(network: Mixer, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Cross-entropy with smoothed labels."""
    return nn.functional.cross_entropy(network(images)[1], labels, label_smoothing=SMOOTHED)


RECIPE = Recipe(Mixer, loss, epochs=5, seed=2, standardise=scale)
