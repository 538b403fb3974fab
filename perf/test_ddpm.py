"""Timings of the model's hot paths, with pytest-benchmark: the algebra, samplers, training, teaching and sampling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.images import datasets
from bench.job import speed
from bench.job.generate import noise
from ddpm.base import BASES, parts
from ddpm.denoiser import Denoiser
from ddpm.ema import KEPT, Ema, PowerEma
from ddpm.guidance import guided
from ddpm.nets import NETS, make_net
from ddpm.objective import OBJECTIVES
from ddpm.sampler import SAMPLERS, sample
from ddpm.spacing import space
from ddpm.teach import TEACH, make_teach
from ddpm.train import OPTIMISERS, Loss, Recipe, Trainer

Benchmark = Callable[..., object]
CPU = torch.device("cpu")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_algebra(benchmark: Benchmark, objective: str) -> None:
    denoiser = Denoiser(lambda x, u: x, speed.SCHEDULE, objective)
    x, t = torch.randn(128, 1, 28, 28), torch.randint(1, 1001, (128,))
    benchmark(denoiser, x, t)


@pytest.mark.parametrize("sampler", SAMPLERS)
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


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimiser(benchmark: Benchmark, optimiser: str) -> None:
    """One step from gradients that are there."""
    net = make_net("unet", 1, speed.SIDE)
    for weight in net.parameters():
        weight.grad = torch.randn_like(weight)
    optimisers = OPTIMISERS[optimiser](net, Recipe(epochs=1))
    benchmark(lambda: [one.step() for one in optimisers])


def test_averages(benchmark: Benchmark) -> None:
    """The weights' averages, those for snapshots included."""
    net = make_net("unet", 1, speed.SIDE)
    averages = [Ema(net, 0.999), *(PowerEma(net, length) for length in KEPT)]
    benchmark(lambda: [average.update() for average in averages])


@pytest.mark.parametrize("teach", [name for name in TEACH if name != "data"])
def test_taught_step(benchmark: Benchmark, teach: str) -> None:
    """One training step, half way through the training: `consistency` begins as plain training."""
    rule = make_teach(teach)
    net, teacher = (make_net("unet(second_time=true)" if rule.second else "unet", 1, speed.SIDE) for _ in range(2))
    loss, recipe = Loss(speed.SCHEDULE, "v", "unit", teach), Recipe(epochs=1000, batch_size=speed.BATCH)
    trainer = Trainer(net, loss, recipe, 0, teacher if rule.teacher else None)
    trainer.epoch = recipe.epochs // 2
    images = torch.randint(0, 256, (100 * speed.BATCH, 1, speed.SIDE, speed.SIDE), dtype=torch.uint8)
    steps = trainer.steps(images, datasets.to_float)
    next(steps)
    benchmark(next, steps)


@pytest.mark.parametrize("base", [name for name in BASES if name != "none"])
def test_base(benchmark: Benchmark, base: str) -> None:
    """What a base makes of a batch; its network is apart."""
    made = parts("unet", base, 1, speed.SIDE)[1]
    assert made is not None
    x, alpha = torch.randn(speed.BATCH, speed.SIDE**2), torch.rand(speed.BATCH, 1)
    benchmark(made.posterior_mean, x, alpha, (1 - alpha**2).sqrt())


@pytest.mark.parametrize("base", [name for name in BASES if name != "none"])
def test_fit_of_a_base(benchmark: Benchmark, base: str) -> None:
    made = parts("unet", base, 1, speed.SIDE)[1]
    assert made is not None
    images = torch.randint(0, 256, (5000, 1, speed.SIDE, speed.SIDE), dtype=torch.uint8)
    benchmark(made.fit, images, datasets.to_float, torch.Generator())


def test_guidance(benchmark: Benchmark) -> None:
    """One guided evaluation of a tile, which is two of the network."""
    net = make_net("unet(classes=10)", 1, speed.SIDE).eval()
    x, u = torch.randn(100, 1, speed.SIDE, speed.SIDE), torch.rand(100)
    evaluate = guided(net, torch.arange(100) % 10, 10, 2.0)

    def evaluated() -> None:
        with torch.inference_mode():
            evaluate(x, u)

    benchmark(evaluated)


@pytest.mark.parametrize("net", NETS)
def test_sampling_a_tile(benchmark: Benchmark, net: str) -> None:
    work = speed.sampling(net, CPU)[0]
    benchmark(work.run)
