"""Statistics of repeated runs, against scipy, and by how often they are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.analysis.stats import CONFIDENCE, components, holm, improvement, profile, ratio, runs_to_decide


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
    """In 1,000 simulated comparisons of a true ratio the 95% interval holds it 92 to 98 times in a hundred, and in
    1,000 others with no difference p < .05 comes five times in a hundred, within two standard errors.
    """
    random, covered, alarms, trials = np.random.default_rng(2), 0, 0, 1000
    for trial in range(2 * trials):
        common = random.normal(0, 0.3, count)
        x = common + random.normal(0, 0.1, count)
        y = (common if paired else random.normal(0, 0.3, count)) + random.normal(0, 0.1, count)
        shift = 0.2 if trial % 2 else 0.0
        found = ratio(runs(x), runs(y + shift, 0 if paired else 100))
        if shift:
            covered += found.low <= math.exp(shift) <= found.high
        else:
            alarms += found.p < 0.05
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


@pytest.mark.parametrize(("effect", "alpha"), [(0.5, 0.05), (1.0, 0.05), (2.0, 0.05), (1.0, 0.01)])
def test_runs_to_decide(effect: float, alpha: float) -> None:
    """Simulated: with that many runs the t-test finds the effect about eight times in ten, with one fewer less."""
    n = runs_to_decide(effect, 1.0, alpha)
    assert n is not None
    random, trials = np.random.default_rng(6), 4000
    found = [
        float((stats.ttest_1samp(random.normal(effect, 1, (trials, size)), 0, axis=1).pvalue < alpha).mean())
        for size in (n, max(n - 1, 2))
    ]
    assert found[0] >= 0.8 - 2 * math.sqrt(0.16 / trials)
    assert found[1] < 0.8 + 2 * math.sqrt(0.16 / trials)


def test_runs_to_decide_what_cannot_be_decided() -> None:
    assert runs_to_decide(1e-6, 1.0) is None
    assert runs_to_decide(0.0, 1.0) is runs_to_decide(1.0, 0.0) is None


def scattered(
    random: np.random.Generator, training: float, noise: float, both: float, settings: int, runs: int, draws: int
) -> np.ndarray:
    """Logs of scores whose parts have these standard deviations."""
    return (
        training * random.standard_normal((settings, runs, 1))
        + noise * random.standard_normal((1, 1, draws))
        + both * random.standard_normal((settings, runs, draws))
    )


def test_components_are_the_mean_squares_of_two_way_analysis_of_variance() -> None:
    """Three networks × two draws, worked out by hand: mean squares 2.5, 0.6667 and 0.1667."""
    found = components(np.array([[[1.0, 2.0], [2.0, 2.0], [3.0, 4.0]]]))
    assert found.training.sd**2 == pytest.approx((2.1666667 - 0.1666667) / 2)
    assert found.noise.sd**2 == pytest.approx((0.6666667 - 0.1666667) / 3)
    assert found.both.sd**2 == pytest.approx(0.1666667)
    assert found.error(3, 2) ** 2 == pytest.approx(1.0 / 3 + 0.1666667 / 2 + 0.1666667 / 6)


def test_components_of_one_kind_alone() -> None:
    """Where only the network matters, the other parts are 0, and the other way round."""
    logs = np.random.default_rng(0).standard_normal((2, 4, 1)) + np.zeros((1, 1, 3))
    by_network, by_noise = components(logs, 2), components(logs.transpose(0, 2, 1), 2)
    assert by_network.training.sd == pytest.approx(logs[:, :, 0].var(1, ddof=1).mean() ** 0.5)
    assert by_noise.noise.sd == pytest.approx(by_network.training.sd)
    assert max(by_network.noise.sd, by_network.both.sd, by_noise.training.sd, by_noise.both.sd) < 1e-7


@pytest.mark.parametrize(
    ("parts", "settings", "runs", "draws"),
    [((0.1, 0.05, 0.02), 1, 5, 4), ((0.1, 0.1, 0.1), 1, 3, 3), ((0.02, 0.02, 0.05), 2, 10, 3)],
)
def test_intervals_of_components_cover(parts: tuple[float, ...], settings: int, runs: int, draws: int) -> None:
    """A nominal 95% interval holds the truth in 92% to 98% of simulated studies, whichever component.

    With several settings in more, as what they share is taken to be all that they have.
    """
    random, trials, hits = np.random.default_rng(3), 600, np.zeros(3)
    for _ in range(trials):
        found = components(scattered(random, *parts, settings, runs, draws), settings, trials=2000)
        hits += [one.low <= truth <= one.high for one, truth in zip(found[:3], parts, strict=True)]
    assert (hits / trials >= 0.92).all()
    assert settings > 1 or (hits / trials <= 0.98).all()


def test_improvement_is_the_mann_whitney_statistic() -> None:
    """scipy's U over the number of pairs, averaged over settings; ties count half, and missing runs for nothing."""
    random = np.random.default_rng(4)
    a, b = random.integers(0, 5, (3, 6)).astype(float), random.integers(0, 6, (3, 4)).astype(float)
    expected = [stats.mannwhitneyu(y, x).statistic / 24 for x, y in zip(a, b, strict=True)]
    found = improvement(a, b)
    assert (found.value, found.settings) == (pytest.approx(np.mean(expected)), 3)
    assert found.low < found.value < found.high
    more = np.column_stack([a, np.full(3, np.nan)])
    assert improvement(more, b) == pytest.approx(found)
    assert improvement(b, a).value == pytest.approx(1 - found.value)


def test_one_run_has_no_chance_to_speak_of() -> None:
    found = improvement(np.array([[1.0]]), np.array([[2.0]]))
    assert found.value == 1
    assert math.isnan(found.low)


@pytest.mark.parametrize(("runs", "shift"), [(3, 2.0), (5, 1.0), (5, 2.0), (10, 0.5), (10, 1.5)])
def test_intervals_of_improvement_cover(runs: int, shift: float) -> None:
    """Nominal 95% intervals hold the truth in 92% to 98% of simulated pairs of levels."""
    random, trials, truth = np.random.default_rng(5), 1000, stats.norm.cdf(shift / math.sqrt(2))
    hits = 0
    for _ in range(trials):
        found = improvement(random.standard_normal((1, runs)), shift + random.standard_normal((1, runs)))
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / trials <= 0.98


def test_profile() -> None:
    """Dolan & Moré's definition, by hand: the best is within 1 of itself; a tie has two best."""
    scores = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.6], [10.0, 5.0, 30.0]])
    found = profile(scores, np.array([1.0, 1.2, 2.0, 5.9, 6.0]))
    assert found == pytest.approx(np.array([[2, 2, 0], [2, 2, 1], [3, 3, 1], [3, 3, 2], [3, 3, 3]]) / 3)
