"""Distances in parts: how many rows are looked at together changes nothing, and is bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.score import distances
from bench.score.distances import (
    Moments,
    blocks,
    covered,
    frechet_distance,
    kernel_distance,
    mean_over_pairs,
    nearest,
    radii,
)


def features(n: int, d: int = 5, seed: int = 0) -> Tensor:
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("n", "columns", "rows", "ends"),
    [
        (10, 5, None, [4, 8, 10]),  # 20 pairs
        (10, 5, 3, [3, 6, 9, 10]),
        (10, 100, None, list(range(1, 11))),  # a row has more pairs than that
        (30, 1, None, [20, 30]),
        (30, 0, None, [20, 30]),
        (4, 5, None, [4]),
        (4, 5, 9, [4]),
    ],
)
def test_parts(n: int, columns: int, rows: int | None, ends: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK", 20)
    assert list(blocks(n, columns, rows)) == [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


@pytest.mark.parametrize("pairs", [1, 70, 400])
def test_the_kernel_distance_in_parts(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = features(23), features(19, seed=1) + 0.5
    whole = kernel_distance(x, y)
    monkeypatch.setattr(distances, "BLOCK", pairs)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_what_is_known_of_the_reference_is_used() -> None:
    x, y = features(23), features(19, seed=1)
    known = mean_over_pairs(y)
    (found, error), (more, same) = kernel_distance(x, y, known), kernel_distance(x, y, known + 1)
    assert (found, error) == kernel_distance(x, y)
    assert more == pytest.approx(found + 1)
    assert same == pytest.approx(error)


def test_nearest_rows_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more rows together than said."""
    x, y = features(23), features(19, seed=1)
    balls = radii(y)
    whole = radii(x), nearest(x, y), torch.tensor(covered(x, y, balls))
    seen: list[int] = []
    plain = torch.cdist

    def watched(a: Tensor, b: Tensor) -> Tensor:
        seen.append(len(a))
        return plain(a, b)

    monkeypatch.setattr(torch, "cdist", watched)
    monkeypatch.setattr(distances, "ROWS", 3)
    for a, b in zip((radii(x), nearest(x, y), torch.tensor(covered(x, y, balls))), whole, strict=True):
        torch.testing.assert_close(a, b)
    assert max(seen) == 3
    assert sum(seen) == 3 * 23


def test_the_edge_of_a_ball_is_inside() -> None:
    centres = torch.zeros((1, 2), dtype=torch.float64)
    x = torch.tensor([[3.0, 4.0], [3.0, 4.1]], dtype=torch.float64)
    assert covered(x, centres, torch.tensor([5.0], dtype=torch.float64)) == 0.5


def test_few_rows_have_few_roots() -> None:
    """Of fewer rows than dimensions, the work is that of the rows."""
    p, q = Moments.of(features(4, 30)), Moments.of(features(100, 30, seed=1))
    assert len(distances._roots(p, q)) == 4
    assert len(distances._roots(q, q)) == 30
    whole = Moments(p.mean, p.covariance)
    assert frechet_distance(p, q) == pytest.approx(frechet_distance(whole, q), rel=1e-6)


def test_a_covariance_with_a_root_just_below_zero() -> None:
    """As rounding leaves a singular one."""
    p = Moments(np.zeros(2), np.diag([4.0, -1e-17]))
    np.testing.assert_allclose(p.root, np.diag([2.0, 0.0]), atol=1e-12)
    assert frechet_distance(p, p) == pytest.approx(0.0, abs=1e-12)
