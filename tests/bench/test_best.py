"""The best of many: how low it is by luck, how sure its name is, and what may be the best as well."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.best import best, best_of, unlucky
from bench.analysis.frames import AXES, MODEL_AXES
from bench.analysis.steps import enough, in_words

NETWORKS, WAYS = 10, 4
MODELS = [network for network in range(NETWORKS) for _ in range(WAYS)]


def drawn(random: np.random.Generator, seeds: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """True log scores, and those seen: a network's luck, a setting's own, and a part that a seed does to all."""
    truth = spread * random.standard_normal((NETWORKS, WAYS, 1))
    own = 0.05 * random.standard_normal((NETWORKS, WAYS, seeds))
    network = 0.08 * np.exp(0.3 * random.standard_normal((NETWORKS, 1, 1)))
    seen = truth + network * random.standard_normal((NETWORKS, 1, seeds)) + own + 0.03 * random.standard_normal(seeds)
    return truth.reshape(-1), seen.reshape(-1, seeds)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_best_of_many_without_its_luck(seeds: int) -> None:
    """Simulated: the lowest median is 4% too low or more on average, the corrected value within 1.5%."""
    random, naive, corrected = np.random.default_rng(1), [], []
    for _ in range(1500):
        truth, seen = drawn(random, seeds, 0.1)
        medians = np.median(seen, 1)
        named = int(medians.argmin())
        naive.append(medians[named] - truth[named])
        corrected.append(unlucky(seen) - truth[named])
    assert np.mean(naive) < -0.04
    assert abs(np.mean(corrected)) < 0.015
    assert abs(np.mean(corrected)) < abs(np.mean(naive)) / 3


@pytest.mark.parametrize("spread", [0.1, 0.3])
def test_the_chance_and_the_set_are_as_often_right_as_they_say(spread: float) -> None:
    """Simulated with three seeds: the chance is right on average within 8 points, among the sure and the unsure.

    The set holds the best in 93 of 100 studies or more, and is not simply everything.
    """
    random, chances, right, held, sizes = np.random.default_rng(2), [], [], [], []
    for _ in range(150):
        truth, seen = drawn(random, 3, spread)
        named = int(np.median(seen, 1).argmin())
        found = best(seen, MODELS, named)
        chances.append(found.chance)
        right.append(truth.argmin() == named)
        held.append(truth.argmin() in found.members)
        sizes.append(len(found.members))
    assert abs(np.mean(chances) - np.mean(right)) < 0.08
    sure = np.array(chances) > np.median(chances)
    for part in (sure, ~sure):
        assert abs(np.mean(np.array(chances)[part]) - np.mean(np.array(right)[part])) < 0.12
    assert np.mean(held) >= 0.93
    assert np.mean(sizes) < len(MODELS) / 2


def world(kind: str, random: np.random.Generator, count: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """True log scores, and those seen, of settings that each have a network of their own."""
    spread = 0.1 if kind != "wide" else 1.0
    truth = spread * random.standard_normal(count)
    sd: Any = {"alike": 0.08, "wide": 1.0}.get(kind, np.where(random.random((count, 1)) < 0.5, 0.04, 0.2))
    if kind == "only the best scatters":
        sd = np.where(truth == truth.min(), 0.2, 0.04)[:, None]
    if kind == "one noise":
        return truth, truth[:, None] + 0.08 * random.standard_normal((count, 1)) + 0.03 * random.standard_normal(seeds)
    if kind == "shared noise":
        noise = 0.08 * random.standard_normal((count, 1, 3))
        training, both = random.standard_normal((count, seeds, 1)), random.standard_normal((count, seeds, 3))
        return truth, truth[:, None, None] + noise + 0.04 * training + 0.03 * both
    return truth, truth[:, None] + sd * random.standard_normal((count, seeds))


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("kind", ["alike", "wide", "some scatter five times as much", "shared noise"])
def test_the_set_holds_the_best_however_settings_scatter(kind: str, count: int, seeds: int) -> None:
    """Simulated: in 95 of 100 studies or more (docs/statistics.md). With one scatter for all it was 59 to 100."""
    held, size = holds(kind, count, seeds, 100)
    assert held >= 0.95
    assert size < count


def holds(kind: str, count: int, seeds: int, studies: int) -> tuple[float, float]:
    """In which share of simulated studies the set holds the best, and how large it is on average."""
    random, held, sizes = np.random.default_rng(5), [], []
    for _ in range(studies):
        truth, seen = world(kind, random, count, seeds)
        found = best(seen, range(count), 0)
        held.append(truth.argmin() in found.members)
        sizes.append(len(found.members))
    return float(np.mean(held)), float(np.mean(sizes))


def test_the_worst_case_is_as_the_docs_say() -> None:
    """docs/statistics.md: about 92 of 100, within two standard errors; far fewer where all share a noise."""
    assert holds("only the best scatters", 40, 3, 200)[0] >= 0.88
    assert holds("one noise", 40, 3, 50)[0] < 0.8


def test_hopeless_settings_that_scatter_widely_make_no_set_larger() -> None:
    """Runs that diverged, in some seeds more than in others, lend nothing to the scatter of good settings."""
    random = np.random.default_rng(6)
    good = 0.1 * random.standard_normal((20, 1)) + 0.03 * random.standard_normal((20, 3))
    lost = 6 + random.standard_normal((5, 3))
    alone, among = (best(logs, range(len(logs)), 0) for logs in (good, np.concatenate([good, lost])))
    assert alone.members == among.members


def study_of(fids: dict[str, dict[tuple[int, int], float]]) -> Any:
    """What :func:`best_of` asks of results: settings by name, each with FIDs by training and sampling seed."""
    rows = [dict.fromkeys(AXES, "same") | {"objective": name, "seed": seed, "sample_seed": draw, "fid": fid}
            for name, own in fids.items() for (seed, draw), fid in own.items()]  # fmt: skip
    done = pd.DataFrame(rows)
    settings = done.groupby(list(AXES))["fid"].median().reset_index().sort_values("fid")
    return SimpleNamespace(done=done, settings=settings.reset_index(drop=True), seeds=sorted(done["seed"].unique()))


def scores(mean: float, seeds: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
    return {at: mean * (1 + 0.01 * (i % 3)) for i, at in enumerate(seeds)}


def test_a_new_training_seed_of_a_part_of_the_study_switches_nothing_off() -> None:
    """What most settings have is compared, whether the first setting has the new seed or not."""
    old, new = [(seed, seed) for seed in range(3)], [(seed, seed) for seed in range(4)]
    for first, others in ((old, new), (new, old)):
        found = best_of(study_of({"a": scores(2.0, first), "b": scores(5.0, others), "c": scores(6.0, old)}))
        assert found is not None
        assert (found.members, found.of, found.runs, found.shared) == ((0,), 3, 3, False)
    only = study_of({"a": scores(2.0, new), "b": scores(5.0, new[:1]), "c": scores(6.0, new)})
    found = best_of(only)
    assert found is not None
    assert (found.of, found.runs) == (2, 4)
    assert best_of(study_of({"a": scores(2.0, old[:1]), "b": scores(5.0, new)})) is None


def test_noise_that_all_share_is_told_or_counted() -> None:
    """From one sampling seed nobody can see what noise does. From several it is part of the set."""
    one, grid = [(seed, 0) for seed in range(3)], [(seed, draw) for seed in range(3) for draw in range(3)]
    found = best_of(study_of({name: scores(mean, one) for name, mean in (("a", 2.0), ("b", 5.0))}))
    assert found is not None
    assert found.shared
    near = {(seed, draw): 2.1 * (1.3 if draw == 0 else 0.9) * (1 + seed / 1000) for seed, draw in grid}
    many = best_of(study_of({"a": dict.fromkeys(grid, 2.0) | {(0, 0): 2.01}, "b": near, "c": scores(9.0, grid)}))
    assert many is not None
    assert (many.shared, set(many.members), many.runs) == (False, {0, 1}, 3)


def test_far_ahead_is_the_best_alone() -> None:
    logs = np.log(np.array([[1.0, 1.1, 1.0], [5.0, 5.1, 5.2], [1.9, 1.8, 1.9]]))
    found = best(logs, ["a", "b", "c"], 0)
    assert (found.members, found.of) == ((0,), 3)
    assert found.chance > 0.99
    assert found.value == pytest.approx(logs[0].mean())


def test_twins_cannot_be_told_apart() -> None:
    """The same scores twice, as of a guidance scale of 0 and no guidance: both may be the best."""
    logs = np.log(np.array([[2.0, 2.2, 2.1], [2.0, 2.2, 2.1], [3.5, 3.6, 3.7], [3.9, 3.3, 3.8]]))
    found = best(logs, ["a", "a", "a", "a"], 0)
    assert set(found.members) >= {0, 1}


def cells(fids: dict[int, list[float]], seeds: list[int] | None = None) -> pd.DataFrame:
    """A frame of one network a seed, sampled with each number of steps."""
    of = seeds or list(range(len(next(iter(fids.values())))))
    rows = [dict.fromkeys(MODEL_AXES, "same") | {"seed": seed, "sample_seed": seed, "sample_steps": n, "fid": fid}
            for n, each in fids.items() for seed, fid in zip(of, each, strict=True)]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("fids", "words"),
    [
        ({5: [8.0, 8.1, 7.9], 10: [4.1, 4.0, 4.05], 20: [4.0, 3.95, 4.0]}, "10"),
        ({5: [8.0, 8.1, 7.9], 10: [4.3, 4.0, 4.5], 20: [4.0, 4.0, 4.0]}, "10 to 20*"),
        ({5: [1.78, 1.77, 1.79], 10: [3.0, 3.1, 3.0], 20: [8.5, 8.4, 8.6]}, "none"),
        ({5: [1.78, 1.77, 1.79], 10: [3.0, 3.1, 3.0], 20: [1.8, 1.81, 1.8]}, "20*"),
        ({5: [4.0, 4.0, 4.0], 10: [3.9, 4.2, 4.3], 20: [3.8, 4.4, 4.5]}, "5 or more"),
        ({5: [8.0], 10: [4.1], 20: [4.0]}, "(10)"),
        ({5: [8.0], 10: [5.1], 20: [4.0]}, "(20*)"),
        ({5: [2.0], 10: [5.1], 20: [4.0]}, "(none)"),
        ({5: [8.0, 8.1, 7.9], 10: [4.1, 4.1, 4.1], 20: [4.0, 4.0, 4.0]}, "10 to 20*"),
    ],
)
def test_enough_is_said_as_far_as_seeds_can_tell(fids: dict[int, list[float]], words: str) -> None:
    """By an interval, and from there on for every larger number: a curve that rises again is not enough before it."""
    found = enough(cells(fids), sorted(fids))
    assert found is not None
    assert in_words(found) == words


def test_on_the_limit_is_not_decided() -> None:
    """1.0994 against a limit of 1.10, with seeds a few percent apart."""
    ratios = np.exp(math.log(1.0994) + np.array([-0.02, 0.0, 0.02]))
    found = enough(cells({10: list(4 * ratios), 20: [4.0, 4.0, 4.0]}), [10, 20])
    assert found is not None
    assert (found.maybe, found.surely) == (10, 20)
