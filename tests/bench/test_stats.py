"""Statistics of repeated runs, against scipy, and by how often they are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bench.analysis.stats import (
    CONFIDENCE,
    FEWEST,
    Needed,
    Scale,
    components,
    contrast,
    crossed,
    holm,
    improvement,
    needed_runs,
    paired,
    profile,
    runs_to_decide,
)


def runs(logs: np.ndarray, first: int = 0) -> dict[tuple[int, int], float]:
    """Scores by training seed, each sampled from a seed of its own."""
    return {(first + seed, first + seed): math.exp(value) for seed, value in enumerate(logs)}


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_paired_is_the_paired_t_test(scale: Scale) -> None:
    """p and interval of scipy's over the seeds in common: on logarithms for a ratio, on the values for a difference."""
    random = np.random.default_rng(0)
    x, noise = random.normal(1, 0.5, 6), random.normal(0.1, 0.05, 6)
    say = math.exp if scale == "ratio" else float
    first, second = ({(i, i): say(v) for i, v in enumerate(values)} for values in (x, x + noise))
    found = contrast(first | {(99, 99): 5.0}, second | {(77, 77): 3.0}, scale)
    expected = stats.ttest_rel(x + noise, x)
    low, high = expected.confidence_interval(CONFIDENCE)
    assert found[:5] == pytest.approx((say(noise.mean()), say(low), say(high), expected.pvalue, 6), rel=1e-7)
    assert not found.shared


@pytest.mark.parametrize("scale", ["ratio", "difference"])
def test_without_common_seeds_it_is_welchs(scale: Scale) -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(1, 0.1, 5), random.normal(1.3, 0.4, 3)
    say = math.exp if scale == "ratio" else float
    first, second = ({(i + k, 0): say(v) for i, v in enumerate(values)} for k, values in ((0, x), (10, y)))
    found = contrast(first, second, scale)
    expected = stats.ttest_ind(y, x, equal_var=False)
    low, high = expected.confidence_interval(CONFIDENCE)
    assert found[:5] == pytest.approx(
        (say(y.mean() - x.mean()), say(low), say(high), expected.pvalue, 0), rel=1e-9
    )  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [({(0, 0): 2.0}, {(0, 0): 4.0}, 1), ({(0, 0): 2.0}, {(1, 1): 4.0}, 0),
     ({(0, 0): 2.0, (1, 1): 2.0}, {(2, 2): 4.0}, 0), ({(0, 0): 2.0, (0, 1): 2.0}, {(0, 0): 4.0, (0, 1): 4.0}, 1)],
)  # fmt: skip
def test_one_run_tells_nothing(a: dict[tuple[int, int], float], b: dict[tuple[int, int], float], pairs: int) -> None:
    """The ratio is there; interval and p are not, however often the run was sampled."""
    found = contrast(a, b)
    assert (found.value, found.pairs) == (pytest.approx(2), pairs)
    assert all(map(math.isnan, (found.low, found.high, found.p)))


def test_the_same_to_the_last_bit() -> None:
    """No spread is no reason for a division by zero."""
    same = {(0, 0): 2.0, (1, 1): 3.0}
    assert contrast(same, dict(same)) == (1, 1, 1, 1, 2, False, 0)
    assert contrast({(0, 0): 2.0, (1, 0): 2.0}, {(2, 0): 2.0, (3, 0): 2.0})[:5] == (1, 1, 1, 1, 0)
    grid = {(seed, draw): 2.0 + seed for seed in range(3) for draw in range(2)}
    assert contrast(grid, dict(grid))[:5] == (1, 1, 1, 1, 3)


@pytest.mark.parametrize("first", [0, 50], ids=["paired", "apart"])
@pytest.mark.parametrize("draws", [1, 2])
def test_few_seeds_without_spread_decide_nothing(first: int, draws: int) -> None:
    """Two to four seeds may agree by chance, where a metric counts images; from five on it is a factor."""
    for count in range(2, FEWEST + 1):
        one = {(seed, draw): 3.0 for seed in range(count) for draw in range(draws)}
        found = contrast(one, {(first + seed, draw): 6.0 for seed, draw in one})
        assert found.value == pytest.approx(2)
        assert (found.low, found.high, found.p) == (
            pytest.approx((2, 2, 0)) if count == FEWEST else pytest.approx((math.nan,) * 3, nan_ok=True)
        )


def test_few_counts_that_agree_are_no_proof() -> None:
    """Two seeds, a metric that counts 20 images, no difference in truth: it used to be 'sure' in 1 of 9."""
    random, sure, trials = np.random.default_rng(4), 0, 400
    for _ in range(trials):
        counts = random.binomial(20, 0.9, (2, 2)) / 20
        found = contrast(*({(i, i): float(v) for i, v in enumerate(side)} for side in counts), scale="difference")
        sure += found.p < 0.05
    assert sure / trials <= 0.05


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("count", [3, 10])
def test_intervals_cover_and_false_alarms_are_rare(alike: bool, count: int) -> None:
    """In 1,000 simulated comparisons of a true ratio the 95% interval holds it 93 to 97 times in a hundred, and in
    1,000 others with no difference p < .05 comes five times in a hundred, within two standard errors.
    """
    random, covered, alarms, trials = np.random.default_rng(2), 0, 0, 1000
    for trial in range(2 * trials):
        common = random.normal(0, 0.3, count)
        x = common + random.normal(0, 0.1, count)
        y = (common if alike else random.normal(0, 0.3, count)) + random.normal(0, 0.1, count)
        shift = 0.2 if trial % 2 else 0.0
        found = contrast(runs(x), runs(y + shift, 0 if alike else 100))
        if shift:
            covered += found.low <= math.exp(shift) <= found.high
        else:
            alarms += found.p < 0.05
    assert 0.93 <= covered / trials <= 0.97
    assert alarms / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


# s.d. of a difference from training, from sampling, from both together: x0 as in `replication`, and a larger one
OF_X0, LARGER = (0.018, 0.033, 0.02), (0.06, 0.03, 0.03)


def simulated(
    parts: tuple[float, float, float], seeds: list[tuple[int, int]], trials: int, seed: int
) -> tuple[float, float]:
    """How often p < .05 with no difference, and how often the 95% interval holds 0, of differences with these parts."""
    random, alarms, covered = np.random.default_rng(seed), 0, 0
    most = 1 + max(map(max, seeds))
    for _ in range(trials):
        training, noise = parts[0] * random.standard_normal(most), parts[1] * random.standard_normal(most)
        found = paired({(i, j): training[i] + noise[j] + parts[2] * random.standard_normal() for i, j in seeds})
        alarms += found.p < 0.05
        covered += found.low <= 0 <= found.high
    return alarms / trials, covered / trials


@pytest.mark.parametrize("parts", [OF_X0, LARGER], ids=["x0", "larger"])
@pytest.mark.parametrize("count", [3, 5])
def test_the_level_with_sampling_seeds_of_their_own(parts: tuple[float, float, float], count: int) -> None:
    """What studies do by default: 4% to 6% of verdicts are wrong where there is no difference, with 3 seeds or 5."""
    level, cover = simulated(parts, [(seed, seed) for seed in range(count)], 3000, seed=11)
    assert 0.04 <= level <= 0.06
    assert 0.93 <= cover <= 0.97


def level_of(parts: tuple[float, float, float], training: int, draws: int, trials: int) -> float:
    """How often p < .05 with no difference where every network has the same sampling seeds."""
    random, alarms = np.random.default_rng(12), 0
    for _ in range(trials):
        rows, columns = random.standard_normal((training, 1)), random.standard_normal((1, draws))
        rest = random.standard_normal((training, draws))
        mean, error, tail = crossed(parts[0] * rows + parts[1] * columns + parts[2] * rest)
        alarms += tail(abs(mean) / error) < 0.05
    return alarms / trials


@pytest.mark.parametrize("parts", [OF_X0, LARGER], ids=["x0", "larger"])
def test_the_level_with_sampling_seeds_in_common(parts: tuple[float, float, float]) -> None:
    """Five training seeds, each with the same four sampling seeds, as in `replication`: both parts are in the test."""
    assert 0.04 <= level_of(parts, 5, 4, 15_000) <= 0.06
    level, cover = simulated(parts, [(seed, draw) for seed in range(5) for draw in range(4)], 1000, seed=12)
    assert cover == 1 - level


@pytest.mark.parametrize("parts", [OF_X0, LARGER, (0.0, 0.1, 0.02), (0.05, 0.05, 0.0)])
@pytest.mark.parametrize(
    ("training", "draws", "low", "high"), [(4, 4, 0.02, 0.06), (3, 3, 0.02, 0.06), (5, 2, 0.01, 0.07)]
)
def test_the_level_that_the_docs_state(
    parts: tuple[float, float, float], training: int, draws: int, low: float, high: float
) -> None:
    """docs/statistics.md, within two standard errors: no test is exact for such a grid."""
    trials = 1500
    near = 2 * math.sqrt(0.05 * 0.95 / trials)
    assert low - near <= level_of(parts, training, draws, trials) <= high + near


@pytest.mark.parametrize("draws", [2, 3])
@pytest.mark.parametrize("parts", [(0.1, 0.0, 0.02), OF_X0, (0.0, 0.1, 0.02)])
def test_few_sampling_seeds_are_never_too_sure(parts: tuple[float, float, float], draws: int) -> None:
    """Hardly anything is known of the sampling seed's part from two or three, so p is rather too large."""
    level, cover = simulated(parts, [(seed, draw) for seed in range(5) for draw in range(draws)], 1500, seed=13)
    assert level <= 0.06 + 0.012
    assert cover >= 0.94 - 0.012


def without(*holes: tuple[int, int]) -> list[tuple[int, int]]:
    """Five training seeds, each sampled from the same four, without these."""
    return [(seed, draw) for seed in range(5) for draw in range(4) if (seed, draw) not in holes]


@pytest.mark.parametrize(
    ("seeds", "pairs", "dropped"),
    [
        (without((0, 0), (1, 1), (2, 2), (3, 3)), 3, 10), (without((1, 3), (2, 3), (3, 3), (4, 3)), 5, 1),
        (without((4, 1), (4, 2), (4, 3)), 4, 1), (without((0, 1), (3, 2)), 4, 6),
    ],
    ids=["diagonal", "a sampling seed that only one has", "a new training seed", "two"],
)  # fmt: skip
def test_a_grid_with_holes_is_tested_on_its_largest_whole_part(
    seeds: list[tuple[int, int]], pairs: int, dropped: int
) -> None:
    """It used to be a t-test over training seeds, with a level of up to .7 where noise dominates."""
    found = paired({one: 0.1 * one[0] + 0.03 * one[1] ** 2 for one in seeds})
    assert (found.pairs, found.dropped, found.shared) == (pairs, dropped, False)
    for parts in (OF_X0, (0.01, 0.1, 0.02)):
        level, cover = simulated(parts, seeds, 800, seed=15)
        assert level <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 800)
        assert cover >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / 800)


def test_without_a_whole_part_shared_noise_is_told() -> None:
    """All were sampled from seed 0, two of them from another seed each."""
    found = paired({(0, 0): 0.1, (1, 0): 0.2, (2, 0): 0.15, (0, 1): 0.12, (1, 2): 0.2})
    assert (found.pairs, found.dropped, found.shared) == (3, 0, True)


def test_one_sampling_seed_in_common_is_too_sure_and_says_so() -> None:
    """Its part does not average out: this is what `shared` warns of."""
    seeds = [(seed, 0) for seed in range(5)]
    level, _ = simulated(OF_X0, seeds, 1000, seed=14)
    assert level > 0.15
    assert paired({one: 0.1 * i for i, one in enumerate(seeds)}).shared
    assert not paired({(i, i): 0.1 * i for i in range(3)}).shared
    assert not paired({(i, j): 0.1 * i + j for i in range(3) for j in range(2)}).shared


def test_pairing_finds_what_seeds_hide() -> None:
    """A difference far below the spread over seeds, seen only when the same seeds are compared."""
    random = np.random.default_rng(3)
    x = random.normal(0, 0.5, 5)
    y = x + 0.05 + random.normal(0, 0.01, 5)
    assert contrast(runs(x), runs(y)).p < 0.01 < 0.5 < contrast(runs(x), runs(y, first=9)).p


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


def test_a_plan_needs_five_runs_and_is_a_range() -> None:
    """Nothing from three; one end open where the sign of the effect is not known."""
    assert needed_runs([0.1, 0.2, 0.1, 0.15]) is None
    assert needed_runs([0.1] * 5) is None
    open_ended = needed_runs([0.1, -0.1, 0.12, -0.11, 0.01])
    assert open_ended is not None
    assert open_ended.high is None
    both = needed_runs([0.3, -0.05, 0.25, 0.1, 0.02])
    assert both is not None
    assert both.high is not None
    assert 6 <= both.low < both.high


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_the_range_of_a_plan_is_right_half_of_the_time(effect: float) -> None:
    """Simulated: the number that the truth needs is in the range in 35% to 65% of 60 studies of five runs."""
    random, trials, hits = np.random.default_rng(8), 60, 0
    truth = runs_to_decide(effect, 1.0)
    assert truth is not None
    for _ in range(trials):
        low, high = needed_runs(list(random.normal(effect, 1, 5))) or Needed(1000, None)
        hits += low <= max(truth, 6) <= (high or math.inf)
    assert 0.35 <= hits / trials <= 0.65


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


def test_noise_that_networks_share_is_told_where_nothing_is_paired() -> None:
    """All networks of a side sampled from one noise: its effect does not average out, however many there are."""
    scores = (1.0, 1.1, 1.2)
    one = {(seed, 0): score for seed, score in enumerate(scores)}
    own = {(seed + 10, seed + 10): score for seed, score in enumerate(scores)}
    other = {(seed + 20, seed + 20): score for seed, score in enumerate(scores)}
    assert contrast(one, own).shared
    assert contrast(own, one).shared
    assert not contrast(own, other).shared
