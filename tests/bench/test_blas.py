"""Scores have the same bits however many threads NumPy has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from bench.machine.blas import by_one_thread
from bench.score.distances import Moments, extrapolated, frechet_bias, frechet_distance
from bench.score.running import Gathered
from bench.score.views import spectrum

FEATURES = 384


def _rows(n: int) -> torch.Tensor:
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def _gathered() -> np.ndarray:
    gathered = Gathered(FEATURES)
    for part in _rows(1001).split(400):
        gathered.add(part)
    return gathered.moments.covariance


MADE: dict[str, Callable[[], np.ndarray | float | torch.Tensor]] = {
    "covariance": lambda: Moments.of(_rows(1000)).covariance,
    "root": lambda: Moments.of(_rows(1000)).root,
    "distance": lambda: frechet_distance(Moments.of(_rows(500)), Moments.of(_rows(1000))),
    "few rows": lambda: frechet_distance(Moments.of(_rows(20)), Moments.of(_rows(1000))),
    "infinity": lambda: extrapolated(_rows(20), Moments.of(_rows(1000))),
    "bias": lambda: frechet_bias(Moments.of(_rows(500)), Moments.of(_rows(1000)), 500),
    "in parts": _gathered,
    "spectrum": lambda: spectrum((_rows(600)[:, :196].abs() * 99).byte().reshape(-1, 1, 14, 14), torch.zeros(0)),
}


@pytest.mark.parametrize("what", MADE)
def test_a_score_does_not_depend_on_threads(what: str) -> None:
    made = []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            made.append(np.asarray(MADE[what]()))
    assert made[0].tobytes() == made[1].tobytes()


def test_threads_are_put_back() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(3, user_api="blas"):
        assert threads() == {3}
        assert by_one_thread(threads)() == {1}
        assert threads() == {3}
