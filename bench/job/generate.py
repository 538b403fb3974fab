"""Drawing samples so that a sample's bytes depend on the cell and its index alone.

Two things make it so. The noise of image i at time t is a function of (seed, i, t), from a counter-based generator
(Philox: Salmon et al., SC 2011), on whatever device the rest runs. And the network only ever sees tiles of one fixed
size, filled up where images run out, since a convolution's rounding may depend on the batch's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.images.datasets import to_uint8
from ddpm.base import Base
from ddpm.denoiser import Denoiser, Net
from ddpm.guidance import guided
from ddpm.sampler import Step, sample
from ddpm.schedule import Schedule
from ddpm.spacing import space

if TYPE_CHECKING:
    from bench.study.model import Sampling
    from ddpm.spec import Variant

#: images a forward pass, by device type: part of what a sample's bytes depend on
TILE = {"cpu": 100, "cuda": 500, "mps": 250}
BLOCK = 50  # images a noise draw; divides every tile
DRAWN = 1000  # images' noise drawn at once, that of as many steps ahead
STRIP_IMAGES, STRIP_TIMES = 6, 10


class Batch(NamedTuple):
    """Samples ``start`` and up: uint8 (B, C, H, W); and frames of the first batch's first images, else None."""

    start: int
    images: Tensor
    strip: Tensor | None


def noise(seed: int, times: Sequence[int], start: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal (len(times), count, *shape) float32: at each of ``times``, rows ``start`` … of its noise.

    It is drawn in whole blocks; ``start`` is a multiple of BLOCK.
    """
    drawn = np.empty((len(times), -(-count // BLOCK), BLOCK, *shape), np.float32)

    def draw(place: tuple[int, int]) -> None:
        at, block = place
        random = np.random.Generator(np.random.Philox(key=seed, counter=[0, times[at], start // BLOCK + block, 0]))
        random.standard_normal(out=drawn[place], dtype=np.float32)

    list(_drawers().map(draw, np.ndindex(drawn.shape[:2])))
    return torch.from_numpy(drawn).flatten(1, 2)[:, :count]


class _Ahead:
    """s ↦ the noise at s. That of the next times of a grid is drawn with it, so that threads wake up only once."""

    def __init__(self, draw: Callable[[Sequence[int]], Tensor], times: Sequence[int], ahead: int) -> None:
        self.draw, self.times, self.ahead = draw, times, ahead
        self.drawn: dict[int, Tensor] = {}

    def __call__(self, s: int) -> Tensor:
        """Whatever is not of the grid is drawn by itself."""
        if s not in self.drawn:
            at = self.times.index(s) if s in self.times else None
            wanted = [s] if at is None else self.times[at : at + self.ahead]
            self.drawn |= zip(wanted, self.draw(wanted), strict=True)
        return self.drawn.pop(s)


@cache
def _drawers() -> ThreadPoolExecutor:
    """Threads that draw blocks at once (numpy lets go of the interpreter while it fills an array)."""
    return ThreadPoolExecutor(torch.get_num_threads())


def tiled(net: Callable[..., Tensor], tile: int) -> Callable[..., Tensor]:
    """The network, evaluated ``tile`` images at a time, all at the time of the first."""

    def evaluate(x: Tensor, u: Tensor, *y: Tensor) -> Tensor:
        parts = zip(x.split(tile), *(classes.split(tile) for classes in y), strict=True)
        # a captured graph returns the same memory each time: what it wrote there must be copied before the next call
        outputs = [net(part, u[:1], *of_part).clone() for part, *of_part in parts]
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]

    return evaluate


def asked(start: int, count: int, classes: int) -> Tensor:
    """The classes asked of images ``start`` and up, where there is guidance: each in turn, (count,) int64."""
    return torch.arange(start, start + count) % classes


def _told(net: Callable[..., Tensor], start: int, count: int, classes: int, scale: float, device: torch.device) -> Net:
    """The guided network for images ``start`` and up."""
    return guided(net, asked(start, count, classes).to(device), classes, scale)


def start_noise(seed: int, start: int, count: int, shape: tuple[int, int]) -> Tensor:
    """ε of images ``start`` and up, whatever the sampler and the number of steps: (count, C, H, W)."""
    # time 2³² is never stepped to
    return noise(seed, [2**32], start, count, (shape[0], shape[1], shape[1]))[0]


def beginning(
    sampling: Sampling, base: Base | None, schedule: Schedule, t: int, *, start: int, tile: int, eps: Tensor
) -> Tensor:
    """x of images ``start`` and up at the first step t that sampling visits: their noise ``eps`` (B, C, H, W) alone.

    With a start, x₀ is drawn from the base, ``tile`` images at a time, and noised.

    :raises ValueError: if there is a start and no base.
    """
    if sampling.start is None:
        return eps
    if base is None:
        raise ValueError("a start is a sample of a base, and there is none")
    drawn = []
    for first in range(start, start + len(eps), tile):
        z = noise(sampling.sample_seed, [2**32 + 1], first, tile, (eps[0].numel(),))[0]
        u = torch.special.ndtr(noise(sampling.sample_seed, [2**32 + 2], first, tile, (1,))[0, :, 0])
        drawn.append(base.draw(z.to(eps.device), u.to(eps.device)))
    return float(schedule.alpha[t]) * torch.cat(drawn).view_as(eps) + float(schedule.sigma[t]) * eps


def first_outputs(
    net: Callable[..., Tensor],
    *,
    shape: tuple[int, int],
    n: int,
    seed: int,
    device: torch.device,
    guidance: float | None = None,
    classes: int = 0,
) -> Iterator[Tensor]:
    """The network's outputs for x_T, which all the ways to sample it start from, a tile at a time."""
    tile = TILE[device.type]
    with torch.inference_mode():
        for start in range(0, n, tile):
            x = start_noise(seed, start, tile, shape).to(device)
            evaluate = net if guidance is None else _told(net, start, tile, classes, guidance, device)
            yield evaluate(x, torch.ones(1, device=device)).clone()  # a captured graph writes over what it returned


def strip_times(times: Sequence[int]) -> list[int]:
    """Those of a sampler's times that a strip shows: :data:`STRIP_TIMES` of them, the first and the last included."""
    return [times[round(i)] for i in np.linspace(0, len(times) - 1, min(STRIP_TIMES, len(times)))]


def generate(
    net: Callable[..., Tensor],
    schedule: Schedule,
    objective: Variant | str,
    sampling: Sampling,
    *,
    shape: tuple[int, int],
    n: int,
    device: torch.device,
    batch: int | None = None,
    first: Tensor | None = None,
    classes: int = 0,
    base: Base | None = None,
    tile: int | None = None,
) -> Iterator[Batch]:
    """Draw ``n`` samples, yielding them a batch at a time.

    :param net: with the weights that ``sampling`` is to be of.
    :param shape: (channels, side).
    :param batch: images at a time, rounded up to whole tiles (default one tile). It changes memory, not a byte.
    :param first: what :func:`first_outputs` gave, for at least ``n`` images, instead of evaluating it again.
    :param classes: how many the network knows. Guidance is towards each in turn.
    :param base: what the network is on: a sampling with a start needs it.
    :param tile: images a forward pass (default :data:`TILE`); fewer than BLOCK only if ``n`` is no more than that.
    :raises FloatingPointError: if samples stop being finite. A start without a base is a ValueError.
    """
    tile = tile or TILE[device.type]
    batch = -(-(batch or tile) // tile) * tile
    whole = tiled(net, tile)
    known: list[Tensor] = []
    seed, guidance = sampling.sample_seed, sampling.guidance
    times = space(schedule, sampling.sample_steps, sampling.spacing, sampling.start)
    for start in range(0, n, batch):
        count = min(batch, -(-(n - start) // tile) * tile)

        def draw(at: Sequence[int], start: int = start, count: int = count) -> Tensor:
            return noise(seed, at, start, count, (shape[0], shape[1], shape[1])).to(device)

        network = whole if guidance is None else _told(whole, start, count, classes, guidance, device)
        denoiser = Denoiser(_unless_known(network, known), schedule, objective)
        fresh = _Ahead(draw, times, max(1, DRAWN // count))
        if first is not None and sampling.start is None and times[0] == schedule.T:
            known.append(first[start : start + count])
        with torch.inference_mode():
            eps = start_noise(seed, start, count, shape).to(device)
            x = beginning(sampling, base, schedule, times[0], start=start, tile=tile, eps=eps)
            steps = sample(denoiser, x, times, sampling.sampler, fresh, eta=sampling.eta or 0.0, clip=sampling.clip)
            x, strip = _follow(steps, x, times[0], set() if start else set(strip_times(times)))
            images = _as_images(x, sampling)[: n - start].cpu()
        yield Batch(start, images, to_uint8(torch.stack(strip)).cpu() if strip else None)


def _as_images(x: Tensor, sampling: Sampling) -> Tensor:
    if not x.isfinite().all():
        raise FloatingPointError(
            f"diverged while sampling ({sampling.sampler}, {sampling.sample_steps} steps): not finite"
        )
    return to_uint8(x)


def _unless_known(network: Net, known: list[Tensor]) -> Net:
    """The network, but for its next outputs that are ``known`` already, which are used up."""

    def evaluate(x: Tensor, u: Tensor) -> Tensor:
        return known.pop() if known else network(x, u)

    return evaluate


def _follow(steps: Iterator[Step], x: Tensor, t: int, frames: set[int]) -> tuple[Tensor, list[Tensor]]:
    """Where the steps lead from x_t, and what the first images were at the times ``frames``."""
    strip = []
    for step in steps:
        if t in frames:
            strip.append(torch.stack([x[:STRIP_IMAGES], step.x0[:STRIP_IMAGES]]))
        x, t = step.x, step.t
    return x, strip
