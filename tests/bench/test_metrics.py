"""Metrics against torch-fidelity, closed forms and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_poly, mmd2
from torch_fidelity.metric_prc import prc_features_to_metric

from bench.score import distances, metrics, running
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance
from bench.score.metrics import METRICS
from bench.score.reference import Reference


def draw(n: int, d: int = 16, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Correlated Gaussian features."""
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / 4
    return torch.randn(n, d, generator=random, dtype=torch.float64) @ mix + shift


X, Y = draw(300, seed=1, shift=0.2), draw(500, seed=2)


def test_fid_is_torch_fidelitys() -> None:
    theirs = fid_statistics_to_metric(fid_features_to_statistics(X), fid_features_to_statistics(Y), verbose=False)
    ours = frechet_distance(Moments.of(X), Moments.of(Y))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)


def test_kid_is_torch_fidelitys() -> None:
    x, y = X.numpy(), Y[:300].numpy()
    theirs = mmd2(*(kernel_poly(a, b) for a, b in ((x, x), (x, y), (y, y))))
    assert distances.kernel_distance(X, Y[:300])[0] == pytest.approx(theirs, rel=1e-9)


def test_inception_score_is_torch_fidelitys() -> None:
    logits = 3 * draw(400, 10)
    theirs = isc_features_to_metric(logits, splits=1)
    assert distances.inception_score(logits) == pytest.approx(theirs["inception_score_mean"], rel=1e-9)


def test_precision_and_recall_are_torch_fidelitys() -> None:
    sample, reference = draw(400, 4, seed=1, shift=0.3), Reference(draw(400, 4, seed=2))
    theirs = prc_features_to_metric(sample, reference.subset, prc_neighborhood=3, prc_batch_size=1000, verbose=False)
    features = Features(sample, torch.zeros(400, 10))
    assert metrics.precision(features, reference) == pytest.approx(theirs["precision"], abs=1e-6)
    assert metrics.recall(features, reference) == pytest.approx(theirs["recall"], abs=1e-6)


def test_fid_to_itself_is_nothing() -> None:
    assert frechet_distance(Moments.of(X), Moments.of(X)) == pytest.approx(0, abs=1e-9)


def test_fid_of_gaussians_has_a_closed_form() -> None:
    """Commuting covariances: |μ₁ − μ₂|² + Σ (√λ₁ − √λ₂)²."""
    p = Moments(np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    q = Moments(np.array([3.0, 1.0]), np.diag([1.0, 16.0]))
    assert frechet_distance(p, q) == pytest.approx(9 + 1 + 1)
    assert frechet_distance(q, p) == pytest.approx(11)


def test_fid_survives_singular_covariances() -> None:
    p = Moments(np.zeros(3), np.diag([1.0, 0.0, 0.0]))
    q = Moments(np.zeros(3), np.diag([0.0, 1.0, 0.0]))
    assert frechet_distance(p, q) == pytest.approx(2)
    assert math.isfinite(frechet_distance(Moments.of(X[:5]), Moments.of(Y)))


def test_fid_of_fewer_rows_than_features_is_that_of_their_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are compared by themselves: the larger matrix has the same eigenvalues. The reference's root is kept."""
    few, reference = Moments.of(X[:9]), Moments.of(Y)
    assert few.factor is not None
    assert few.factor.shape == (9, 16)
    assert few.factor.T @ few.factor == pytest.approx(few.covariance)
    assert Moments.of(X).factor is None
    whole = Moments(few.mean, few.covariance)
    assert frechet_distance(few, reference) == pytest.approx(frechet_distance(whole, reference), rel=1e-6)
    assert distances.frechet_bias(few, reference, 9) == pytest.approx(
        distances.frechet_bias(whole, reference, 9), rel=1e-6
    )
    monkeypatch.setattr(np.linalg, "eigh", None)
    assert frechet_distance(Moments.of(X), reference) > 0


def test_fid_has_the_bias_theory_gives_it() -> None:
    """d(d + 5)/(4N) σ² for white features and an exact reference (REFERENCE section 2, item 12)."""
    d, n, trials = 12, 500, 200
    exact = Moments(np.zeros(d), np.eye(d))
    random = torch.Generator().manual_seed(0)
    values = [
        frechet_distance(Moments.of(torch.randn(n, d, generator=random, dtype=torch.float64)), exact)
        for _ in range(trials)
    ]
    error = np.std(values) / math.sqrt(trials)
    assert np.mean(values) == pytest.approx(d * (d + 5) / (4 * n), abs=4 * error + 0.03 * d * (d + 5) / (4 * n))


def test_the_bias_is_known() -> None:
    """Its closed form for white features; and for any, what simulation finds, which FID∞ removes."""
    d, n = 12, 500
    white = Moments(np.zeros(d), 2 * np.eye(d))
    assert distances.frechet_bias(white, white, n) == pytest.approx(2 * d * (d + 5) / (4 * n), rel=0.003)
    many = Moments.of(draw(200_000, d, seed=7)), Moments.of(draw(200_000, d, seed=8, shift=0.05))
    true = frechet_distance(*many)
    sets = [draw(n, d, seed=1000 + i) for i in range(300)]
    found = np.array([frechet_distance(Moments.of(x), many[1]) for x in sets]) - true
    error = float(found.std()) / math.sqrt(len(found))
    assert found.mean() == pytest.approx(distances.frechet_bias(*many, n), abs=3 * error + 0.03 * found.mean())
    limit = np.array([distances.extrapolated(x, many[1], seed=i) for i, x in enumerate(sets)]) - true
    assert abs(limit.mean()) < 0.1 * found.mean() + 3 * float(limit.std()) / math.sqrt(len(limit))


def test_density_and_coverage() -> None:
    """Their values for two samples of one distribution (Naeem et al., lemmas 1 and 2), and for none in common."""
    n, k = 400, metrics.NEAREST
    alike = [(draw(n, 4, seed=2 * i), Reference(draw(n, 4, seed=2 * i + 1))) for i in range(20)]
    density = np.mean([metrics.density(Features(x, torch.zeros(n, 10)), y) for x, y in alike])
    coverage = np.mean([metrics.coverage(Features(x, torch.zeros(n, 10)), y) for x, y in alike])
    assert density == pytest.approx(1, abs=0.03)
    assert coverage == pytest.approx(1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1)), abs=0.01)
    far = Features(draw(n, 4, shift=50.0), torch.zeros(n, 10))
    assert (metrics.density(far, alike[0][1]), metrics.coverage(far, alike[0][1])) == (0, 0)


def test_kid_is_unbiased_and_its_error_is_real() -> None:
    """Over draws of x with y fixed, the estimate spreads as its standard error says."""
    y = draw(2000, 8, seed=5)
    within = distances.mean_over_pairs(y)
    for shift, at_most in ((0.0, 1.3), (0.1, 1.15), (0.5, 1.15)):
        pairs = [distances.kernel_distance(draw(150, 8, seed=100 + i, shift=shift), y, within) for i in range(400)]
        estimates, errors = np.array(pairs).T
        assert 0.87 <= errors.mean() / estimates.std() <= at_most
    other = [distances.kernel_distance(draw(150, 8, seed=900 + i), draw(150, 8, seed=5000 + i))[0] for i in range(300)]
    assert abs(np.mean(other)) < 3 * np.std(other) / math.sqrt(300)


def test_the_jackknife_is_what_leaving_one_out_gives() -> None:
    x, y = X[:12], Y[:30]
    without = [distances.kernel_distance(torch.cat([x[:i], x[i + 1 :]]), y)[0] for i in range(12)]
    jackknife = 11 / 12 * np.sum((np.array(without) - np.mean(without)) ** 2)
    k, g = distances.polynomial_kernel(x, x), distances.polynomial_kernel(x, y).mean(1)
    others = ~torch.eye(12, dtype=torch.bool)
    h = k - g[:, None] - g[None, :]
    mean, given = h[others].mean(), torch.stack([h[i][others[i]].mean() for i in range(12)])
    twice = 2 / (12 * 11) * (h - given[:, None] - given[None, :] + mean)[others].square().mean()
    expected = math.sqrt(max(jackknife - float(twice), float(twice)))
    assert distances.kernel_distance(x, y)[1] == pytest.approx(expected, rel=1e-6)


def test_scores_of_known_logits() -> None:
    balanced = Features(torch.zeros(100, 16), 100.0 * torch.eye(10, dtype=torch.float64).repeat(10, 1))
    one = Features(torch.zeros(100, 16), 100.0 * torch.eye(10, dtype=torch.float64)[[3]].repeat(100, 1))
    reference = Reference(Y)
    assert distances.inception_score(balanced.logits) == pytest.approx(10)
    assert metrics.class_balance(balanced, reference) == pytest.approx(1)
    assert metrics.class_balance(one, reference) == pytest.approx(0)
    assert metrics.confidence(one, reference) == pytest.approx(1)


def test_every_metric_is_finite_and_stable_under_order() -> None:
    reference = Reference(Y)
    sample = Features(X, draw(300, 10))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    scores = metrics.score(sample, reference)
    assert set(scores) == {name for name, metric in METRICS.items() if not metric.asks and not metric.beside}
    assert all(math.isfinite(v) for v in scores.values())
    shuffled = metrics.score(Features(sample.features[order], sample.logits[order]), reference)
    subsets = {"fid_infinity"}  # of random subsets
    assert all(shuffled[name] == pytest.approx(scores[name], rel=1e-9) for name in scores.keys() - subsets)


@pytest.mark.parametrize("cuts", [[], [1], [100], [7, 8, 250, 299]])
def test_parts_add_up(cuts: list[int]) -> None:
    """In one process or merged from several, to 1e-9; the mean far from 0, where sums of squares would lose digits."""
    reference = Reference(Y)
    sample = Features(X + 1000, draw(300, 10))
    whole = metrics.score(sample, reference)
    workers = [running.Running(16) for _ in range(2)]
    for i, (a, b) in enumerate(itertools.pairwise([0, *cuts, 300])):
        workers[i % 2].add(Features(sample.features[a:b], sample.logits[a:b]))
    workers[0].merge(workers[1])
    found = workers[0].scores(reference)
    assert len(found) == 5
    assert all(value == pytest.approx(whole[name], rel=1e-9) for name, value in found.items())


def test_too_few_in_parts() -> None:
    seen = running.Running(16)
    seen.add(Features(X[:0], X[:0, :10]))
    seen.add(Features(X[:10], X[:10, :10]))
    with pytest.raises(ValueError, match="10 images are too few"):
        seen.scores(Reference(Y))
    seen.add(Features(X[:20] * math.nan, X[:20, :10]))
    with pytest.raises(ValueError, match="not finite"):
        seen.scores(Reference(Y))


def test_classes_that_were_asked_for() -> None:
    """By class, averaged and at worst; not there where none were asked for."""
    seen = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2])
    logits = 9.0 * torch.nn.functional.one_hot(seen, 10).double()
    sample = Features(draw(8, 4), logits, asked=torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]))
    assert metrics.class_accuracy(sample, Reference(Y)) == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics.worst_class_accuracy(sample, Reference(Y)) == 0.5
    with pytest.raises(ValueError, match="no classes"):
        metrics.class_accuracy(sample._replace(asked=None), Reference(Y))


def test_what_cannot_be_scored_is_refused() -> None:
    reference = Reference(Y)
    with pytest.raises(ValueError, match="too few"):
        metrics.score(Features(X[:19], torch.zeros(19, 10)), reference)
    with pytest.raises(ValueError, match="not finite"):
        metrics.score(Features(X * math.nan, torch.zeros(300, 10)), reference)
