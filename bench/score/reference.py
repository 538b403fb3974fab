"""What samples are compared with: the training images, as features."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from bench.score.distances import NEIGHBOURS, Moments, mean_over_pairs, radii


class Reference:
    """What samples are compared with: features of the training images, and a fixed subset for pairwise metrics."""

    def __init__(self, features: Tensor, subset: int = 10_000, seed: int = 0) -> None:
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        self.moments = Moments.of(features)
        self.subset = features[order[:subset]]
        self.within = mean_over_pairs(self.subset)

    def state(self) -> dict[str, Tensor]:
        """What the reference is, as tensors to keep."""
        return {
            "mean": torch.from_numpy(self.moments.mean),
            "covariance": torch.from_numpy(self.moments.covariance),
            "subset": self.subset,
            "within": torch.tensor(self.within, dtype=torch.float64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Reference:
        """The reference that :meth:`state` came from."""
        new = cls.__new__(cls)
        new.moments = Moments(state["mean"].numpy(), state["covariance"].numpy())
        new.subset, new.within = state["subset"], float(state["within"])
        return new

    def manifold(self, n: int, neighbours: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
        """The first n rows of the subset and their ball radii: pairwise metrics compare equal numbers."""
        if (n, neighbours) not in self._manifolds:
            rows = self.subset[:n]
            self._manifolds[n, neighbours] = rows, radii(rows, neighbours)
        return self._manifolds[n, neighbours]

    @cached_property
    def _manifolds(self) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
        return {}
