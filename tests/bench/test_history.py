"""A study over commits: change points against simulation, and the file of runs."""

from __future__ import annotations

import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis import changes, history
from bench.analysis.changes import change_points
from bench.cli import main
from bench.errors import UserError
from bench.gate import gates
from bench.report import past
from bench.store.store import Store
from bench.study.model import Cell
from bench.study.study import Study
from tests.records import PROVENANCE, environment, scored_cell, trained_job


@pytest.fixture
def quick_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SHUFFLES", 199)


def test_false_alarms_are_as_rare_as_stated(quick_shuffles: None) -> None:
    """Of 300 series without a change, skewed ones too, about 5% are said to have one: at most 9% in this simulation."""
    random = np.random.default_rng(7)
    draws = (random.normal, random.standard_exponential)
    alarms = sum(bool(change_points(draws[i % 2](size=20).tolist())) for i in range(300))
    assert 3 <= alarms <= 27


def test_a_shift_is_found_where_it_is(quick_shuffles: None) -> None:
    """Of 60 series that shift by three standard deviations, nine in ten are found, within a place of where it is."""
    random = np.random.default_rng(8)
    near = 0
    for _ in range(60):
        found = change_points([*random.normal(size=12), *random.normal(3.0, size=10)])
        near += any(abs(one.at - 12) <= 1 for one in found)
    assert near >= 54


def test_two_shifts_and_none() -> None:
    steps = [1.0] * 8 + [2.0] * 8 + [1.5] * 8
    found = change_points(steps)
    assert [(one.at, one.before, one.after) for one in found] == [(8, 1.0, 2.0), (16, 2.0, 1.5)]
    assert change_points([0.1] * 30) == [], "the same value every night, as with the same seeds on the same machine"
    assert change_points([1.0, 5.0, 9.0]) == [], "too short to say"
    assert change_points(steps) == found


def entry(i: int, fid: float = 5.0, seconds: float = 10.0, **about: Any) -> history.Entry:
    cells = {
        name: history.CellRuns(metrics={"fid": (fid * scale, fid * scale * 1.1)}, seconds={"epoch_s": seconds})
        for name, scale in (("a", 1.0), ("b", 3.0))
    }
    given: dict[str, Any] = {
        "study": "smoke", "commit": f"{i:040x}", "dirty": False, "code": "abc", "seeds": (10, 11), "n": 500,
        "date": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=i), "machine": "CPU", "judge": "j", "cells": cells,
    }  # fmt: skip
    return history.Entry(**(given | about))


def test_quality_and_speed_are_series_of_their_own() -> None:
    """Each judge and kind of machine is by itself; a cell that not all runs have does not move the mean."""
    entries = [entry(i, fid=5 if i < 8 else 7, seconds=10 + 0.01 * i) for i in range(16)]
    entries += [entry(16 + i, fid=7, machine="other", seconds=90.0) for i in range(4)]
    entries[3] = entry(3, judge="older", fid=1000.0)
    grown = dict(entries[-1].cells) | {"c": history.CellRuns(metrics={"fid": (1e6,)})}
    entries[-1] = entries[-1].model_copy(update={"cells": grown})
    quality, speed, other = history.series(entries)
    assert quality.title == "fid, N = 500"
    assert 3 not in quality.places
    assert [one.at for one in quality.changes] == [7]
    assert math.exp(quality.changes[0].after - quality.changes[0].before) == pytest.approx(7 / 5)
    assert quality.values[-1] == pytest.approx(7 * math.sqrt(3 * 1.1))
    assert (len(speed.values), other.values) == (16, pytest.approx([90.0] * 4))
    ((_, commit, date, before, after, ratio, p),) = past.changes(entries, [quality])
    assert (commit, date) == (entries[8].name, "2026-01-09")
    assert after / before == pytest.approx(ratio)
    assert p < 0.05


def fill(folder: Path, study: Study, seeds: range, code: str = "new", **about: Any) -> None:
    store = Store(folder)
    for cell in study.cells:
        for seed in seeds:
            made = Cell(**(cell.model_dump() | {"job": cell.job.model_dump() | {"seed": seed}}))  # a copy keeps its key
            metrics = {"fid": 5.0 + seed, "kid": 0.1, "kid_se": 0.1}
            where = environment(code=code, **about)
            store.write(made.key, scored_cell(made, metrics, provenance=PROVENANCE, environment=where))
            store.write(made.job.key, trained_job(made.job, environment=where))


def test_a_run_is_taken_on_whatever_seeds(
    tmp_path: Path, make_study: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the nightly gate trains it: on seeds that the study does not list. Twice is once."""
    study = make_study(objective=["eps"])
    monkeypatch.setattr("bench.study.load.load", lambda name: study)
    folder, file = tmp_path / "results", tmp_path / "smoke.jsonl"
    fill(folder, study, range(10, 12))
    command = ["history", "--results", str(folder), "--file", str(file)]
    assert main([*command]) == 2
    assert "no history" in capsys.readouterr().err
    assert main([*command, "--append"]) == 0
    assert main([*command, "--append", "--html", str(tmp_path / "page.html")]) == 0
    assert "already in" in capsys.readouterr().err
    (one,) = history.read(file, study.name)
    assert (one.seeds, one.n) == ((10, 11), study.score.n)
    assert {cell.metrics["fid"] for cell in one.cells.values()} == {(15.0, 16.0)}
    assert "kid_se" not in next(iter(one.cells.values())).metrics
    assert next(iter(one.cells.values())).seconds["epoch_s"] == 10.0
    page = (tmp_path / "page.html").read_text()
    assert "1 run, 0 changes found" in page
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page), "it loads nothing"
    assert main([*command, "--metric", "kid"]) == 2
    file.write_text(file.read_text() + "{}\n")
    assert main(command) == 2
    assert "line 2 of" in capsys.readouterr().err


def test_a_run_of_the_nightly_gate_is_taken(tmp_path: Path, make_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate trains in a folder of its own. The newest run counts, wherever it is."""
    study = make_study(objective=["eps"])
    monkeypatch.setattr("bench.study.load.load", lambda name: study)
    folder, file = tmp_path / "results", tmp_path / "smoke.jsonl"
    command = ["history", "--append", "--results", str(folder), "--file", str(file)]

    def train(wider: Study, store: Store) -> bool:
        fill(store.root, study, range(10, 12), code="gate")
        return False

    monkeypatch.setattr("bench.gate.nightly.read_baseline", lambda path: None)
    monkeypatch.setattr("bench.gate.nightly.fresh_seeds", lambda kept, count: [10, 11])
    gates.check_runs(study.name, folder, train, file=tmp_path / "baseline.json")
    assert main(command) == 0
    fill(folder, study, range(3), code="run", commit="f" * 40)
    assert main(command) == 0
    assert [(one.code, one.seeds) for one in history.read(file, study.name)] == [("gate", (10, 11)), ("run", (0, 1, 2))]


def test_what_is_no_whole_run_is_refused(tmp_path: Path, make_study: Any) -> None:
    study = make_study(objective=["eps"])
    with pytest.raises(UserError, match="no results of"):
        history.taken(study, Store(tmp_path))
    fill(tmp_path, study, range(1))
    Store(tmp_path).path("cells", study.cells[0].key, ".json").unlink()
    with pytest.raises(UserError, match="1 of 2 settings of"):
        history.taken(study, Store(tmp_path))
    history.append(tmp_path / "h", entry(0))
    with pytest.raises(UserError, match="is the history of smoke, not of other"):
        history.append(tmp_path / "h", entry(1, study="other"))


def write(file: Path, entries: list[history.Entry]) -> list[str]:
    """The entries in a file, and the command that shows it."""
    file.write_text("".join(f"{one.model_dump_json()}\n" for one in entries))
    return ["history", "smoke", "--file", str(file)]


def test_a_history_of_another_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write(tmp_path / "h", [entry(0, study="other")])
    assert main([*command, "--html", str(tmp_path / "page.html")]) == 2
    assert "is the history of other, not of smoke" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_what_could_not_be_compared_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That is another thing than no change."""
    entries = [entry(i) for i in range(3)]
    page = tmp_path / "page.html"
    assert main(write(tmp_path / "h", entries)) == 0
    assert "No change was found in: fid, N = 500 (3 runs); seconds an epoch, CPU (3 runs)." in capsys.readouterr().out
    fast = history.CellRuns(metrics={"fid": (5.0,)}, seconds={"epoch_s": 1.0})
    entries[1] = entry(1, machine="other", cells={"c": fast})
    command = write(tmp_path / "h", entries)
    assert main([*command, "--html", str(page)]) == 0
    line = "Not compared: fid, N = 500. No cell is in all 3 runs that have it."
    said = capsys.readouterr().out
    assert line in said
    assert "No change was found in: seconds an epoch, CPU (2 runs); seconds an epoch, other (1 run)." in said
    assert line in page.read_text()
    assert main([*command, "--format", "json"]) == 0
    assert line in capsys.readouterr().err


def test_a_metric_that_no_run_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write(tmp_path / "h", [entry(0)])
    assert main([*command, "--metric", "precision", "--html", str(tmp_path / "page.html")]) == 2
    assert "no run by the newest judge has a precision above zero; the runs have: fid" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_two_who_append_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads slowly, so that without a lock both write what they alone have added."""
    read = history.read

    def slowly(path: Path, *about: str) -> list[history.Entry]:
        found = read(path, *about)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(history, "read", slowly)
    file = tmp_path / "new" / "h"
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda i: history.append(file, entry(i)), range(2)))
    assert read(file, "smoke") == [entry(0), entry(1)]


def test_a_name_of_a_machine_is_text() -> None:
    page = past.page([entry(i, machine="<b>$x$ CPU") for i in range(3)])
    assert "&lt;b&gt;$x$ CPU" in page
    assert "<b>$x" not in page
