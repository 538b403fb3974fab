"""Statistics of repeated runs, against scipy, and by how often they are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.stats import CONFIDENCE, holm, ratio, runs_to_decide


def runs(logs: np.ndarray, first: int = 0) -> dict[int, float]:
    return {first + seed: math.exp(value) for seed, value in enumerate(logs)}


def test_paired_is_the_paired_t_test() -> None:
    """p and interval of scipy's, on logarithms, over the seeds in common."""
    random = np.random.default_rng(0)
    x, noise = random.normal(1, 0.5, 6), random.normal(0.1, 0.05, 6)
    found = ratio(runs(x) | {99: 5.0}, runs(x + noise) | {77: 3.0})
    expected = stats.ttest_rel(x + noise, x)
    low, high = expected.confidence_interval(CONFIDENCE)
    assert found == pytest.approx((math.exp(noise.mean()), math.exp(low), math.exp(high), expected.pvalue, 6), rel=1e-9)


def test_without_common_seeds_it_is_welchs() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(1, 0.1, 5), random.normal(1.3, 0.4, 3)
    found = ratio(runs(x), runs(y, first=10))
    expected = stats.ttest_ind(y, x, equal_var=False)
    low, high = expected.confidence_interval(CONFIDENCE)
    assert found == pytest.approx(
        (math.exp(y.mean() - x.mean()), math.exp(low), math.exp(high), expected.pvalue, 0), rel=1e-9
    )


@pytest.mark.parametrize(
    ("a", "b", "pairs"), [({0: 2.0}, {0: 4.0}, 1), ({0: 2.0}, {1: 4.0}, 0), ({0: 2.0, 1: 2.0}, {2: 4.0}, 0)]
)
def test_one_run_tells_nothing(a: dict[int, float], b: dict[int, float], pairs: int) -> None:
    """The ratio is there; interval and p are not."""
    found = ratio(a, b)
    assert (found.value, found.pairs) == (pytest.approx(2), pairs)
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_the_same_to_the_last_bit() -> None:
    """No spread is no reason for a division by zero."""
    same = {0: 2.0, 1: 3.0}
    assert ratio(same, dict(same)) == (1, 1, 1, 1, 2)
    assert ratio({0: 2.0, 1: 2.0}, {2: 2.0, 3: 2.0}) == (1, 1, 1, 1, 0)
    doubled = ratio({0: 2.0, 1: 4.0}, {0: 4.0, 1: 8.0})
    assert doubled.value == pytest.approx(2)
    assert doubled.p < 1e-9


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("count", [3, 10])
def test_intervals_cover_and_false_alarms_are_rare(paired: bool, count: int) -> None:
    """In 2,000 simulated comparisons of a true ratio the 95% interval holds it 92 to 98 times in a hundred, and with
    no difference p < .05 comes five times in a hundred, within two standard errors.
    """
    random, covered, alarms, trials = np.random.default_rng(2), 0, 0, 2000
    for _ in range(trials):
        common = random.normal(0, 0.3, count)
        x = common + random.normal(0, 0.1, count)
        y = (common if paired else random.normal(0, 0.3, count)) + random.normal(0, 0.1, count)
        first = 0 if paired else 100
        found = ratio(runs(x), runs(y + 0.2, first))
        covered += found.low <= math.exp(0.2) <= found.high
        alarms += ratio(runs(x), runs(y, first)).p < 0.05
    assert 0.92 <= covered / trials <= 0.98
    assert alarms / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_pairing_finds_what_seeds_hide() -> None:
    """A difference far below the spread over seeds, seen only when the same seeds are compared."""
    random = np.random.default_rng(3)
    x = random.normal(0, 0.5, 5)
    y = x + 0.05 + random.normal(0, 0.01, 5)
    assert ratio(runs(x), runs(y)).p < 0.01 < 0.5 < ratio(runs(x), runs(y, first=9)).p


def test_holm() -> None:
    """The example by hand: the smallest times four, the next times three, never falling; NaN is no test."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([math.nan, 0.02, math.nan, 0.04])
    assert [found[1], found[3]] == pytest.approx([0.04, 0.04])
    assert math.isnan(found[0])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_runs_to_decide(effect: float) -> None:
    """Simulated: with that many runs the t-test finds the effect about eight times in ten, with one fewer less."""
    n = runs_to_decide(effect, 1.0)
    assert n is not None
    random, trials = np.random.default_rng(6), 4000
    found = [
        float((stats.ttest_1samp(random.normal(effect, 1, (trials, size)), 0, axis=1).pvalue < 0.05).mean())
        for size in (n, max(n - 1, 2))
    ]
    assert found[0] >= 0.8 - 2 * math.sqrt(0.16 / trials)
    assert found[1] < 0.8 + 2 * math.sqrt(0.16 / trials)


def test_runs_to_decide_what_cannot_be_decided() -> None:
    assert runs_to_decide(1e-6, 1.0) is None
    assert runs_to_decide(0.0, 1.0) is runs_to_decide(1.0, 0.0) is None
