"""Copies, classes and pixels: each against what is known of made-up sets."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.score import copies, views
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance
from tests import small

pictures = partial(small.pictures, side=3)


def draw(n: int, d: int = 8, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def seen(counts: list[int], features: Tensor | None = None) -> Features:
    """So many samples of each class."""
    classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    logits = 9.0 * torch.nn.functional.one_hot(classes, 10).double()
    return Features(draw(len(classes)) if features is None else features, logits)


def test_nearest() -> None:
    x, y = draw(2100, 3, 1), draw(50, 3, 2)
    expected = (x[:, None] - y[None]).square().sum(2).sqrt().min(1).values
    assert torch.allclose(copies.nearest(x, y), expected)


def test_copies_are_found() -> None:
    """New draws are as near as test images are; a twentieth of copies is found, and noise far away is not one."""
    train, test = draw(3000, seed=1), draw(2000, seed=2)
    fresh = copies.nearness(draw(1000, seed=3), test, train)
    assert fresh.copies == pytest.approx(copies.RARE, abs=0.01)
    assert fresh.p > 0.01
    assert fresh.samples == pytest.approx(fresh.test, rel=0.05)
    some = torch.cat([draw(950, seed=4), train[:50] + 1e-6])
    assert copies.nearness(some, test, train).p < 1e-6
    assert copies.nearness(draw(500, shift=40), test, train).copies == 0


def test_each_class_by_itself() -> None:
    """None where there are too few samples, or too few training images: their moments would be NaN."""
    labels = torch.arange(1000) % 10
    labels[labels == 8] = 7
    labels[7] = 8
    train = draw(1000, seed=5) + labels[:, None]
    sample = seen([100] * 9 + [5])
    found = copies.by_class(sample, train, labels)
    assert [c for c, fid in enumerate(found) if fid is None] == [8, 9]
    assert found[3] == pytest.approx(
        frechet_distance(Moments.of(sample.features[300:400]), Moments.of(train[labels == 3]))
    )


def test_balance() -> None:
    """χ² against the reference's own frequencies, by hand for two classes; and a class that does not exist there."""
    reference = seen([300, 100]).logits
    assert copies.balance(seen([75, 25]), reference) == pytest.approx(1)
    assert copies.balance(seen([50, 50]), reference) == pytest.approx(7.77e-9, rel=0.01)
    assert copies.balance(seen([75, 25, 1]), reference) == 0


def test_pixels() -> None:
    """In all components it is the plain distance; a set against itself has none."""
    random = np.random.default_rng(0)
    a, b = (torch.from_numpy(random.integers(0, 256, (300, 1, 3, 3)).astype(np.uint8)) for _ in range(2))
    plain = frechet_distance(*(Moments.of(x.flatten(1).double() / 255) for x in (a, b)))
    basis = views.principal(b)
    assert basis.shape == (9, 9)
    found = [
        frechet_distance(Moments.of(views.projected(x, basis[:, :k])), Moments.of(views.projected(b, basis[:, :k])))
        for x, k in ((a, 9), (a, 4), (b, 9))
    ]
    assert found[0] == pytest.approx(plain, rel=1e-5)
    assert found[1] < plain
    assert found[2] == pytest.approx(0, abs=1e-9)


def test_as_near_as_the_limit_counts() -> None:
    """On whole numbers: the test images' 1% is 2, and one sample of three is as near. p is a binomial's tail."""
    train = torch.zeros(1, 1, dtype=torch.float64)
    test = torch.full((50, 1), 2.0, dtype=torch.float64)
    found = copies.nearness(torch.tensor([[2.0], [3.0], [4.0]], dtype=torch.float64), test, train)
    assert found == (3.0, 2.0, 1 / 3, pytest.approx(1 - 0.99**3))


def test_twenty_images_of_a_class_are_enough() -> None:
    found = copies.by_class(seen([20, 20, 19]), draw(60, seed=5), torch.arange(60) % 3)
    assert [fid is not None for fid in found] == [True, True, False] + [False] * 7


def test_a_class_of_one_training_image_is_one() -> None:
    assert 0 < copies.balance(seen([75, 25, 1]), seen([300, 100, 1]).logits) < 1


@pytest.mark.parametrize("classes", [10, 0])
def test_everything_of_a_set(classes: int) -> None:
    """Each number of the images it is of: those that are looked at, training images, and test images."""

    class Scorer:
        images = SimpleNamespace(
            train=pictures(200, seed=1), test=pictures(100, seed=2), train_labels=torch.arange(200) % 10
        )
        network = SimpleNamespace(classes=classes)

        def see(self, images: Tensor, only: str) -> Features:
            assert only == "confidence"
            features = images.flatten(1)[:, :4].double() ** 0.5
            return Features(features, features @ draw(4, 10, seed=8))

        def score(self, images: Tensor, only: str) -> dict[str, float]:
            assert only == "pixel_distance"
            return {only: float(len(images))}

    scorer: Any = Scorer()
    images = pictures(300, seed=3)
    found = copies.look(scorer, images)
    own, train, test = (scorer.see(x, "confidence") for x in (images, scorer.images.train, scorer.images.test))
    features = (x.features.float() for x in (own, test, train))
    values = ((x.flatten(1).double() / 255).float() for x in (images, scorer.images.test, scorer.images.train))
    expected: dict[str, Any] = {
        "nearest_in_features": copies.nearness(*features)._asdict(),
        "nearest_in_pixels": copies.nearness(*values)._asdict(),
        "pixel_distance": 300.0,
    }
    if classes:
        expected["fid_by_class"] = copies.by_class(own, train.features, scorer.images.train_labels)
        expected["class_balance_p"] = copies.balance(own, train.logits)
    assert found == expected


def test_a_line_each() -> None:
    """In order, with what is there."""
    near = {"samples": 1.0, "test": 2.0, "copies": 0.25, "p": 1e-9}
    found: dict[str, Any] = {"nearest_in_features": near, "nearest_in_pixels": near}
    more = {"fid_by_class": [1.5, None], "class_balance_p": 0.5, "pixel_distance": 0.1}
    said = "1 away (median), 2 from test images; 25.0% of samples are nearer than 99% of test images are (p = 1e-09)"
    nearest = [f"nearest training image in {space}: {said}" for space in ("features", "pixels")]
    assert copies.describe(found) == nearest
    assert copies.describe(found | more) == [
        *nearest,
        "FID by the class seen: 0: 1.5, 1: –",
        "classes as frequent as in the training images: p = 0.5",
        "Fréchet distance of pixels in 64 principal components: 0.1",
    ]
