"""What tests of scores share: small pictures, and what a generator tells."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import torch
from torch import Tensor

from bench.score.kept import Progress

T = TypeVar("T")


def pictures(n: int = 6, channels: int = 1, side: int = 8, seed: int = 0) -> Tensor:
    """Noise, uint8 (n, channels, side, side)."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=random, dtype=torch.uint8)


def watched(steps: Generator[Progress, None, T]) -> tuple[list[Progress], T]:
    """What a generator told, and what came of it."""
    told: list[Progress] = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            found: T = end.value
            return told, found
