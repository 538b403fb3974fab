"""Older code against the present one: small copies of studies, and what counts as alike. The runs are not made here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UserError
from bench.paths import REFERENCE
from bench.store.lookup import with_results
from bench.store.store import Store
from bench.study import load as studies
from bench.study.model import Cell
from bench.study.study import Study
from perf import versions
from perf.record import load
from tests.records import FLOOR, environment, failed_cell, sampled, scored_cell

SCORES = {**FLOOR, "fid": 3.5}


@pytest.mark.parametrize("name", [study.name for study, _ in with_results(None, REFERENCE)])
def test_a_small_copy_has_every_cell_of_one_seed(name: str, tmp_path: Path) -> None:
    """Only the size changes: each cell of the study on that training seed is there."""

    def settings(study: Study) -> set[tuple[str, ...]]:
        left_out = {"n", "sample_seed", "likelihood"}
        return {
            (
                str({**cell.job.written, "train": cell.job.train.model_dump(exclude={"images"}), "seed": None}),
                str({key: value for key, value in cell.written.items() if key not in left_out | {"job"}}),
            )
            for cell in study.cells
        }

    copy, whole = studies.load(str(versions.small_copy(name, tmp_path))), studies.load(name)
    assert settings(copy) == settings(whole)
    trained = [cell.job for cell in copy.cells if cell.job.train.epochs]
    assert {job.seed for job in trained} == {versions.SEED}
    assert max(cell.n for cell in copy.cells) == versions.SAMPLES
    assert {cell.job.train.images for cell in copy.cells} == {versions.IMAGES}
    assert copy.claims == []


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "four.yaml"
    path.write_text(
        "dataset: mnist\ntrain: {epochs: 1}\nscore: {n: 20}\n"
        "axes: {objective: [eps], schedule: [linear], sampler: [ddim], sample_steps: [5, 10, 20, 50]}\n"
    )
    return studies.load(str(path))


def _write(store: Store, cell: Cell, image: int = 0, reason: str = "", **changes: Any) -> None:
    record = failed_cell(cell, reason) if reason else scored_cell(cell, SCORES | changes)
    store.write(cell.key, record)
    if not reason:
        images = np.full((20, 1, 28, 28), image, np.uint8)
        store.save_samples(cell.key, images, sampled(batch_s=(1.0,), batch_images=(20,)))


def test_all_alike(study: Study, tmp_path: Path) -> None:
    """So is a cell that fails in both for the same reason."""
    old, new = (Store(tmp_path / name) for name in ("old", "new"))
    for store in (old, new):
        for cell in study.cells[:-1]:
            _write(store, cell)
        _write(store, study.cells[-1], reason="not finite")
    found = versions.compare(study, old, new)
    assert found == {"cells": 4, "same images": 4, "same scores": 4, "largest difference": 0.0}
    assert [bar["met"] for bar in versions.claims([found])] == [True, True]


def test_what_differs_is_counted(study: Study, tmp_path: Path) -> None:
    """One image, one score, one cell that is not there."""
    old, new = (Store(tmp_path / name) for name in ("old", "new"))
    for cell in study.cells:
        _write(old, cell)
    for cell, changed in zip(study.cells, [{"image": 1}, {"fid": 7.0}, {}], strict=False):
        _write(new, cell, **changed)
    found = versions.compare(study, old, new)
    assert found == {"cells": 4, "same images": 2, "same scores": 2, "largest difference": 0.5}
    told = list(versions.claims([found]))
    assert [bar["measured"] for bar in told] == ["2 of 4", "2 of 4"]
    assert not any(bar["met"] for bar in told)


@pytest.mark.parametrize("other", [{"reason": "not finite"}, {"class_accuracy": 0.5}])
def test_a_failure_or_a_score_more_is_a_difference(study: Study, other: dict[str, Any], tmp_path: Path) -> None:
    cell = study.cells[0]
    stores = [Store(tmp_path / name) for name in ("old", "new")]
    for store, changed in zip(stores, ({}, other), strict=True):
        _write(store, cell, **changed)
    for pair in (stores, stores[::-1]):
        found = versions.compare(study, *pair)
        assert (found["same scores"], found["largest difference"]) == (0, 0.0)


def test_different_reasons_differ(study: Study) -> None:
    cell = study.cells[0]
    assert versions.differ(failed_cell(cell, "one"), failed_cell(cell, "one")) == 0
    assert versions.differ(failed_cell(cell, "one"), failed_cell(cell, "two")) is None


def test_the_commits_that_made_results(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for cell, commit in zip(study.cells, "bab", strict=False):
        store.write(cell.key, scored_cell(cell, environment=environment(commit=commit * 40)))
    first, second, third, _ = (cell.key for cell in study.cells)
    assert versions.makers(study, store) == {"a" * 40: {second}, "b" * 40: {first, third}}
    store.write(study.cells[-1].key, scored_cell(study.cells[-1], environment=environment(dirty=True)))
    with pytest.raises(UserError, match=f"'four': no commit has the code that made 1 cell, {study.cells[-1].key}"):
        versions.makers(study, store)


def test_results_of_other_code_are_refused(study: Study, tmp_path: Path) -> None:
    """If both sides ran the present code, all would be alike."""
    store = Store(tmp_path / "results")
    store.write(study.cells[0].key, scored_cell(study.cells[0], environment=environment(commit="a" * 40)))
    versions.check_code(study, store, "a" * 40)
    with pytest.raises(UserError, match=f"the runs of {'b' * 12} were made by the code of {'a' * 40}"):
        versions.check_code(study, store, "b" * 40)


def test_cells_of_another_study_are_done_with_it() -> None:
    """The commit of `plain` need not know the axes of `more`, which has some of its cells."""
    made = {"more": {"new": {"c", "d"}, "old": {"a", "b"}}, "plain": {"old": {"a", "b", "e"}}}
    assert list(versions.work(made)) == [("plain", "old"), ("more", "new")]
    made["more"]["old"].add("f")
    assert list(versions.work(made)) == [("plain", "old"), ("more", "new"), ("more", "old")]


def test_each_command_runs_the_code_of_its_folder(tmp_path: Path) -> None:
    """Exit code 1 says that some cells failed: these are compared, too."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "which.py").write_text(f"name = '{folder.name}'")
    words = [sys.executable, "-c", "import sys, which; open('told', 'w').write(which.name); sys.exit(1)"]
    versions.run_all([(folder, words) for folder in folders])
    assert [(folder / "told").read_text() for folder in folders] == ["one", "two"]


def test_a_command_that_fails_ends_the_others(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; print('begins'); print('what is wrong'); sys.exit(2)"]
    waiting = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(UserError, match=rf"^the code of {tmp_path.name} cannot run it: what is wrong$"):
        versions.run_all([(tmp_path, failing), (tmp_path, waiting)])


def test_what_the_findings_say_of_older_code_is_so() -> None:
    """docs/findings.md says that nothing differs."""
    record = load()["versions"]
    assert record["claims"] == list(versions.claims(record["rows"]))
    assert all(bar["met"] for bar in record["claims"])


def test_a_study_that_has_no_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.main(["full"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("perf.versions: unknown study 'full'")
    assert "quick" in error
