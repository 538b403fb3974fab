"""Studies: stable keys, an explicit grid, and every mistake refused in one line that says where and what instead."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.errors import UserError
from bench.paths import REFERENCE
from bench.rows import FAMILIES, names
from bench.study import expand, possible
from bench.study.design import Design
from bench.study.load import available, load
from bench.study.model import Budget, Cell, Job, Sampling
from bench.study.study import Study
from ddpm.mix import Mix
from ddpm.objective import OBJECTIVES, WEIGHTS, Objective
from ddpm.sampler import SAMPLERS, make_sampler
from ddpm.schedule import RESIDUAL_SIGNAL, SCHEDULES, Schedule
from ddpm.spec import Variant

GOOD = """\
description: A study to break.
dataset: mnist
train: {epochs: 2}
axes:
  objective: [eps, v]
  schedule:
    - linear
    - cosine
  T: [100]
  sampler: [ancestral, ddim]
  sample_steps: [10, 50]
  eta: [0.0, 1.0]
exclude:
  - {objective: v, schedule: cosine}
score: {n: 200}
"""

JOB = Job(
    net="unet", objective="eps", weight="unit", schedule="linear", T=1000, seed=0, train=Budget(epochs=5, batch_size=64)
)
CELL = Cell(job=JOB, sampler="ddim", sample_steps=50, eta=0.0, n=2000)


@cache
def loaded(name: str) -> Study:
    """A shipped study, read once for all tests that only look at it."""
    return load(name)


def refused(tmp_path: Path, text: str | bytes) -> str:
    """The one line with which a study file is refused, after the file's name."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        load(str(path))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}:")
    return line.removeprefix(f"{path}:").strip()


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


# keys


def test_keys_are_pinned() -> None:
    """Results are found by these: if this fails, every result made so far is lost."""
    assert JOB.key == "a038f54bb7733978"
    assert CELL.key == "9522a363e60f0726"


def test_a_field_added_later_changes_no_key() -> None:
    class LaterBudget(Budget):
        clip_grad: float | None = None

    class LaterJob(Job):
        train: LaterBudget
        condition: str = "none"

    class LaterSampling(Sampling):
        order: int = 1

    class LaterCell(Cell):
        job: LaterJob
        sampling: LaterSampling

    later = LaterCell.model_validate(CELL.model_dump())
    assert later.key == CELL.key
    assert later.job.key == JOB.key
    for change in ({"order": 2}, {"job": LaterJob.model_validate(JOB.model_dump() | {"condition": "class"})}):
        assert later.model_validate(later.model_dump() | change).key != CELL.key


def test_a_key_is_the_hash_of_what_is_not_the_default() -> None:
    """However it is put together: of the canonical JSON of the cell, flat, without defaults."""
    for cell in (
        CELL,
        Cell(job=JOB, sampling=Sampling(sampler="ddim", sample_steps=3, guidance=2.0, clip=False), n=20),
    ):
        text = json.dumps(cell.model_dump(exclude_defaults=True), sort_keys=True, separators=(",", ":"))
        assert cell.key == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("kind", "model"), [("cells", Cell), ("jobs", Job)])
def test_committed_results_keep_their_keys_and_their_form(kind: str, model: type[Cell | Job]) -> None:
    """Each file's configuration gives the file's name as its key, and comes back from the model as it was."""
    paths = list((REFERENCE / kind).glob("*.json"))
    assert len(paths) > 90
    for path in paths:
        config = json.loads(path.read_bytes())["record"]["config"]
        known = model.model_validate(config)
        assert known.key == path.stem
        assert known.model_dump(mode="json") == config


def test_labels_tell_committed_jobs_apart() -> None:
    """Every axis that is not at its default is in the label, the weight where it is not the objective's own."""
    jobs = [cells[0].job for name in available() for cells in loaded(name).jobs.values()]
    alike: dict[tuple[str, str, Budget], set[str]] = {}
    for job in jobs:
        alike.setdefault((job.label, job.dataset, job.train), set()).add(job.key)
    assert {label: keys for label, keys in alike.items() if len(keys) > 1} == {}
    for name in set(available()) - {"full"}:
        cells = loaded(name).cells
        assert len({(cell.job.key, cell.label) for cell in cells}) == len(cells)


def test_a_label_says_the_weight_that_is_not_the_objectives_own() -> None:
    plain = {"net": "unet", "schedule": "linear", "T": 1000, "seed": 3, "train": JOB.train}
    assert Job(objective="eps", weight="unit", **plain).label == "unet eps linear T=1000 seed 3"
    assert Job(objective="score", weight="snr", **plain).label == "unet score linear T=1000 seed 3"
    assert Job(objective="eps", weight="snr", **plain).label == "unet eps weight snr linear T=1000 seed 3"
    drawn = Job(objective="eps", weight="p2(k=2.0)", timesteps="stratified", **plain)
    assert drawn.label == "unet eps weight p2(k=2.0) linear T=1000 stratified t seed 3"
    assert drawn.setting == drawn.label.removesuffix(" seed 3")


def test_every_field_matters_to_the_key() -> None:
    other: dict[str, Any] = {
        "dataset": "kmnist", "net": "scorenet", "objective": "v", "weight": "snr", "schedule": "cosine", "T": 500,
        "seed": 1, "sampler": "ancestral", "sample_steps": 10, "eta": 1.0, "clip": False, "n": 100, "sample_seed": 1,
        "epochs": 6, "batch_size": 32, "lr": 1e-3, "warmup": 0.1, "weight_decay": 0.1, "images": 1000,
        "optimiser": "muon", "timesteps": "stratified", "spacing": "trailing", "ema": 0.1,
        "snapshots": 8, "guidance": 2.0, "teach": "consistency", "base": "mixture",
        "start": 0.5,
    }  # fmt: skip
    budget, job, cell = JOB.train.model_dump(), JOB.model_dump(), CELL.model_dump()
    other |= {"packages": ["rows 1.0"]}
    jobs = [Job.model_validate(job | {"train": budget | {k: other[k]}}) for k in Budget.model_fields]
    jobs += [Job.model_validate(job | {k: other[k]}) for k in Job.model_fields if k != "train"]
    cells = [Cell.model_validate(cell | {k: other[k]}) for k in ("n", *Sampling.model_fields)]
    cells += [Cell.model_validate(cell | {"job": j}) for j in jobs]
    assert len({j.key for j in jobs} | {JOB.key}) == len(jobs) + 1
    assert len({c.key for c in cells} | {CELL.key}) == len(cells) + 1


def test_a_key_survives_json_and_spelling() -> None:
    """η = 0 and η = 0.0, a default given and a default left out: the same cell."""
    assert Cell.model_validate_json(CELL.model_dump_json()).key == CELL.key
    explicit = CELL.model_dump() | {"eta": 0, "clip": True, "sample_seed": 0}
    assert Cell.model_validate(explicit).key == CELL.key


# the grid


@pytest.mark.parametrize("name", available())
def test_every_shipped_study_loads(name: str) -> None:
    """Its cells are distinct, its jobs hold them all, and it samples within T."""
    found = loaded(name)
    assert found.name == name
    assert found.description
    assert len({cell.key for cell in found.cells}) == len(found.cells) > 0
    assert [cell for cells in found.jobs.values() for cell in cells] == found.cells
    assert all(cell.sampling.sample_steps <= cell.job.T for cell in found.cells)
    assert all(cell.job.key == key for key, cells in found.jobs.items() for cell in cells)


def test_studies_cover_what_the_issue_asks_for() -> None:
    assert {"smoke", "quick", "demo", "full"} <= set(available())

    def axis(name: str, field: str) -> set[Any]:
        owners = {id(owner): owner for cell in loaded(name).cells for owner in (cell, cell.job, cell.sampling)}
        return {getattr(owner, field) for owner in owners.values() if field in type(owner).model_fields}

    assert axis("quick", "objective") >= {"previous", "eps", "v"}
    assert axis("quick", "schedule") >= {"linear", "cosine"}
    assert len(axis("quick", "sample_steps")) >= 3
    assert len(axis("quick", "sampler")) >= 2
    assert min(axis("quick", "n")) >= 1000
    for name in ("quick", "demo"):
        assert len({cell.job.seed for cell in loaded(name).cells}) >= 3
        assert loaded(name).claims
    assert axis("demo", "net") == {"scorenet"}
    assert axis("demo", "objective") >= {"previous", "mean", "eps"}
    assert axis("demo", "T") >= {50, 200, 1000}
    assert axis("demo", "clip") == {False, True}
    assert {c.sampling.sample_steps == c.job.T for c in loaded("demo").cells} == {True}, "by its own full chain"
    assert {c.job.train.epochs >= 10 for c in loaded("demo").cells} == {True}
    assert axis("full", "objective") == set(OBJECTIVES)
    assert axis("full", "schedule") == set(SCHEDULES)
    assert {10, 1000} <= axis("full", "T")
    assert {10, 1000} <= axis("full", "sample_steps")
    assert len({c.job.seed for c in loaded("full").cells}) == 3
    assert axis("full", "n") == {10_000}


def test_the_first_study_compares_the_demos_parts_and_costs_no_more_than_before() -> None:
    """At a T where Part 1 is better conditioned, by the full chain; at most half of its first grid, of N = 2,000."""
    now, before = loaded("quick"), loaded("objectives")
    full = [c for c in now.cells if c.sampling.sample_steps == c.job.T and c.sampling.sampler == "ancestral"]
    assert {c.job.objective.name for c in full} >= {"previous", "eps"}
    assert {c.job.T for c in full} == {50}
    assert now.train == before.train
    assert len(now.jobs) <= len(before.jobs) == 18
    assert sum(c.n * c.evaluations for c in now.cells) <= sum(2000 * c.evaluations for c in before.cells) / 2


def test_the_short_demo_is_a_part_of_the_demo_with_fewer_epochs() -> None:
    """T = 200 and 1,000 are left out, which take most of the time and give no digits after ten epochs."""
    whole, short = loaded("demo"), loaded("demo-short")
    assert whole.beside == "demo-short"
    assert whole.train == short.train.model_copy(update={"epochs": whole.train.epochs}) != short.train
    small = [cell for cell in whole.cells if cell.job.T == 50]
    assert [(c.job.objective, c.job.T, c.job.seed, c.sampling, c.n) for c in small] == [
        (c.job.objective, c.job.T, c.job.seed, c.sampling, c.n) for c in short.cells
    ]
    assert short.claims == [claim for claim in whole.claims if "200" not in claim and "1000" not in claim]


def test_expansion_by_hand(tmp_path: Path) -> None:
    """2 objectives × 2 schedules less one exclusion; ancestral once, ddim for either η; two step counts."""
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    found = load(str(path))
    assert found.name == "mine"
    points = [
        (c.job.objective, c.job.schedule, c.sampling.sampler, c.sampling.eta, c.sampling.sample_steps)
        for c in found.cells
    ]
    trained = [("eps", "linear"), ("eps", "cosine"), ("v", "linear")]
    ways = [("ancestral", None), ("ddim", 0.0), ("ddim", 1.0)]
    assert sorted(points, key=str) == sorted(((*j, *w, s) for j in trained for w in ways for s in (10, 50)), key=str)
    assert [len(cells) for cells in found.jobs.values()] == [6, 6, 6]
    assert {c.job.weight for c in found.cells} == {"unit"}
    assert {c.n for c in found.cells} == {200}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_default_weight_is_the_objectives_own(make_study: Any, objective: str) -> None:
    (job, *_) = {c.job for c in make_study(objective=[objective]).cells}
    assert job.weight == OBJECTIVES[objective].weight
    explicit = make_study(objective=[objective], weight=[OBJECTIVES[objective].weight])
    assert {c.key for c in explicit.cells} == {c.key for c in make_study(objective=[objective]).cells}


@pytest.mark.parametrize(
    "sampler", [name for name in SAMPLERS if not (make_sampler(name).learned or make_sampler(name).jumps)]
)
def test_eta_collapses_where_it_means_nothing(make_study: Any, sampler: str) -> None:
    study = make_study(objective=["eps"], sampler=[sampler], eta=[0.5, 0.0, 1.0], sample_steps=[1])
    found = [c.sampling.eta for c in study.cells]
    assert found == ([0.5, 0.0, 1.0] if make_sampler(sampler).uses_eta else [None])


def test_an_exclusion_of_one_eta_leaves_samplers_without_eta_alone(make_study: Any) -> None:
    """Excluding η = 0 must not depend on whether 0 happens to be listed first."""
    for etas in ([0.0, 1.0], [1.0, 0.0]):
        found = make_study(objective=["eps"], eta=etas)
        excluding = found.model_copy(update={"exclude": [{"eta": 0.0}]})
        assert {(c.sampling.sampler, c.sampling.eta) for c in excluding.cells} == {("ancestral", None), ("ddim", 1.0)}


def test_jobs_hold_every_cell_even_when_weights_meet(make_study: Any) -> None:
    """``default`` and ``unit`` name one training run; exclusions can give it different cells from either."""
    found = make_study(objective=["eps"], schedule=["linear", "cosine"], weight=["default", "unit"])
    rules = [{"weight": "default", "sampler": "ddim"}, {"weight": "unit", "sampler": "ancestral"}]
    both = found.model_copy(update={"exclude": rules})
    assert len(both.cells) == 4
    assert sorted(c.key for cells in both.jobs.values() for c in cells) == sorted(c.key for c in both.cells)


def test_a_network_with_options(tmp_path: Path) -> None:
    """As a mapping or as its own canonical text; defaults spelt out are the plain network."""
    text = changed(
        "  T: [100]", "  T: [100]\n  net: [unet, {unet: {width: 24}}, 'unet(inner=96, width=16)', {scorenet: }]"
    )
    path = tmp_path / "nets.yaml"
    path.write_text(text)
    nets = list(dict.fromkeys(cell.job.net for cell in load(str(path)).cells))
    assert nets == ["unet", "unet(width=24)", "unet(inner=96,width=16)", "scorenet"]


def test_clipping_is_an_axis(make_study: Any) -> None:
    """Whether x̂₀ is clipped multiplies cells, not training runs, and an old key is that of the clipped cell."""
    plain, both = make_study(), make_study(clip=[True, False])
    assert {c.key for c in plain.cells} < {c.key for c in both.cells}
    assert len(both.cells) == 2 * len(plain.cells)
    assert set(both.jobs) == set(plain.jobs)
    assert ["unclipped" in c.label for c in both.cells] == [not c.sampling.clip for c in both.cells]
    assert {c.label for c in make_study(clip=["dynamic"], sampler=["ddim"]).cells} == {"ddim dynamic 4 steps"}


def test_everything_by_name_takes_options(tmp_path: Path) -> None:
    """As a mapping or as text; a default spelt out is the plain name; exclusions may be spelt either way."""
    text = """\
train: {epochs: 1}
axes:
  objective: [{edm: {sigma_data: 0.6}}, edm(sigma_data=0.5)]
  weight: [{min_snr: {gamma: 2.5}}, min_snr]
  schedule: [{cosine: {s: 0.01}}, {linear: {zero_snr: true}}, {cosine: {s: 0.008}}]
  timesteps: [uniform, {logit_normal: {mean: -0.5}}]
  sampler: [ddim, {heun: {churn: 10}}]
  spacing: [linspace, {karras: {rho: 5.0}}]
  sample_steps: [10]
exclude:
  - {schedule: {cosine: {s: 0.01}}}
  - {sampler: [heun(churn=10)], spacing: ['karras(rho=5.0)']}
  - {weight: 'min_snr(gamma=2.5)', objective: [{edm: {sigma_data: 0.5}}]}
"""
    path = tmp_path / "options.yaml"
    path.write_text(text)
    cells = load(str(path)).cells
    assert {c.job.objective for c in cells} == {"edm(sigma_data=0.6)", "edm"}
    assert {c.job.weight for c in cells} == {"min_snr(gamma=2.5)", "min_snr"}
    assert {c.job.schedule for c in cells} == {"linear(zero_snr=true)", "cosine"}
    assert {c.job.timesteps for c in cells} == {"uniform", "logit_normal(mean=-0.5)"}
    assert {(c.sampling.sampler, c.sampling.spacing) for c in cells} == {
        ("ddim", "linspace"), ("ddim", "karras(rho=5.0)"), ("heun(churn=10.0)", "linspace")
    }  # fmt: skip
    assert {c.evaluations for c in cells} == {10, 19}
    assert len(cells) == (2 * 2 - 1) * 2 * 2 * 3


def test_a_whole_number_is_the_same_value_of_a_real_option(make_study: Any) -> None:
    """``s: 1`` and ``s: 1.0``, as a mapping or as text: one value, one key; both in a list is one too many."""
    spelt = [{"cosine": {"s": 1}}, {"cosine": {"s": 1.0}}, "cosine(s=1)", "cosine( s = 1.0 )"]
    keys = {tuple(c.key for c in make_study(objective=["v"], schedule=[one]).cells) for one in spelt}
    assert len(keys) == 1
    with pytest.raises(ValidationError, match=r"lists cosine\(s=1.0\) twice"):
        make_study(objective=["v"], schedule=spelt[:2])


def test_a_variant_that_spells_a_default_out_is_the_plain_one() -> None:
    spelt = Variant("unet", (("width", 32),))
    assert Job.model_validate(JOB.model_dump() | {"net": spelt}).key == JOB.key


def test_a_study_comes_back_from_its_own_form(tmp_path: Path) -> None:
    """Exclusions with options too: the nightly gate makes a study of another's fields."""
    path = tmp_path / "mine.yaml"
    path.write_text(changed("{objective: v, schedule: cosine}", "{objective: v, schedule: [{cosine: {s: 0.008}}]}"))
    study = load(str(path))
    for again in (Study.model_validate(study.model_dump()), Study.model_validate_json(study.model_dump_json())):
        assert again.exclude == study.exclude == [{"objective": "v", "schedule": ["cosine"]}]
        assert [cell.key for cell in again.cells] == [cell.key for cell in study.cells]


def test_a_study_made_in_python_is_checked_too(make_study: Any) -> None:
    for axes, words in (
        ({"schedule": ["cosin"]}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"sampler": [{"heun": {"churn": "much"}}]}, "takes a value like 0.0"),
        ({"budget": {"optimiser": "moun"}}, "unknown optimiser 'moun'"),
    ):
        with pytest.raises(ValidationError, match=words):
            make_study(**axes)


def test_claims_with_options(tmp_path: Path) -> None:
    """Levels with options, as text and as YAML, in a claim and in its condition."""
    text = """\
train: {epochs: 1}
axes:
  objective: [eps, v]
  schedule: [linear, {cosine: {s: 0.01}}]
  sampler: [ddim, {heun: {churn: 10}}]
  sample_steps: [10]
claims:
  - 'cosine(s=0.01) < linear on fid'
  - '{cosine: {s: 0.01}} < linear on kid at {sampler: {heun: {churn: 10}}, objective: v}'
  - 'eps < v on fid at {schedule: {cosine: {s: 0.01}}}'
"""
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    first, second, third = load(str(path)).hypotheses
    assert (first.first, first.second, first.where) == ({"schedule": "cosine(s=0.01)"}, {"schedule": "linear"}, {})
    assert (second.first["schedule"], second.where) == (
        "cosine(s=0.01)",
        {"sampler": "heun(churn=10.0)", "objective": "v"},
    )
    assert third.where == {"schedule": "cosine(s=0.01)"}
    path.write_text(text.replace("at {schedule: {cosine: {s: 0.01}}}", "at {schedule: {cosine: {s: 0.02}}}"))
    with pytest.raises(UserError, match=r"claims.yaml:10: claims: .*is not on the axis"):
        load(str(path))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    - cosine", "    - {cosine: {z: 1.0}}", "'cosine' has no option 'z' .options: s, max_beta, zero_snr"),
        ("    - cosine", "    - {cosine: {s: wide}}", "takes a value like 0.008"),
        ("    - cosine", "    - {cosine: 3}", "are a mapping"),
        ("    - linear", "    - {linear: {end: 1.5}}", "β"),
        ("[eps, v]", "[eps, {v: {w: 1}}]", "'v' has no option 'w' .options: none"),
        ("  T: [100]", "  T: [100]\n  spacing: [karas]", "did you mean 'karras'"),
        ("  T: [100]", "  T: [100]\n  timesteps: [uniforn]", "did you mean 'uniform'"),
        ("  T: [100]", "  T: [100]\n  clip: [dynamik]", "clip"),
        ("  T: [100]", "  T: [100]\n  net: [{oracle: {images: 3}}]", "'oracle' has no option 'images'"),
        ("[ancestral, ddim]", "[ancestral_learned]", "needs a network that learns its variance .*not unet"),
        ("    - linear", "    - flow", "'eps' cannot be inverted on schedule 'flow'"),
        (
            "    - linear",
            "    - flow",
            "At t=100 no signal is left. Use previous, mean, x0, v, flow or edm there, or excl",
        ),
    ],
)
def test_wrong_options(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert re.search(words, refused(tmp_path, changed(old, new)))


def test_the_oracle_is_one_job_a_schedule(make_study: Any) -> None:
    """Whatever it would be trained on, and with; its budget is the data alone."""
    found = make_study(net=["oracle"], objective=["eps", "v"], weight=["default", "unit"], seed=[0, 1])
    assert len(found.jobs) == 1
    (job,) = {c.job for c in found.cells}
    assert (job.objective, job.weight, job.seed, job.train.epochs) == ("x0", "unit", 0, 0)
    both = make_study(net=["unet", "oracle"], objective=["eps", "v"])
    assert [c.job.train.epochs for c in both.cells if c.job.net == "unet"] == [3] * 4
    assert {c.key for c in found.cells} == {c.key for c in both.cells if c.job.net == "oracle"}


def test_lengths_of_the_average(make_study: Any) -> None:
    """An axis of cells, from the snapshots of one training run; without snapshots there is nothing to make them of."""
    found = make_study(budget={"snapshots": 4}, objective=["eps"], sampler=["ddim"], ema=[None, 0.05, 0.1])
    assert len(found.jobs) == 1
    assert [c.label for c in found.cells] == ["ddim 4 steps", "ddim EMA 0.05 4 steps", "ddim EMA 0.1 4 steps"]
    with pytest.raises(UserError, match=r"ema=0.05 .*train.snapshots must be 2 or more"):
        _ = make_study(objective=["eps"], sampler=["ddim"], ema=[0.05]).cells
    with pytest.raises(UserError, match="5000 are more than the 2811 training steps"):
        _ = make_study(budget={"snapshots": 5000}, objective=["eps"], sampler=["ddim"]).cells


def test_guidance_is_an_axis(make_study: Any) -> None:
    """Of cells, two evaluations where two outputs are mixed; for networks that know the data set's classes alone."""
    found = make_study(net=["unet(classes=10)"], objective=["v"], sampler=["ddim"], guidance=[None, 0.0, 1.0, 2.5])
    assert len(found.jobs) == 1
    assert [c.label for c in found.cells] == [
        "ddim 4 steps", "ddim guidance 0 4 steps", "ddim guidance 1 4 steps", "ddim guidance 2.5 4 steps"
    ]  # fmt: skip
    assert [c.evaluations for c in found.cells] == [4, 4, 4, 8]
    with pytest.raises(UserError, match=r"guidance=2 needs a network that knows classes .*classes: 10.*not tiny"):
        _ = make_study(objective=["v"], sampler=["ddim"], guidance=[2.0]).cells
    with pytest.raises(UserError, match="mnist has 10 classes, not 7"):
        _ = make_study(net=["unet(classes=7)"], objective=["v"], sampler=["ddim"]).cells
    exact = make_study(net=["oracle"], objective=["v"], sampler=["ddim"], guidance=[None, 2.0])
    assert len(exact.cells) == 1


def test_no_epochs_are_for_the_oracle_alone(tmp_path: Path) -> None:
    path = tmp_path / "exact.yaml"
    path.write_text(changed("{epochs: 2}", "{epochs: 0}").replace("  T: [100]", "  T: [100]\n  net: [oracle]"))
    assert load(str(path)).cells
    text = changed("{epochs: 2}", "{epochs: 0}").replace("  T: [100]", "  T: [100]\n  net: [oracle, unet]")
    line = refused(tmp_path, text)
    assert int(line.split(":")[0]) == line_of(text, "epochs: 0")
    assert "'oracle'" in line


LISTS = {
    "objective": ["eps", "v", "previous"],
    "schedule": ["linear", "cosine"],
    "seed": [0, 1],
    "sampler": ["ancestral", "ddim"],
    "sample_steps": [4, 10],
    "eta": [0.0, 0.5, 1.0],
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.fixed_dictionaries({k: st.permutations(v) for k, v in LISTS.items()}), keys=st.permutations(list(LISTS))
)
def test_order_in_the_file_changes_no_key(make_study: Any, order: dict[str, list[Any]], keys: list[str]) -> None:
    axes = {k: order[k] for k in keys}
    assert {c.key for c in make_study(**axes).cells} == {c.key for c in make_study(**LISTS).cells}
    assert set(make_study(**axes).jobs) == set(make_study(**LISTS).jobs)


def test_warns_of_schedules_that_leave_signal(make_study: Any) -> None:
    """REFERENCE 2.1: the unscaled schedule keeps .3636 at T=100 and 4e-5 at T=1000; the scaled one nothing."""
    assert RESIDUAL_SIGNAL == 1e-3
    (warning,) = make_study(schedule=["linear_unscaled", "linear", "cosine"]).warnings()
    assert "linear_unscaled" in warning
    assert "T=100" in warning
    assert "0.364" in warning
    assert make_study(schedule=["linear_unscaled"], T=[1000]).warnings() == []
    assert len(make_study(schedule=["linear_unscaled"], T=[10, 100, 200], sample_steps=[4]).warnings()) == 3


# mistakes


@pytest.mark.parametrize(
    ("old", "new", "near"),
    [
        ("dataset: mnist", "dataset: minst", "mnist"),
        ("[eps, v]", "[eps, prevous, v]", "previous"),
        ("    - cosine", "    - cosin", "cosine"),
        ("[ancestral, ddim]", "[ancestral, dimm]", "ddim"),
        ("  T: [100]", "  T: [100]\n  net: [Unet]", "unet"),
        ("  T: [100]", "  T: [100]\n  weight: [min_snrr]", "min_snr"),
        ("axes:", "axis:", "axes"),
        ("  sample_steps:", "  sampling_steps:", "sample_steps"),
        ("{epochs: 2}", "{epoch: 2}", "epochs"),
        ("{epochs: 2}", "{epochs: 2, optimiser: moun}", "muon"),
        ("{n: 200}", "{n: 200, sede: 1}", "seed"),
        ("{objective: v, ", "{objectiv: v, ", "objective"),
    ],
)
def test_unknown_name(tmp_path: Path, old: str, new: str, near: str) -> None:
    """File, line, the wrong name, and the nearest right one."""
    text = changed(old, new)
    wrong = next(
        w for w in re.findall(r"\w+", new) if w not in [*re.findall(r"\w+", GOOD), "net", "weight", "optimiser"]
    )
    line = refused(tmp_path, text)
    assert f"'{wrong}'" in line or f".{wrong}" in line
    assert f"did you mean '{near}'?" in line
    first = next(i for i, row in enumerate(text.splitlines(), 1) if re.search(rf"\b{wrong}\b", row))
    assert int(line.split(":")[0]) in (first, line_of(text, "  schedule:"))  # a value, or where its list begins


def test_an_axis_that_stands_elsewhere(tmp_path: Path) -> None:
    """A sampling seed is an axis, but no list under axes: the line says where it goes."""
    text = changed("  T: [100]", "  T: [100]\n  sample_seed: [0, 1]")
    line = refused(tmp_path, text)
    assert int(line.split(":")[0]) == line_of(text, "sample_seed")
    assert "sample_seed is not written under axes. Give it as `seed` under `score`" in line


def test_line_of_a_value_in_a_long_list(tmp_path: Path) -> None:
    """A name written on a line of its own is at that line."""
    text = changed("    - cosine", "    - cosin")
    assert int(refused(tmp_path, text).split(":")[0]) == line_of(text, "cosin")


def test_unknown_study() -> None:
    for name in ("quik", "nothing like it at all", "", "seed "):
        with pytest.raises(UserError) as caught:
            load(name)
        assert "\n" not in str(caught.value)
        assert "quick" in str(caught.value)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        load("quik")
    with pytest.raises(UserError, match=r"no study file .*absent\.yaml"):
        load("somewhere/absent.yaml")


BAD_VALUES = {
    "T < 1": ("T: [100]", "T: [0]", "T"),
    "T negative": ("T: [100]", "T: [-5]", "T"),
    "T in words": ("T: [100]", "T: [hundred]", "T"),
    "T in quotes": ("T: [100]", "T: ['100']", "T"),
    "T fractional": ("T: [100]", "T: [100.5]", "T"),
    "T true": ("T: [100]", "T: [true]", "T"),
    "T no list": ("T: [100]", "T: 100", "T"),
    "T null": ("T: [100]", "T: [null]", "T"),
    "seed fractional": ("T: [100]", "T: [100]\n  seed: [0.5]", "seed"),
    "seed true": ("T: [100]", "T: [100]\n  seed: [true]", "seed"),
    "seed too large": ("T: [100]", "T: [100]\n  seed: [9223372036854775808]", "seed"),
    "name with a folder": ("dataset: mnist", "dataset: mnist\nname: ../other", "name"),
    "seed negative": ("T: [100]", "T: [100]\n  seed: [-1]", "seed"),
    "steps zero": ("sample_steps: [10, 50]", "sample_steps: [0]", "sample_steps"),
    "steps twice": ("sample_steps: [10, 50]", "sample_steps: [10, 50, 10]", "twice"),
    "objective twice": ("[eps, v]", "[eps, v, eps]", "twice"),
    "eta twice": ("[0.0, 1.0]", "[0.0, 1.0, 0]", "twice"),
    "eta above": ("[0.0, 1.0]", "[0.0, 1.1]", "eta"),
    "eta below": ("[0.0, 1.0]", "[-0.1]", "eta"),
    "eta nan": ("[0.0, 1.0]", "[.nan]", "eta"),
    "clip number": ("  T: [100]", "  T: [100]\n  clip: [1]", "clip"),
    "clip twice": ("  T: [100]", "  T: [100]\n  clip: [true, true]", "twice"),
    "net's option": ("  T: [100]", "  T: [100]\n  net: [{unet: {widht: 24}}]", "widht"),
    "net's value": ("  T: [100]", "  T: [100]\n  net: [{unet: {width: wide}}]", "width"),
    "net's default": ("  T: [100]", "  T: [100]\n  net: [unet, {unet: {width: 32}}]", "twice"),
    "net's options no mapping": ("  T: [100]", "  T: [100]\n  net: [{unet: 24}]", "unet"),
    "net malformed": ("  T: [100]", "  T: [100]\n  net: ['unet(']", "unet"),
    "eta true": ("[0.0, 1.0]", "[true]", "eta"),
    "empty axis": ("[eps, v]", "[]", "empty"),
    "null axis": ("[eps, v]", "", "objective"),
    "objective number": ("[eps, v]", "[3]", "objective"),
    "n small": ("{n: 200}", "{n: 19}", "n"),
    "n large": ("{n: 200}", "{n: 10001}", "n"),
    "n true": ("{n: 200}", "{n: true}", "n"),
    "no epochs": ("{epochs: 2}", "{}", "epochs"),
    "epochs zero": ("{epochs: 2}", "{epochs: 0}", "epochs"),
    "epochs in words": ("{epochs: 2}", "{epochs: two}", "epochs"),
    "batch zero": ("{epochs: 2}", "{epochs: 2, batch_size: 0}", "batch_size"),
    "lr zero": ("{epochs: 2}", "{epochs: 2, lr: 0}", "lr"),
    "lr nan": ("{epochs: 2}", "{epochs: 2, lr: .nan}", "lr"),
    "lr infinite": ("{epochs: 2}", "{epochs: 2, lr: .inf}", "lr"),
    "lr true": ("{epochs: 2}", "{epochs: 2, lr: true}", "lr"),
    "ema one": ("{epochs: 2}", "{epochs: 2, ema: 1.0}", "ema"),
    "train list": ("{epochs: 2}", "[2]", "train"),
    "axes list": ("{epochs: 2}\naxes:\n  objective: [eps, v]", "{epochs: 2}\naxes: []\nxx:\n  objective: []", "axes"),
    "exclusion no list": ("  - {objective: v, schedule: cosine}", "  {objective: v}", "exclude"),
    "exclusion of nothing": ("{objective: v, schedule: cosine}", "{objective: x0}", "x0"),
    "exclusion by number": ("{objective: v, schedule: cosine}", "{1: v}", "exclude"),
    "dataset number": ("dataset: mnist", "dataset: 1", "dataset"),
    "T huge": ("T: [100]", "T: [1000000000]", "T"),
    "net's blocks without end": ("  T: [100]", "  T: [100]\n  net: [{unet: {blocks: 30000000}}]", "blocks"),
    "net's width beyond any": ("  T: [100]", "  T: [100]\n  net: [{unet: {width: 9223372036854775808}}]", "width"),
    "name empty": ("dataset: mnist", "dataset: mnist\nname: ''", "name"),
    "name hidden": ("dataset: mnist", "dataset: mnist\nname: .ssh", "name"),
    "name like an option": ("dataset: mnist", "dataset: mnist\nname: -rf", "name"),
    "name with a line break": ("dataset: mnist", 'dataset: mnist\nname: "a\\n"', "name"),
    "name with NUL": ("dataset: mnist", 'dataset: mnist\nname: "a\\0b"', "name"),
    "name with ESC": ("dataset: mnist", 'dataset: mnist\nname: "a\\e[31mb"', "name"),
    "name with a bidi mark": ("dataset: mnist", 'dataset: mnist\nname: "a\\u202Eb"', "name"),
    "name of 300 letters": ("dataset: mnist", f"dataset: mnist\nname: {'a' * 300}", "name"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_value(tmp_path: Path, case: str) -> None:
    """One line, with the line in the file of what is wrong."""
    old, new, word = BAD_VALUES[case]
    text = changed(old, new)
    line = refused(tmp_path, text)
    number, _, message = line.partition(":")
    assert word in message
    last = max(i + 1 for i, row in enumerate(text.splitlines()) if row not in GOOD.splitlines())
    first = min(i + 1 for i, row in enumerate(text.splitlines()) if row not in GOOD.splitlines())
    allowed = range(first, last + 1)
    # an axis checked as a whole, and a field that is not there, point at their parent
    assert int(number) in allowed or word in ("twice", "empty", "epochs", "exclude")


def test_several_axes_twice_points_at_the_axis(tmp_path: Path) -> None:
    """The word without a line sends the user searching: the line of the axis, or of the axes, but not 1."""
    text = changed("sample_steps: [10, 50]", "sample_steps: [10, 50, 10]")
    line = refused(tmp_path, text)
    assert "sample_steps" in line
    assert int(line.split(":")[0]) in (line_of(text, "axes:"), line_of(text, "sample_steps"))


def bomb(levels: int = 9) -> str:
    """A study with an axis of 10^levels values, in lists of ten aliases each."""
    names = [f"a{i}" for i in range(levels)]
    lists = [f"x{i}: &{name} [{', '.join([f'*{names[i - 1]}' if i else '1'] * 10)}]" for i, name in enumerate(names)]
    return "\n".join([*lists, changed("T: [100]", f"T: *{names[-1]}")])


LARGE = {
    "aliases of aliases": (bomb, "at most 100,000 values"),
    "a file of megabytes": (lambda: GOOD + "#" * 1_000_001, "at most 1 MB"),
    "a grid of many points": (
        lambda: changed("T: [100]", f"T: {[*range(1, 2001)]}\n  seed: {[*range(2001)]}"),
        "points before exclusions: at most 2,000,000 are possible",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_what_is_too_large_is_refused_at_once(tmp_path: Path, case: str) -> None:
    """In one line, before anything is expanded."""
    make, words = LARGE[case]
    path = tmp_path / "large.yaml"
    path.write_text(make())
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        load(str(path))
    assert time.process_time() - began < 10
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_within_itself(tmp_path: Path) -> None:
    assert "malformed YAML" in refused(tmp_path, changed("T: [100]", "T: &t [*t]"))


def test_many_values_are_planned_in_a_time_that_grows_with_their_number() -> None:
    """Each value is compared with the others by its hash."""
    began = time.process_time()
    axes = {"objective": ["eps"], "schedule": ["cosine"], "sampler": ["ddim"], "sample_steps": [1]}
    Study.model_validate({"name": "x", "train": {"epochs": 1}, "axes": axes | {"seed": [*range(100_000)]}})
    assert time.process_time() - began < 10


MALFORMED = {
    "tab": ("  schedule:", "\tschedule:"),
    "open bracket": ("[eps, v]", "[eps, v"),
    "open brace": ("{epochs: 2}", "{epochs: 2"),
    "open quote": ("dataset: mnist", "dataset: 'mnist"),
    "two colons": ("dataset: mnist", "dataset: a: b"),
    "alias": ("dataset: mnist", "dataset: *who"),
    "tag": ("dataset: mnist", "dataset: !!python/object/apply:os.getcwd []"),
    "key twice": ("  T: [100]", "  T: [100]\n  T: [200]"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_yaml(tmp_path: Path, case: str) -> None:
    """File and line. A key given twice would silently drop an axis, and a tag must never run code."""
    old, new = MALFORMED[case]
    text = changed(old, new)
    number = int(refused(tmp_path, text).split(":")[0])
    assert line_of(text, new) <= number <= text.count("\n") + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment\n",
        "- a\n- list\n",
        "just words",
        "3",
        "null",
        "---\n{}\n---\n{}\n",
        "1: 2\n",
        "? [a]\n: 1\n",
    ],
)
def test_not_a_study(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


@pytest.mark.parametrize("value", ["2024-13-45", "&x [*x]", "[" * 5000])
def test_yaml_that_breaks_its_reader(tmp_path: Path, value: str) -> None:
    """A date that does not exist, a list that holds itself, and lists deeper than the stack."""
    refused(tmp_path, changed("dataset: mnist", f"dataset: mnist\ndescription: {value}"))


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xfe\x00", bytes(range(256)), b"name: \0"])
def test_a_binary_file(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)


def test_a_number_among_the_fields(tmp_path: Path) -> None:
    refused(tmp_path, GOOD + "7: seven\n")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match=r"folder\.yaml"):
        load(str(tmp_path / "folder.yaml"))


def test_too_many_sampling_steps(tmp_path: Path) -> None:
    line = refused(tmp_path, changed("[10, 50]", "[10, 500]"))
    assert "sample_steps=500" in line
    assert "T=100" in line


def test_too_many_sampling_steps_can_be_excluded(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(changed("[10, 50]", "[10, 500]").replace("exclude:", "exclude:\n  - {sample_steps: 500}"))
    assert {c.sampling.sample_steps for c in load(str(path)).cells} == {10}


def test_duplicate_through_the_default_weight(tmp_path: Path) -> None:
    line = refused(tmp_path, changed("  T: [100]", "  T: [100]\n  weight: [default, unit]"))
    assert "duplicate" in line
    assert "eps" in line


def test_undefined_schedule(tmp_path: Path) -> None:
    """REFERENCE 2.1: scaled to T=10 the linear schedule has β = 2."""
    line = refused(tmp_path, GOOD.replace("[100]", "[10]").replace("[10, 50]", "[10]"))
    assert "impossible cell" in line
    assert "linear" in line
    assert "T=10" in line


def test_cell_without_a_solution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D = 0: predicting x_t itself says nothing about x₀."""

    def echo(s: Schedule) -> Mix:
        return Mix(s.alpha, s.sigma, torch.zeros_like(s.alpha))

    monkeypatch.setitem(OBJECTIVES, "echo", Objective(echo, "unit"))
    line = refused(tmp_path, changed("[eps, v]", "[eps, v, echo]"))
    assert "impossible cell" in line
    assert "'echo'" in line
    assert "(limit 1e+06). Use previous, mean, eps, x0, v, score, flow or edm there, or exclude it" in line
    assert "no signal is left" not in line


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_shipped_objective_is_impossible_at_1000(make_study: Any, objective: str) -> None:
    possible = [s for s in SCHEDULES if s != "flow" or objective not in ("eps", "score")]
    assert make_study(objective=[objective], T=[1000], schedule=possible).cells


def test_net_that_does_not_fit_the_images(tmp_path: Path) -> None:
    line = refused(tmp_path, GOOD.replace("mnist", "cifar10").replace("  T:", "  net: [scorenet]\n  T:"))
    assert "scorenet" in line
    assert "32" in line


def test_excluded_combinations_are_never_judged(make_study: Any) -> None:
    """linear at T=10 does not exist, but it is excluded."""
    found = make_study(schedule=["linear", "cosine"], T=[10, 100])
    assert found.model_copy(update={"exclude": [{"schedule": "linear", "T": [10]}]}).cells


def test_everything_excluded(tmp_path: Path) -> None:
    assert "excluded" in refused(tmp_path, changed("{objective: v, schedule: cosine}", "{T: 100}"))
    assert "excluded" in refused(tmp_path, changed("{objective: v, schedule: cosine}", "{objective: [eps, v]}"))


def test_good_studies_of_any_shape_load(tmp_path: Path) -> None:
    """The text that every mistake above starts from is itself without one, as is a minimal study."""
    path = tmp_path / "good.yml"
    path.write_text(GOOD)
    assert isinstance(load(str(path)), Study)
    minimal = {
        "train": {"epochs": 1, "lr": 1e-3},
        "axes": {"objective": ["v"], "schedule": ["cosine"], "sampler": ["ddim"], "sample_steps": [1]},
    }
    path.write_text(yaml.safe_dump(minimal))
    (cell,) = load(str(path)).cells
    assert (cell.job.net, cell.job.T, cell.job.seed, cell.n, cell.sampling.eta) == ("unet", 1000, 0, 2000, 0.0)


def test_weights_are_listed() -> None:
    """What a study may say is what the tables hold."""
    assert names("weight") == [*WEIGHTS, "default"]
    assert names("net")[-1] == "oracle"
    assert {"dataset", "optimiser", "metric"} <= set(FAMILIES)


def test_a_training_seed_is_sampled_from_itself(make_study: Any) -> None:
    """Unless it is said otherwise: seed k from seed k, in every way, and the oracle, which has none, from 0."""
    axes: dict[str, Any] = {"net": ["tiny", "oracle"], "objective": ["eps"], "seed": [0, 1, 7], "sample_steps": [2, 4]}
    study = make_study(**axes)
    seeds = [(cell.job.net.name, cell.job.seed, cell.sampling.sample_seed) for cell in study.cells]
    assert set(seeds) == {("tiny", 0, 0), ("tiny", 1, 1), ("tiny", 7, 7), ("oracle", 0, 0)}
    assert len(study.cells) == len({cell.key for cell in study.cells}) == 4 * 2 * 2
    own = [cell for cell in study.cells if cell.job.seed == 7]
    assert own[0].label.endswith("sampling seed 7")
    assert type(study).model_validate(study.model_dump()) == study


def test_a_sampling_seed_that_is_said_is_meant(make_study: Any) -> None:
    """For all training seeds, and with the keys that such cells always had."""
    study = make_study(seed=[0, 1, 7])
    fixed = study.model_validate(study.model_dump() | {"score": {"n": 20, "seed": 0}})
    assert {cell.sampling.sample_seed for cell in fixed.cells} == {0}
    assert "sample_seed" not in fixed.cells[-1].sampling.stated
    both = study.model_validate(study.model_dump() | {"score": {"n": 20, "seed": [0, 1]}})
    assert {(cell.job.seed, cell.sampling.sample_seed) for cell in both.cells} == {
        (seed, draw) for seed in (0, 1, 7) for draw in (0, 1)
    }


@pytest.mark.parametrize("name", ["quick", "objectives", "recipes", "guidance", "replication", "demo", "demo-short"])
def test_committed_results_still_belong_to_their_studies(name: str) -> None:
    """Every cell of a study that was run has its record: sampling seeds say what they were."""
    kept = {path.stem for path in (REFERENCE / "cells").glob("*.json")}
    assert {cell.key for cell in load(name).cells} <= kept


def test_several_sampling_seeds(tmp_path: Path) -> None:
    """Each is a cell of the same training run; one by itself is what a number was."""
    cells = {}
    for text in ("", ", seed: 0", ", seed: [0]", ", seed: [0, 3]"):
        path = tmp_path / "trial.yaml"
        path.write_text(changed("n: 200", f"n: 200{text}"))
        cells[text] = load(str(path)).cells
    assert cells[""] == cells[", seed: 0"] == cells[", seed: [0]"]
    both = cells[", seed: [0, 3]"]
    assert [cell.sampling.sample_seed for cell in both[:2]] == [0, 3]
    assert both[::2] == cells[""]
    assert {cell.job.key for cell in both} == {cell.job.key for cell in cells[""]}
    assert len({cell.key for cell in both}) == len(both) == 2 * len(cells[""])
    assert both[1].label == f"{both[0].label} sampling seed 3"


@pytest.mark.parametrize(
    ("given", "said"), [("[0, 1, 0]", "seed lists 0 twice: duplicate cells"), ("[]", "seed is empty"), ("-1", "seed")]
)
def test_sampling_seeds_that_make_no_sense(tmp_path: Path, given: str, said: str) -> None:
    assert said in refused(tmp_path, changed("n: 200", f"n: 200, seed: {given}"))


@pytest.mark.parametrize("given", ["demo", "seed"])
def test_the_old_name_of_a_weight_is_read(given: str) -> None:
    """The weight `seed` is called `demo`. Keys and records keep the old name; tables and labels say the new one."""
    job = JOB.model_validate(JOB.model_dump() | {"weight": given})
    assert (job.weight, job.told["weight"]) == ("demo", "demo")
    assert "weight demo" in job.label
    assert job.model_dump()["weight"] == json.loads(job.canonical)["weight"] == "seed"
    assert Job.model_validate(job.model_dump()) == job


def test_cells_are_those_that_are_checked(make_study: Callable[..., Study]) -> None:
    """They are made of parts that were checked, and not checked again: each is what a careful maker would make."""
    for cell in make_study(seed=[0, 1], sample_steps=[10, 20]).cells:
        careful = Cell(job=cell.job, sampling=cell.sampling, n=cell.n)
        assert (cell, cell.key, cell.model_fields_set) == (careful, careful.key, careful.model_fields_set)
        assert cell.model_dump(exclude_unset=True) == careful.model_dump(exclude_unset=True)


def test_a_check_is_asked_once_for_what_it_looks_at(
    make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = next(check for check in possible.CHECKS if "schedule" in check.axes)

    def why(design: Design, at: possible.At) -> str | None:
        asked.append(at["T"])
        return real.why(design, at)

    spy = real._replace(why=why)
    monkeypatch.setattr(expand, "CHECKS", tuple(spy if check is real else check for check in possible.CHECKS))
    assert len(make_study(objective=["eps"], sampler=["ddim"], T=[100, 200], seed=[0, 1, 2]).cells) == 6
    assert sorted(asked) == [100, 200]
