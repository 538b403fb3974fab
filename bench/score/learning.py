"""How every judge is trained: AdamW on a one-cycle rate, weights averaged. The judges differ in what they are shown."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TELL_S = 1.0
"""Seconds between two steps that are told of."""


class JudgeNetwork(nn.Module):
    """uint8 images (B, C, H, W) → features (B, d), logits (B, ``classes``).

    ``parts`` are the widths of its feature layers.
    """

    parts: tuple[int, ...]
    classes: int = 10

    @property
    def features(self) -> int:
        """d, the number of features."""
        return sum(self.parts)


Loss = Callable[[Any, Tensor, Tensor, torch.Generator], Tensor]
"""(network, uint8 images, labels, what to draw with) → the mean loss of a batch."""


class Recipe(NamedTuple):
    """How a judge is made: the network for (channels, classes), the loss, and what is done when it is trained."""

    network: Callable[[int, int], JudgeNetwork]
    loss: Loss
    epochs: int
    seed: int
    standardise: Callable[[Any, Tensor, torch.device | str], None]


class Step(NamedTuple):
    """Where training is: this share of epoch ``epoch`` of ``of`` is done."""

    epoch: int
    of: int
    share: float


class Fitted(NamedTuple):
    """An epoch is done: its mean loss, and the averaged network."""

    epoch: int
    loss: float
    network: JudgeNetwork


def fit(
    network: JudgeNetwork,
    images: Tensor,
    labels: Tensor,
    loss_of: Loss,
    *,
    epochs: int,
    seed: int,
    rate: float = 2e-3,
    batch: int = 128,
    decay: float = 0.998,
    device: torch.device | str = "cpu",
) -> Iterator[Step | Fitted]:
    """Train on uint8 ``images`` (N, C, H, W), an epoch at a time, and tell of it about once a second.

    Whatever is drawn is drawn on the CPU, so that a device changes rounding alone. The network in each
    :class:`Fitted` is the exponential average of the weights (``decay``), on ``device``.
    """
    random = torch.Generator().manual_seed(seed)
    network = network.to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, fused=True)
    images, labels = images.to(device), labels.to(device)
    batch = min(batch, len(images))
    steps = len(images) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * steps, pct_start=0.2)
    told = time.monotonic()
    for epoch in range(1, epochs + 1):
        network.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(images), generator=random)[: steps * batch].view(steps, batch)
        for i, index in enumerate(order.to(device)):
            loss = loss_of(network, images[index], labels[index], random)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach()
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                yield Step(epoch, epochs, (i + 1) / steps)
        for kept, now in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(now)
        yield Fitted(epoch, total.item() / steps, average.eval())


@torch.no_grad()
def scale(network: Any, images: Tensor, device: torch.device | str) -> None:
    """Scale each part of a network's features to a mean square of 1 over uint8 ``images``, by its buffer ``scale``."""
    network.scale.fill_(1)
    square = torch.zeros(network.features, dtype=torch.float64)
    for part in images.split(250):
        square += network(part.to(device))[0].cpu().double().square().sum(0)
    parts = (square / len(images)).split(list(network.parts))
    network.scale.copy_(torch.cat([part.mean().rsqrt().expand(len(part)) for part in parts]))


def shift(images: Tensor, random: torch.Generator, by: int = 2) -> Tensor:
    """Each image moved by up to ``by`` pixels either way, zeros moving in."""
    n, c, h, w = images.shape
    padded = nn.functional.pad(images, (by, by, by, by))
    where = images.device
    dy, dx = torch.randint(0, 2 * by + 1, (2, n), generator=random).to(where)
    rows = (dy[:, None] + torch.arange(h, device=where))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(w, device=where))[:, None, None, :]
    image, channel = torch.arange(n, device=where), torch.arange(c, device=where)
    return padded[image[:, None, None, None], channel[:, None, None], rows, columns]
