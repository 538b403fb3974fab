"""Timings of the hot paths, with pytest-benchmark: ``make perf``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench import classifier, data, metrics, study, table
from bench.generate import generate, noise
from bench.store import Store
from ddpm.denoiser import Denoiser
from ddpm.nets import NETS, make_net
from ddpm.objective import OBJECTIVES
from ddpm.schedule import make_schedule
from ddpm.train import Loss, Recipe, Trainer

Benchmark = Callable[..., object]
SCHEDULE = make_schedule("linear", 1000)


@pytest.mark.parametrize("net", NETS)
def test_training_step(benchmark: Benchmark, net: str) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (128 * 200, 1, 28, 28), dtype=torch.uint8)
    steps = Trainer(make_net(net, 1, 28), Loss(SCHEDULE, "eps", "unit"), Recipe(epochs=10), 0).steps(
        images, data.to_float
    )
    next(steps)
    benchmark(next, steps)


@pytest.mark.parametrize("net", NETS)
def test_sampling_a_tile(benchmark: Benchmark, net: str) -> None:
    torch.manual_seed(0)
    built = make_net(net, 1, 28).eval()
    options = {"shape": (1, 28), "sampler": "ancestral", "steps": 5, "eta": None, "clip": True, "n": 100, "seed": 0}
    benchmark(lambda: list(generate(built, SCHEDULE, "eps", **options, device=torch.device("cpu"))))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_algebra(benchmark: Benchmark, objective: str) -> None:
    denoiser = Denoiser(lambda x, u: x, SCHEDULE, objective)
    x, t = torch.randn(128, 1, 28, 28), torch.randint(1, 1001, (128,))
    benchmark(denoiser, x, t)


def test_noise(benchmark: Benchmark) -> None:
    benchmark(noise, 0, 1, 0, 100, (1, 28, 28))


def test_features(benchmark: Benchmark) -> None:
    network = classifier.load(*classifier.PINNED["mnist"])
    images = data.load("mnist").test[:1000]
    benchmark(classifier.extract, network, images)


def test_metrics(benchmark: Benchmark) -> None:
    random = torch.Generator().manual_seed(0)
    reference = metrics.Reference(torch.randn(20_000, 128, generator=random, dtype=torch.float64))
    features = torch.randn(2000, 128, generator=random, dtype=torch.float64)
    sample = metrics.Features(features, features[:, :10])
    reference.manifold(2000)
    benchmark(lambda: metrics.score(sample._replace(features=features.clone()), reference))


def test_store(benchmark: Benchmark, tmp_path: Path) -> None:
    quick, store = study.load("quick"), Store(tmp_path)
    record = {"status": "failed", "reason": "x" * 2000}
    for cell in quick.cells:
        store.write("cells", cell.key, record)
    benchmark(table.rows, quick, store)
