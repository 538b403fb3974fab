"""Scores of images that come in parts, beside those of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.images.source import MINIMUM
from bench.score import metrics
from bench.score.classifier import Features
from bench.score.distances import Moments
from bench.score.reference import Reference
from bench.score.running import Gathered, Running, check, entropy

NAMES = ("pixel_distance", "spectrum_distance")


def rows(n: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sample(classes: int = 10) -> Features:
    """Of uneven classes, seen with little confidence."""
    logits = rows(40, classes, seed=3) + torch.linspace(0, 1, classes, dtype=torch.float64)
    return Features(rows(40) + 5, logits, beside={name: rows(40, 2 + i, seed=7) for i, name in enumerate(NAMES)})


REFERENCE = Reference(
    rows(50, seed=9), beside={name: Moments.of(rows(60, 2 + i, seed=11)) for i, name in enumerate(NAMES)}
)


def gathered(whole: Features, *cuts: int) -> Running:
    """From two processes that take parts in turn."""
    width = {name: seen.shape[1] for name, seen in whole.beside.items()}
    workers = [Running(3, width, whole.logits.shape[1]) for _ in range(2)]
    for i, (a, b) in enumerate(zip((0, *cuts), (*cuts, len(whole.features)), strict=True)):
        workers[i % 2].add(whole.rows(torch.arange(a, b)))
    workers[0].merge(workers[1])
    return workers[0]


@pytest.mark.parametrize("classes", [10, 3, 0])
@pytest.mark.parametrize("cuts", [(), (1,), (0, 13, 13, 39)])
def test_parts_are_the_whole(classes: int, cuts: tuple[int, ...]) -> None:
    """Every metric that needs no pairs, also in other features; those of classes where there are some."""
    whole = sample(classes)
    running = gathered(whole, *cuts)
    found, expected = running.scores(REFERENCE), metrics.score(whole, REFERENCE)
    of_classes = {"inception_score", "confidence", "class_balance"} if classes else set()
    assert set(found) == {"fid", "fid_bias", *NAMES} | of_classes
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-9)
    assert running.n == 40
    np.testing.assert_allclose(running.moments.covariance, np.cov(whole.features.numpy(), rowvar=False))


def test_sums_are_what_they_say() -> None:
    whole = sample()
    running, p = gathered(whole, 15), whole.logits.softmax(1).numpy()
    np.testing.assert_allclose(running.chance, p.sum(0))
    np.testing.assert_array_equal(running.count, np.bincount(p.argmax(1), minlength=10))
    assert running.entropy == pytest.approx((p * np.log(p)).sum())
    assert running.confidence == pytest.approx(p.max(1).sum())


def test_nothing_added() -> None:
    seen = Gathered(3)
    seen.add(rows(0))
    seen.merge(Gathered(3))
    assert seen.n == 0
    assert (seen.mean == 0).all()


def test_an_entropy_is_of_shares() -> None:
    assert entropy(np.array([2.0, 2.0])) == pytest.approx(math.log(2))
    assert entropy(np.array([0.0, 3.0])) == 0


def test_what_is_refused() -> None:
    check(MINIMUM, True)
    with pytest.raises(
        ValueError, match=rf"^{MINIMUM - 1} images are too few to score: at least {MINIMUM} are needed$"
    ):
        check(MINIMUM - 1, True)
    with pytest.raises(ValueError, match=r"^the classifier's features are not finite$"):
        check(MINIMUM, False)
    for broken in (sample()._replace(features=rows(40) * math.nan), sample()._replace(logits=rows(40, 10) * math.nan)):
        with pytest.raises(ValueError, match="not finite"):
            gathered(broken).scores(REFERENCE)


def test_a_running_score_of_ten_classes_by_default() -> None:
    assert len(Running(3).count) == len(Running(3).chance) == 10
    assert not Running(3).beside
