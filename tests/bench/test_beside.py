"""Two studies side by side: which answers hold in both, over the settings that both have."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bench.analysis import beside
from bench.analysis.frames import Results
from bench.errors import UserError
from bench.report import marks
from bench.report.blocks import Figure
from bench.report.write import compose, digest
from bench.store.store import Store
from bench.study.load import load
from tests.bench.made_up import markdown_of, noise, section_of, write_cell, write_job

CLAIMS = ["eps < previous on fid", "ddim < ancestral on fid", "cosine < linear on fid", "50 < 10 on fid"]
DIGITS = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)


def _file(folder: Path, name: str, **more: Any) -> Path:
    axes = {"objective": ["previous", "eps"], "schedule": ["linear", "cosine"], "seed": [0, 1, 2],
            "sampler": ["ancestral", "ddim"], "sample_steps": [10]}  # fmt: skip
    content = {"train": {"epochs": 1}, "axes": axes | more.pop("axes", {}), "score": {"n": 200}, **more}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _fill(path: Path, store: Store, worse: dict[str, float]) -> None:
    for cells in load(str(path)).jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            job, sampling = cell.job, cell.sampling
            named = (str(job.objective), str(job.schedule), str(sampling.sampler), str(sampling.sample_steps))
            fid = 10 * noise(cell.key, scale=0.01)
            for name in named:
                fid *= worse.get(name, 1.0)
            write_cell(store, cell, DIGITS, fid=fid)


@pytest.fixture
def two(tmp_path: Path) -> Results:
    """``here`` beside ``there``: the objectives turn round, the samplers do not, the schedules are chance in one."""
    store = Store(tmp_path / "results")
    there = _file(tmp_path, "there", train={"epochs": 2}, axes={"sample_steps": [10, 25]})
    here = _file(tmp_path, "here", claims=CLAIMS, beside="there.yaml", axes={"sample_steps": [10, 50]})
    _fill(here, store, {"previous": 2.0, "ancestral": 1.5, "50": 0.1})
    _fill(there, store, {"eps": 2.0, "ancestral": 1.4, "linear": 1.3, "25": 50})
    return Results(load(str(here)), store)


def test_which_answers_hold(two: Results) -> None:
    there = beside.other(two)
    assert there is not None
    found = beside.both(two, there)
    assert [pair.together for pair in found.pairs] == [beside.TURNED, beside.SAME, beside.THERE, beside.MISSING]
    assert found.counts == {beside.SAME: 1, beside.TURNED: 1, beside.THERE: 1, beside.MISSING: 1}
    assert found.settings == 8, "50 and 25 steps are in one study alone"
    ratios = [[one.found.value for one in pair if one.found is not None] for pair in found.pairs]
    assert ratios[0] == pytest.approx([0.5, 2.0], rel=0.03)
    assert ratios[1] == pytest.approx([1 / 1.5, 1 / 1.4], rel=0.03)
    assert beside.differences(two.study, there.study) == {"train.epochs": (1, 2)}


def test_the_order_of_settings(two: Results) -> None:
    """By hand: the scores of shared settings as ranks, whatever the others are."""
    there = beside.other(two)
    assert there is not None
    found = beside.both(two, there).correlation
    keys = [set(map(tuple, results.settings[["objective", "schedule", "method", "sample_steps"]].to_numpy()))
            for results in (two, there)]  # fmt: skip
    shared = keys[0] & keys[1]
    ranks = []
    for results in (two, there):
        frame = results.settings.set_index(["objective", "schedule", "method", "sample_steps"])["fid"]
        ranks.append(frame[[key in shared for key in frame.index]].rank())
    assert found == pytest.approx(ranks[0].corr(ranks[1]))
    assert beside.both(two, two).correlation == pytest.approx(1)


def test_what_the_report_says(two: Results) -> None:
    said = section_of(markdown_of(two), "Beside the study `there`")
    assert "train.epochs (2 there, 1 here)" in said
    assert "Only settings that both have count here: 8." in said
    assert "There are 4 claims. The same answer in both: 1; the opposite answers: 1" in said
    rows = {row.split("|")[1].strip(" `"): row for row in said.splitlines() if row.startswith("| `")}
    assert "**the opposite answers**: supported here, contradicted there" in rows[CLAIMS[0]]
    assert "supported in both" in rows[CLAIMS[1]]
    assert re.search(r"0\.66\d? \(", rows[CLAIMS[1]])
    assert [row for row in said.splitlines() if row.startswith(("| ancestral", "| ddim"))] == [
        r"| ddim | 50\* | none |", r"| ancestral | 50\* | none |"
    ]  # fmt: skip
    figure = next(block for block in compose(two) if isinstance(block, Figure) and block.name == "beside")
    assert marks.draw(figure).png.startswith(b"\x89PNG")
    assert len(figure.data["intervals"]) == 6


@pytest.fixture
def fewer(tmp_path: Path) -> Results:
    """Ten steps cost 4 times here and 1.2 times there with ddim; with ancestral as much in both."""
    store = Store(tmp_path / "results")
    there = _file(tmp_path, "there", axes={"sample_steps": [10, 25, 50], "sampler": ["ddim"]})
    ancestral = _file(tmp_path, "more", axes={"sample_steps": [10, 25, 50], "sampler": ["ancestral"]})
    here = _file(tmp_path, "here", train={"epochs": 2}, claims=CLAIMS, beside="both.yaml",
                 axes={"sample_steps": [10, 50]})  # fmt: skip
    _file(tmp_path, "both", axes={"sample_steps": [10, 25, 50]})
    for path, cost in ((there, 1.2), (ancestral, 2.0)):
        _fill(path, store, {"10": cost, "25": 1.1, "previous": 1.4})
    _fill(here, store, {"10": 2.0, "previous": 1.3})
    results = Results(load(str(here)), store)
    for cell in results.study.cells:
        if str(cell.sampling.sampler) == "ddim" and cell.sampling.sample_steps == 10:
            fid = 40 * noise(cell.key, scale=0.01) * (1.3 if str(cell.job.objective) == "previous" else 1)
            write_cell(store, cell, DIGITS, fid=fid)
    return Results(results.study, store)


def test_what_fewer_steps_cost(fewer: Results) -> None:
    """Against the most steps that both studies have, and whether the costs differ."""
    there = beside.other(fewer)
    assert there is not None
    found = {one.sampler: one for one in beside.fewer_steps(fewer.done, there.done)}
    assert {name: (one.steps, one.most) for name, one in found.items()} == {"ancestral": (10, 50), "ddim": (10, 50)}
    ratios = {name: (one.here.value, one.there.value, one.between.value) for name, one in found.items()}
    assert ratios["ddim"] == pytest.approx((4, 1.2, 4 / 1.2), rel=0.03)
    assert ratios["ancestral"] == pytest.approx((2, 2, 1), rel=0.03)
    assert found["ddim"].between.p < 0.01 < 0.2 < found["ancestral"].between.p
    assert found["ddim"].between.pairs == 3
    said = section_of(markdown_of(fewer), "Beside the study `both`")
    rows = {row.split(" | ")[0]: row for row in said.split("What do fewer steps cost?")[1].splitlines() if "|" in row}
    assert rows["| ddim"].endswith("| here |")
    assert rows["| ancestral"].endswith("| cannot tell |")
    assert rows["| ddim"].startswith("| ddim | 10 | 50 | 4.")


def test_only_models_that_both_have_count(fewer: Results) -> None:
    """With every number of steps that both have; and of one seed nothing is tested."""
    there = beside.other(fewer)
    assert there is not None
    done = fewer.done
    part = done[(done["objective"] == "eps") & (done["seed"] == 1) | (done["sample_steps"] == 50)]
    whole = {one.sampler: one for one in beside.fewer_steps(done, there.done)}
    for one in beside.fewer_steps(part, there.done):
        own = [np.log(frame[(frame["method"] == one.sampler) & (frame["objective"] == "eps")].set_index(
            ["sample_steps", "schedule", "seed"])["fid"]) for frame in (part, there.done)]  # fmt: skip
        mine = float((own[0][10] - own[0][50]).dropna().mean())
        theirs = float((own[1][10] - own[1][50]).mean())
        assert (one.here.value, one.there.value) == pytest.approx((math.exp(mine), math.exp(theirs)))
        assert math.isnan(one.between.p)
        assert whole[one.sampler].there.value != one.there.value
    assert beside.fewer_steps(done, there.done[there.done["objective"] == "none"]) == []
    assert beside.fewer_steps(done[done["objective"] == "eps"], there.done[there.done["objective"] == "previous"]) == []


def test_without_results_of_the_other_it_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    _file(tmp_path, "there")
    here = _file(tmp_path, "here", claims=CLAIMS[:1], beside="there.yaml", score={"n": 100})
    _fill(here, store, {})
    text = markdown_of(Results(load(str(here)), store))
    assert "There are no results of the study `there` in this folder yet." in text


def test_a_study_alone_has_no_such_section(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    alone = _file(tmp_path, "alone", claims=CLAIMS[:1])
    _fill(alone, store, {})
    assert "Beside the study" not in markdown_of(Results(load(str(alone)), store))


def test_a_report_is_made_again_when_the_other_study_has_new_results(two: Results) -> None:
    before = digest(two)
    there = beside.other(two)
    assert there is not None
    cell = there.study.cells[0]
    write_cell(two.store, cell, DIGITS, fid=123.0)
    assert digest(Results(two.study, two.store)) != before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("quik", "unknown study 'quik'; did you mean 'quick'?"),
        ("gone.yaml", "no study file "),
        ("here.yaml", "a study cannot be beside itself"),
    ],
)
def test_a_wrong_name(tmp_path: Path, name: str, words: str) -> None:
    path = _file(tmp_path, "here", beside=name)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("beside"))
    with pytest.raises(UserError) as error:
        load(str(path))
    assert str(error.value).startswith(f"{path}:{line}: beside: {words}")
    assert "\n" not in str(error.value)


def test_studies_may_name_each_other(tmp_path: Path) -> None:
    _file(tmp_path, "a", beside="b.yaml")
    path = _file(tmp_path, "b", beside="a.yaml")
    assert load(str(path)).beside == str(tmp_path / "a.yaml")


def test_the_two_studies_of_transfer_differ_in_their_data_alone() -> None:
    here = load("transfer")
    there = load(str(here.beside))
    assert beside.differences(here, there) == {"dataset": ("fashion_mnist", "mnist")}
    settings = [
        [
            (str(c.job.objective), str(c.job.schedule), c.sampling.model_copy(update={"sample_seed": 0}))
            for c in one.cells
        ]
        for one in (here, there)
    ]
    assert settings[0] == settings[1]
    assert here.claims == there.claims
