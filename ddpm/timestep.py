"""How training chooses t for each image of a batch: rows of a table, each a class built from (T, device).

A choice that sees some t more often than others either changes the loss, as a weight would (``logit_normal``), or gives
the factors that undo it (``importance``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm.bounds import Finite, Positive
from ddpm.precision import widest
from ddpm.spec import Variant, build


class Uniform:
    """t uniform in 1 … T (DDPM, algorithm 1).

    Use: by default.
    """

    reweights = False
    """Whether :meth:`factor` and :meth:`observe` have anything to do."""

    def __init__(self, T: int, device: torch.device) -> None:
        self.T, self.device = T, device

    def draw(self, size: int, random: torch.Generator) -> Tensor:
        """(size,) whole numbers in 1 … T, on the device."""
        return torch.randint(1, self.T + 1, (size,), generator=random, device=self.device)

    def factor(self, t: Tensor) -> Tensor:
        """What each image's loss is multiplied by for its mean to be that over uniform t, (B,)."""
        return torch.ones(t.shape, device=self.device)

    def observe(self, t: Tensor, losses: Tensor) -> None:
        """Learn from the losses (B,) at ``t``."""

    def state(self) -> dict[str, Tensor]:
        """What was learnt, live, for a run to resume from."""
        return {}

    def _whole(self, u: Tensor) -> Tensor:
        """[0, 1] → 1 … T."""
        return (u * self.T).floor().long().add(1).clamp(max=self.T)


class Stratified(Uniform):
    """One t in each of B equal parts of 1 … T (Kingma et al., arXiv 2107.00630, section 4.3's low-discrepancy sampler).

    One uniform number is shared by the batch; images come in random order, so each t is uniform still.

    Use: for a steadier loss at no cost.
    """

    def draw(self, size: int, random: torch.Generator) -> Tensor:
        """(size,) whole numbers in 1 … T, rising."""
        u = torch.rand(1, generator=random, device=self.device, dtype=torch.float32)
        return self._whole((torch.arange(size, device=self.device) + u) / size)


class LogitNormal(Uniform):
    """t/T the logistic of a normal number: most in the middle (Esser et al., arXiv 2403.03206, eq. 19).

    Use: with `flow`. Its effect is that of a loss weight.
    """

    def __init__(self, T: int, device: torch.device, *, mean: Finite = 0.0, std: Positive = 1.0) -> None:
        super().__init__(T, device)
        self.mean, self.std = mean, std

    def draw(self, size: int, random: torch.Generator) -> Tensor:
        """(size,) whole numbers in 1 … T."""
        normal = torch.randn(size, generator=random, device=self.device)
        return self._whole(torch.sigmoid(self.mean + self.std * normal))


class Importance(Uniform):
    """p_t ∝ √E[L_t²] from the last ten losses at each t (Improved DDPM, arXiv 2102.09672, section 3.3).

    Uniform until every t has ten. A thousandth of p stays uniform, and losses get the factor 1/(T p_t).

    Use: with the weight `vlb`, whose loss differs most between steps. It needs ten losses at every t before it
    starts.
    """

    reweights = True
    KEPT, UNIFORM = 10, 1e-3

    def __init__(self, T: int, device: torch.device) -> None:
        super().__init__(T, device)
        self.losses = torch.zeros(T + 1, self.KEPT, device=device)  # row 0 takes what is not kept
        self.seen = torch.zeros(T + 1, dtype=torch.long, device=device)

    def p(self) -> Tensor:
        """The chance of each t, (T + 1,), none for 0. Nothing waits for the device."""
        root = self.losses[1:].to(widest(self.device)).square().mean(1).sqrt()
        learnt = (1 - self.UNIFORM) * root / root.sum() + self.UNIFORM / self.T
        chance = torch.where((self.seen[1:] >= self.KEPT).all(), learnt, torch.full_like(root, 1 / self.T))
        return torch.cat([chance.new_zeros(1), chance])

    def draw(self, size: int, random: torch.Generator) -> Tensor:
        """(size,) whole numbers in 1 … T."""
        return torch.multinomial(self.p(), size, replacement=True, generator=random)

    def factor(self, t: Tensor) -> Tensor:
        """1/(T p_t), (B,)."""
        return (1 / (self.T * self.p()[t])).float()

    def observe(self, t: Tensor, losses: Tensor) -> None:
        """Put each loss in place of the oldest at its t; of more than ten at one t the last ten."""
        t, order = t.sort(stable=True)
        first, last = torch.searchsorted(t, t), torch.searchsorted(t, t, right=True)
        index = torch.arange(len(t), device=t.device)
        row = torch.where(index >= last - self.KEPT, t, 0)
        self.losses[row, (self.seen[t] + index - first) % self.KEPT] = losses[order].to(self.losses)
        self.seen.index_add_(0, t, torch.ones_like(t))

    def state(self) -> dict[str, Tensor]:
        """Losses and how many there were."""
        return {"losses": self.losses, "seen": self.seen}


#: name → class; keyword-only parameters are options
TIMESTEPS: dict[str, Callable[..., Uniform]] = {
    "uniform": Uniform,
    "stratified": Stratified,
    "logit_normal": LogitNormal,
    "importance": Importance,
}


def make_timesteps(spec: Variant | str, T: int, device: torch.device) -> Uniform:
    """The choice of that name, with its options if there are any (:mod:`ddpm.spec`)."""
    return build(TIMESTEPS, spec, T, device)
