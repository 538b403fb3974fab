"""The training images as seen by a judge: what samples are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from bench.score.distances import NEIGHBOURS, Moments, mean_over_pairs, radii

SUBSET = 10_000
"""Training images that pairwise metrics compare with, at most."""


def in_order(n: int, seed: int = 0) -> Tensor:
    """The fixed random order in which training images are used where not all of them are."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


class Reference:
    """Moments of the features of all training images, and a fixed subset of the features for pairwise metrics.

    ``beside``: the moments that the other distances need, by their column.

    :param features: of all training images, (N, d).
    """

    def __init__(
        self,
        features: Tensor,
        subset: int = SUBSET,
        seed: int = 0,
        beside: Mapping[str, Moments] | None = None,
    ) -> None:
        self.moments = Moments.of(features)
        self.beside = dict(beside or {})
        self._rows = features[in_order(len(features), seed)[:subset]]

    def rows(self, n: int) -> Tensor:
        """The features of the first ``n`` of the subset, or of all of it where it is smaller."""
        return self._rows[:n]

    @property
    def subset(self) -> Tensor:
        """The features of the whole subset."""
        return self.rows(SUBSET)

    @property
    def within(self) -> float:
        """The kernel's mean over pairs of the subset."""
        return self._within

    @cached_property
    def _within(self) -> float:
        return mean_over_pairs(self.subset)

    def manifold(self, n: int, neighbours: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
        """The first n rows of the subset and their ball radii: pairwise metrics compare equal numbers."""
        if (n, neighbours) not in self._manifolds:
            rows = self.rows(n)
            self._manifolds[n, neighbours] = rows, radii(rows, neighbours)
        return self._manifolds[n, neighbours]

    @cached_property
    def _manifolds(self) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        return {}
