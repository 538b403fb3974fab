"""Rows of the table of metrics, each by hand on a few rows of features."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bench.score import metrics
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance, radii
from bench.score.judges import JUDGES, column
from bench.score.metrics import METRICS, Metric
from bench.score.reference import Reference, in_order
from bench.score.views import VIEWS


def rows(n: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def features(values: Tensor, classes: int = 10, **more: object) -> Features:
    return Features(values, torch.zeros(len(values), classes, dtype=torch.float64), **more)  # type: ignore[arg-type]


REFERENCE = Reference(rows(50, seed=9))


def test_what_is_known_within_the_reference_is_used() -> None:
    class Known(Reference):
        @property
        def within(self) -> float:
            return super().within + 1

    sample = features(rows(30))
    assert metrics.kid(sample, Known(rows(50, seed=9))) == pytest.approx(metrics.kid(sample, REFERENCE) + 1)


def test_balls_have_their_edges() -> None:
    """On whole numbers, where distances are equal to radii."""
    reference = Reference(torch.arange(12.0, dtype=torch.float64)[:, None])
    centres, sizes = reference.manifold(12, 5)
    sample = torch.arange(12.0, dtype=torch.float64)[:, None] + 6
    inside = (sample - centres.T).abs() <= sizes
    edges = (sample - centres.T).abs() == sizes
    assert edges.any()
    assert metrics.density(features(sample), reference) == pytest.approx(float(inside.sum(1).double().mean()) / 5)
    one = torch.full((12, 1), 5.0, dtype=torch.float64)  # at the edge of the first ball
    away = (one[0] - centres[:, 0]).abs()
    assert away[0] == sizes[0]
    assert metrics.coverage(features(one), reference) == float((away <= sizes).double().mean())


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-4])
def test_images_that_are_the_same(scale: float) -> None:
    """In units of the features' size; one other is enough."""
    values = rows(20)
    values[3] = values[7] + 1e-5
    values[11] = values[7] + 0.1
    found = metrics.repeated(features(values * scale), REFERENCE)
    assert found == 2 / 20
    error = metrics.repeated_se(features(values * scale), REFERENCE)
    assert error == pytest.approx(math.sqrt(2 * 0.1 * 0.9 / 20))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_all_images_are_the_same(value: float) -> None:
    """Also where the features are all 0, and nothing is below a share of their size."""
    same = features(torch.full((20, 3), value, dtype=torch.float64))
    assert float(radii(same.features, 1).max()) == 0
    assert metrics.repeated(same, REFERENCE) == 1
    assert metrics.repeated_se(same, REFERENCE) == 0


def test_a_distance_beside_the_headline() -> None:
    """In its own features, not those of the headline judge."""
    seen, known = rows(30, 4, seed=1), Moments.of(rows(40, 4, seed=2))
    reference = Reference(rows(50, seed=9), beside={"other": known})
    metric = metrics._beside("other", "What it is.")
    assert metric.of(features(rows(30), beside={"other": seen}), reference) == pytest.approx(
        frechet_distance(Moments.of(seen), known)
    )
    assert metric.of.__doc__ == "What it is."
    assert metric == Metric(metric.of, "lower", beside=True, reads=False)


@pytest.mark.parametrize("judge", JUDGES)
def test_the_distance_of_a_judge(judge: str) -> None:
    """Its column is the one that features go by, and its text has the judge's own."""
    metric, seen = metrics._by(judge), rows(30, 4, seed=1)
    reference = Reference(rows(50, seed=9), beside={column(judge): Moments.of(seen)})
    assert metric.of(features(rows(30), beside={column(judge): seen}), reference) == pytest.approx(0, abs=1e-9)
    text = metric.of.__doc__ or ""
    assert text.startswith(f"FID in the features of the judge `{judge}`. Where ")
    assert text.endswith(f"\n\nUse: beside `fid`: a conclusion should hold under it too. {JUDGES[judge].about}")


def test_which_metrics_samples_have() -> None:
    """Those of classes where there are some, of classes asked for where some were, of other features where seen."""
    beside = {name: rows(30, 4, seed=1) for name in (*map(column, JUDGES), *VIEWS)}
    moments = {name: Moments.of(values) for name, values in beside.items()}
    reference = Reference(rows(50, seed=9), beside=moments)
    of_classes = {name for name, metric in METRICS.items() if metric.classes}
    asking = {name for name, metric in METRICS.items() if metric.asks}
    every = features(rows(30), asked=torch.arange(30) % 10, beside=beside)
    assert set(metrics.score(every, reference)) == set(METRICS)
    assert set(metrics.score(every._replace(asked=None), reference)) == METRICS.keys() - asking
    assert set(metrics.score(every._replace(beside={}), reference)) == METRICS.keys() - beside.keys()
    none = every._replace(logits=torch.zeros(30, 0, dtype=torch.float64))
    assert set(metrics.score(none, reference)) == METRICS.keys() - of_classes
    for name in ("fid", "spectrum_distance"):
        assert metrics.score(every, reference, name) == {name: METRICS[name].of(every, reference)}


def test_no_accuracy_where_no_class_was_asked_for() -> None:
    with pytest.raises(ValueError, match=r"^no classes were asked for$"):
        metrics.class_accuracy(features(rows(20)), REFERENCE)


def test_the_subset_of_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows in an order that the seed gives, 0 unless said: it is the same in every version."""
    values = rows(30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(in_order(30), order)
    assert torch.equal(Reference(values, 10).rows(99), values[order[:10]])
    other = torch.randperm(30, generator=torch.Generator().manual_seed(4))
    assert torch.equal(Reference(values, 10, seed=4).rows(5), values[other[:5]])
    monkeypatch.setattr("bench.score.reference.SUBSET", 7)
    assert torch.equal(Reference(values, 10).subset, values[order[:7]])
