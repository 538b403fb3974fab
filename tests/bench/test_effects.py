"""Ratios, shares of variance and Pareto fronts of made-up results."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis.effects import alike, effects, factors, geometric_mean, narrower, pareto, scatter
from bench.analysis.frames import Results
from bench.images import datasets
from bench.store.store import Store
from tests.bench.made_up import fill, make_study, quality


@pytest.fixture(scope="module")
def digits():
    images = datasets.load("mnist", None).test
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[:64]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_ratios_are_paired(store, digits):
    study = make_study()
    fill(study, store, digits)
    results = Results(study, store)
    worst, best = effects(results.done, "objective", results.levels("objective"))
    fid = {
        (c.job.objective, c.job.schedule, c.sampling.sampler, c.sampling.sample_steps): quality(c) for c in study.cells
    }
    expected = [fid["previous", *k[1:]] / fid[k] for k in fid if k[0] == "eps"]
    assert sorted(worst.ratios) == pytest.approx(sorted(expected))
    assert worst.ratio == pytest.approx(np.exp(np.mean(np.log(expected))))
    assert (best.level, best.best, best.ratio) == ("eps", "eps", 1)


def test_pairs_need_everything_else_equal(store, digits):
    study = make_study()
    fill(study, store, digits)
    for cell in study.cells:
        if cell.job.objective == "eps" and cell.job.schedule == "linear":
            store.path("cells", cell.key, ".json").unlink()
    results = Results(study, store)
    by_objective = effects(results.done, "objective", results.levels("objective"))
    assert [len(effect.ratios) for effect in by_objective] == [4, 4]
    by_schedule = effects(results.done, "schedule", results.levels("schedule"))
    assert (by_schedule[0].level, len(by_schedule[0].ratios)) == ("linear", 4)


def test_the_reference_is_a_level_of_the_best_setting(store, digits):
    """Where no setting has all levels, and whatever the luckiest cell is."""
    fids = {
        ("eps", "linear"): (5, 5, 5), ("v", "linear"): (1, 9, 9), ("v", "cosine"): (8, 8, 8),
        ("x0", "cosine"): (4, 6, 4),
    }  # fmt: skip
    rows = [
        {"objective": objective, "schedule": schedule, "seed": seed, "fid": float(fid)}
        for (objective, schedule), of in fids.items() for seed, fid in enumerate(of)
    ]  # fmt: skip
    study = make_study()
    fill(study, store, digits)
    done = Results(study, store).done.iloc[:1].drop(columns=["objective", "schedule", "seed", "fid"])
    found = effects(done.merge(pd.DataFrame(rows), how="cross"), "objective", ["eps", "v", "x0"])
    assert {effect.best for effect in found} == {"x0"}


def test_pairs_of_a_part_of_the_study_are_found(store, digits):
    """Where a level of another choice has no pair; and levels whose pairs are all equal."""
    study = make_study()
    fill(study, store, digits)
    results = Results(study, store)
    group = effects(results.done, "objective", results.levels("objective"))
    assert narrower(results.done, "objective", group, results.varying) == {}
    part = results.done[(results.done["objective"] == "eps") | (results.done["method"] == "ddim")]
    group = effects(part, "objective", results.levels("objective"))
    assert narrower(part, "objective", group, results.varying) == {"method": ["ddim"]}
    assert alike(group) == []
    twice = pd.concat([part, part[part["objective"] == "previous"].assign(objective="mean")])
    assert alike(effects(twice, "objective", ["previous", "mean", "eps"])) == [["previous", "mean"]]


def test_scatter_needs_both_kinds_of_seeds(store, digits):
    study = make_study(sampler=["ancestral"], seed=[0, 1])
    fill(study, store, digits)
    assert scatter(Results(study, store).done) is None


def test_pareto():
    frame = pd.DataFrame({"t": [1, 2, 3, 4, 4], "fid": [5.0, 6.0, 2.0, 2.0, 1.0]})
    assert list(pareto(frame, "t").index) == [0, 2, 4]
    assert list(pareto(frame, "t", within=0.5).index) == [0, 4]


def grid_of(fid, objectives="abc", schedules="xy", steps=(10, 50), seeds=range(4)):
    """A frame of every combination, its FID from ``fid(objective, schedule, steps, seed)``."""
    cells = [(o, s, n, seed) for o in objectives for s in schedules for n in steps for seed in seeds]
    frame = pd.DataFrame(cells, columns=["objective", "schedule", "sample_steps", "seed"])
    return frame.assign(fid=[fid(*cell) for cell in cells])


def test_factors_of_a_balanced_grid():
    """Textbook sums of squares: n Σ (mean of level − mean)² and the same for pairs; they add up to the whole."""
    random = np.random.default_rng(0)
    noisy = {}
    frame = grid_of(seeds=[0], fid=lambda o, s, n, seed: math.exp(
        {"a": 0, "b": 1, "c": 3}[o] + 0.5 * (s == "y") + 0.8 * (s == "y" and o == "c") - 0.3 * math.log(n)
        + noisy.setdefault((o, s, n, seed), 0.1 * random.standard_normal())
    ))  # fmt: skip
    axes = ["objective", "schedule", "sample_steps"]
    found, left = factors(frame, axes)
    y = np.log(frame["fid"])
    total = ((y - y.mean()) ** 2).sum()
    means = y.groupby(frame["objective"]).transform("mean")
    shares = {factor.axes: factor.share for factor in found}
    assert shares["objective",] == pytest.approx(((means - y.mean()) ** 2).sum() / total)
    pair = y.groupby([frame["objective"], frame["schedule"]]).transform("mean")
    other = y.groupby(frame["schedule"]).transform("mean")
    assert shares["objective", "schedule"] == pytest.approx(((pair - means - other + y.mean()) ** 2).sum() / total)
    assert sum(shares.values()) + left == pytest.approx(1)
    assert found[0].axes == ("objective",)
    assert all(math.isnan(factor.low) for factor in found)


@pytest.mark.parametrize("seeds", [3, 5])
def test_small_shares_are_not_too_large(seeds):
    """Where chance is as large as the effect, the plain share is far too large on average; the corrected one is not."""
    random, of_network, trials = np.random.default_rng(1), 0.1, 80
    effect = {"a": 0.0, "b": 0.1, "c": 0.05}
    truth = np.var(list(effect.values())) / (np.var(list(effect.values())) + of_network**2)
    corrected, plain = [], []
    for _ in range(trials):
        luck = {(o, s): of_network * random.standard_normal() for o in "abc" for s in range(seeds)}
        frame = grid_of(lambda o, s, n, seed: math.exp(effect[o] + luck[o, seed]), schedules="x", seeds=range(seeds))  # noqa: B023
        logs = np.log(frame["fid"])
        plain.append(logs.groupby(frame["objective"]).mean().var(ddof=0) / logs.var(ddof=0))
        corrected.append(factors(frame, ["objective", "sample_steps"])[0])
    shares = [next(f.share for f in one if f.axes == ("objective",)) for one in corrected]
    assert np.mean(plain) > truth + 0.08
    assert abs(np.mean(shares) - truth) < 0.06


def test_without_seeds_nothing_is_taken_away():
    frame = grid_of(lambda o, s, n, seed: {"a": 1.0, "b": 2.0, "c": 9.0}[o] * (1.1 if n == 10 else 1.0), seeds=[0])
    assert sum(f.share for f in factors(frame, ["objective", "sample_steps"])[0]) == pytest.approx(1)


def test_factors_of_a_grid_with_holes():
    """What is missing makes no choice look as if it mattered: the schedule does nothing here."""
    frame = grid_of(lambda o, s, n, seed: {"a": 1.0, "b": 2.0, "c": 9.0}[o] * (1 + 0.001 * seed), seeds=[0])
    holes = frame[~((frame["objective"] == "c") & (frame["schedule"] == "y"))]
    shares = {factor.axes: factor.share for factor in factors(holes, ["objective", "schedule"])[0]}
    assert shares["schedule",] < 1e-6
    assert shares["objective",] > 0.8
    assert all(math.isnan(factor.low) for factor in factors(holes, ["objective", "schedule"])[0])
    same = frame.assign(fid=3.0)
    assert factors(same, ["objective", "schedule"])[0] == []


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_factors_cover(seeds):
    """Nominal 95% intervals hold the share in the population in 92% to 98% of simulated studies."""
    random, trials, hits = np.random.default_rng(0), 200, np.zeros(3)
    axes = {"objective": np.array([0, 0.5, 1]), "schedule": np.array([0, 0.3]), "sample_steps": np.array([0, 0.2, 0.5])}
    of_model, of_cell = 0.1, 0.05
    parts = [effect.var() for effect in axes.values()]
    truth = np.array(parts) / (sum(parts) + of_model**2 + of_cell**2)
    grid = np.array(np.meshgrid(*(range(len(effect)) for effect in axes.values()), range(seeds), indexing="ij"))
    frame = pd.DataFrame(grid.reshape(4, -1).T, columns=[*axes, "seed"])
    for _ in range(trials):
        scatter_of = [(3, 2, 1, seeds), (3, 2, 3, seeds)]
        model, cell = (random.standard_normal(shape) for shape in scatter_of)
        logs = sum(effect[grid[i]] for i, effect in enumerate(axes.values())) + of_model * model + of_cell * cell
        found = {factor.axes: factor for factor in factors(frame.assign(fid=np.exp(logs).ravel()), list(axes))[0]}
        hits += [found[axis,].low <= share <= found[axis,].high for axis, share in zip(axes, truth, strict=True)]
    assert (hits / trials >= 0.92).all()
    assert (hits / trials <= 0.98).all()


def test_geometric_mean_of_nothing():
    assert math.isnan(geometric_mean(()))


def plain_share(frame, axes, term):
    """Type II, as textbooks have it: a column for each level, each pair, and each cell a row of its own."""
    y = np.log(frame["fid"].to_numpy())
    terms = [*((axis,) for axis in axes), *itertools.combinations(axes, 2)]
    others = [one for one in terms if not set(term) <= set(one)]

    def explained(of):
        columns = [pd.get_dummies(frame[list(one)].astype(str).agg("|".join, axis=1)).to_numpy(float) for one in of]
        design = np.concatenate([np.ones((len(y), 1)), *columns], axis=1)
        fitted = design @ np.linalg.lstsq(design, y - y.mean(), rcond=None)[0]
        return float(fitted @ fitted)

    return (explained([*others, term]) - explained(others)) / float(np.square(y - y.mean()).sum())


def test_a_level_of_one_seed_alone_is_not_taken_away_with_it():
    """Leaving seed 0 out would leave the level out: the share then rises far above what it is, or beyond 100%."""
    random = np.random.default_rng(0)
    frame = grid_of(
        lambda o, s, n, seed: math.exp({"a": 0, "b": 0.05, "c": 1}[o] + random.normal(0, 0.2)), seeds=range(3)
    )
    axes = ["objective", "schedule", "sample_steps"]
    (whole, *_), _ = factors(frame, axes)
    assert whole.corrected
    part = frame[(frame["objective"] != "c") | (frame["seed"] == 0)]
    found, left = factors(part, axes)
    for factor in found:
        assert factor.share == pytest.approx(plain_share(part, axes, factor.axes), abs=1e-9)
        assert math.isnan(factor.low)
        assert (factor.corrected, factor.cells) == (False, len(part))
    assert sum(factor.share for factor in found if factor.axes == ("objective",)) <= 1 - left
    alone = (frame["objective"] == "c") & (frame["schedule"] == "x")
    assert factors(frame[~alone | (frame["seed"] == 0)], axes) == factors(frame[~alone], axes), "two levels together"
    new = frame[(frame["seed"] < 2) | (frame["schedule"] == "x")]
    assert all(factor.corrected for factor in factors(new, axes)[0]), "a part of a further seed is no matter"


@pytest.mark.parametrize("holes", [0.0, 0.4])
def test_factors_are_those_of_least_squares_on_every_cell(holes):
    """Levels that are missing from a combination, or from a seed, make columns depend on each other."""
    random = np.random.default_rng(3)
    frame = grid_of(lambda o, s, n, seed: math.exp(random.normal(len(o) * n / 50, 0.3) + (s == "y")), seeds=[0, 1])
    frame = frame[
        (random.random(len(frame)) >= holes) & ~((frame["objective"] == "c") & (frame["seed"] == 1) & (holes > 0))
    ]
    axes = ["objective", "schedule", "sample_steps"]
    for term in [("objective",), ("sample_steps",), ("objective", "schedule"), ("schedule", "sample_steps")]:
        whole = plain_share(frame, axes, term)
        without = [plain_share(frame[frame["seed"] != seed], axes, term) for seed in (0, 1)]
        expected = whole if holes else min(max(2 * whole - np.mean(without), 0), 1)  # c is of seed 0 alone
        assert {f.axes: f.share for f in factors(frame, axes)[0]}[term] == pytest.approx(expected, abs=1e-9)
