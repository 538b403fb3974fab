"""Timings of scoring, with pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from bench.images import datasets
from bench.job import speed
from bench.score import metrics
from bench.score.reference import Reference
from bench.score.scorer import Scorer
from bench.store.store import Store

Benchmark = Callable[..., object]


def test_features(benchmark: Benchmark) -> None:
    benchmark(speed.classifying(torch.device("cpu"), 1000).run)


def test_metrics(benchmark: Benchmark) -> None:
    random = torch.Generator().manual_seed(0)
    reference = Reference(torch.randn(10_000, 192, generator=random, dtype=torch.float64))
    features = torch.randn(2000, 192, generator=random, dtype=torch.float64)
    sample = metrics.Features(features, features[:, :10])
    reference.manifold(2000)
    # cloned, since kernel distances are kept by the features' identity
    benchmark(lambda: metrics.score(sample._replace(features=features.clone()), reference))


def test_fid_alone(benchmark: Benchmark, tmp_path: Path) -> None:
    """What other libraries' FID is compared with: the headline judge's features, and nothing else."""
    images = datasets.load("mnist")
    scorer = Scorer("mnist", images, Store(tmp_path), torch.device("cpu"))
    benchmark(scorer.score, images.test[:500], only="fid")


def test_panel(benchmark: Benchmark, tmp_path: Path) -> None:
    """All that a cell's samples are scored by: every judge, every view, every metric."""
    images = datasets.load("mnist")
    scorer = Scorer("mnist", images, Store(tmp_path), torch.device("cpu"))
    benchmark(scorer.score, images.test[:500])
