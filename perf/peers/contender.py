"""What all contenders share: a setting as plain values, batches and padding, and training in slices of wall-clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
CPU = torch.device("cpu")
SAMPLE_BATCH = 100
"""Images a sampling pass, for everybody: the tile of :mod:`bench.job.generate` on a CPU."""


@dataclass(frozen=True)
class Setting:
    """A network and how to train it, as plain values: enough to build a contender, and what the record says of it."""

    library: str
    label: str
    settings: dict[str, Any]
    recipe: dict[str, Any]

    def using(self, **recipe: Any) -> Setting:
        """The same network with parts of the recipe replaced."""
        return replace(self, recipe=self.recipe | recipe)

    def describe(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        return asdict(self)


class Contender(Protocol):
    """One library's network, training loop and sampler, on one device."""

    net: nn.Module

    def steps(self, images: Tensor, planned: int) -> Iterator[None]:
        """Train on uint8 ``images`` (N, 1, 28, 28), which lie on its device, yielding after each step.

        :param planned: how many steps there will be, for learning rates that decay to the end of the run.
        """

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Make what :meth:`averaged` gave the weights that are sampled from."""

    def sample(self, n: int, evaluations: int, seed: int, batch: int = SAMPLE_BATCH) -> Tensor:
        """Draw n images with that many evaluations of the network each: uint8 (n, 1, 28, 28).

        :param batch: images a pass, for those who are free to choose (ours has its tile).
        :raises FloatingPointError: if they are not finite.
        """


def batches(images: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Endless random batches of ``size`` rows; each image comes once before any comes again."""
    device = images.device
    random = torch.Generator(device).manual_seed(seed)
    left = torch.empty(0, dtype=torch.long, device=device)
    while True:
        while len(left) < size:
            left = torch.cat([left, torch.randperm(len(images), generator=random, device=device)])
        yield images[left[:size]]
        left = left[size:]


def padded_side(side: int, multiple: int) -> int:
    """The smallest multiple that is no less than ``side``: what a network that halves its input several times needs."""
    return -(-side // multiple) * multiple


def pad(images: Tensor, side: int) -> Tensor:
    """Images (..., H, W) framed with zeros (black, in uint8) to ``side``, the same width all around (H = W)."""
    left = (side - images.shape[-1]) // 2
    right = side - images.shape[-1] - left
    return nn.functional.pad(images, (left, right, left, right))


def crop(images: Tensor, side: int) -> Tensor:
    """The inverse of :func:`pad`: the middle (..., side, side)."""
    left = (images.shape[-1] - side) // 2
    return images[..., left : left + side, left : left + side]


def unit_to_uint8(images: Tensor) -> Tensor:
    """float 0 … 1 → uint8, the nearest level.

    :raises FloatingPointError: if a value is not finite.
    """
    if not images.isfinite().all():
        raise FloatingPointError("the samples are not finite")
    return images.mul(255).round().clamp(0, 255).to(torch.uint8)


class Snapshot(NamedTuple):
    """Weights taken once ``train_s`` seconds had been spent on training, for the time ``mark_s`` that was asked for."""

    mark_s: float
    train_s: float
    step: int
    weights: dict[str, Tensor]


def train(
    steps: Iterator[None],
    marks: list[float],
    averaged: Callable[[], dict[str, Tensor]],
    now: Callable[[], float] = time.perf_counter,
) -> Iterator[Snapshot]:
    """Train until the last mark (seconds of training, increasing), yielding a snapshot at each.

    Only steps count: the clock stands still while a snapshot is taken and handed over. The step during which a mark
    passes is finished; if several pass in it, there is one snapshot, for the last of them. Steps that end by
    themselves give the last snapshot then.
    """
    waiting, spent, done = list(marks), 0.0, 0
    since = now()
    for _ in steps:
        done += 1
        elapsed = spent + now() - since
        if elapsed < waiting[0]:
            continue
        spent = elapsed
        while waiting and spent >= waiting[0]:
            mark = waiting.pop(0)
        yield Snapshot(mark, spent, done, averaged())
        if not waiting:
            return
        since = now()
    yield Snapshot(waiting[-1], spent + now() - since, done, averaged())


def placed(net: Module, device: torch.device) -> Module:
    """The network on that device. Where that is the CPU it stays where it was built."""
    return net if device.type == "cpu" else net.to(device)


def parameters(net: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
