"""Timings of the model's hot paths, with pytest-benchmark: the algebra, samplers, training and sampling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.job import speed
from bench.job.generate import noise
from ddpm.denoiser import Denoiser
from ddpm.nets import NETS
from ddpm.objective import OBJECTIVES
from ddpm.sampler import SAMPLERS, make_sampler, sample
from ddpm.spacing import space

Benchmark = Callable[..., object]
CPU = torch.device("cpu")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_algebra(benchmark: Benchmark, objective: str) -> None:
    denoiser = Denoiser(lambda x, u: x, speed.SCHEDULE, objective)
    x, t = torch.randn(128, 1, 28, 28), torch.randint(1, 1001, (128,))
    benchmark(denoiser, x, t)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not make_sampler(name).jumps])
def test_sampler(benchmark: Benchmark, sampler: str) -> None:
    """Ten steps of a tile, the network and the noise being free."""
    denoiser = Denoiser(lambda x, u: torch.cat([x, x], 1), speed.SCHEDULE, "eps")  # the second half: a variance
    x, times = torch.randn(100, 1, 28, 28), space(speed.SCHEDULE, 10)
    benchmark(lambda: list(sample(denoiser, x, times, sampler, lambda t: x)))


def test_noise(benchmark: Benchmark) -> None:
    benchmark(noise, 0, [1], 0, 100, (1, 28, 28))


@pytest.mark.parametrize("net", NETS)
def test_training_step(benchmark: Benchmark, net: str) -> None:
    work = speed.training(net, CPU)
    work.run()
    benchmark(work.run)


@pytest.mark.parametrize("net", NETS)
def test_sampling_a_tile(benchmark: Benchmark, net: str) -> None:
    work = speed.sampling(net, CPU)[0]
    benchmark(work.run)
