"""A judge made of others: their features side by side, each weighted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.score.learning import JudgeNetwork


class Together(JudgeNetwork):
    """The features of several networks, times √weight, so that squared distances add up with these weights.

    The logits are the first network's.
    """

    def __init__(self, members: Sequence[tuple[JudgeNetwork, float]]) -> None:
        super().__init__()
        self.members = nn.ModuleList(network for network, _ in members)
        self.factors = [math.sqrt(weight) for _, weight in members]
        self.classes = members[0][0].classes
        self.parts = tuple(network.features for network, _ in members)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, d), logits (B, 10)."""
        seen = [network(images) for network in self.members]
        features = [part * factor for (part, _), factor in zip(seen, self.factors, strict=True)]
        return torch.cat(features, 1), seen[0][1]

    def apart(self, features: Tensor) -> tuple[Tensor, ...]:
        """What each network alone gave, from the features of all."""
        pieces = features.split(list(self.parts), 1)
        return tuple(piece / factor for piece, factor in zip(pieces, self.factors, strict=True))
