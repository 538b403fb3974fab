"""The command: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cli
from bench.images import datasets
from bench.score.scorer import Scorer
from bench.store.store import Store

COMMANDS = ("plan", "run", "status", "table", "query", "report", "check", "score", "sample", "classifier", "doctor")
ISSUE_COLUMNS = (
    "study,status,dataset,net,objective,weight,schedule,T,seed,sampler,sample_steps,eta,n,fid,fid_floor,fid_ceiling,"
    "kid,kid_se,inception_score,precision,recall,confidence,epoch_s,train_images_per_s,sample_images_per_s,params,"
    "megabytes,peak_rss_mb,device,commit,key"
)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line with which the command refuses these arguments."""
    try:
        code = cli.main(list(argv))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


def test_help_names_every_command_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "--help"], capture_output=True, text=True, check=True, cwd=datasets.ROOT
    )
    assert all(re.search(rf"^ +{name}( |$)", done.stdout, re.MULTILINE) for name in COMMANDS)
    assert "exit codes" in done.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "pandas", "pydantic", "yaml", "duckdb", "matplotlib"}
    probe = f"import sys; from bench import cli; cli._parser().format_help(); print(*{heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=datasets.ROOT)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out) > 200


def test_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "smoke", "--cells", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 jobs, 4 cells; 0 cells done" in printed
    assert printed.count("missing") == 4
    assert not list(tmp_path.iterdir()), "planning writes nothing"


def test_plan_warns_of_schedules_that_leave_signal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "full", "--results", str(tmp_path)]) == 0
    assert "ᾱ_T = 0.904" in capsys.readouterr().err


def test_table_csv_is_the_promised_interface(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "smoke", "--format", "csv", "--results", str(tmp_path)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert ",".join(list(rows[0])[:31]) == ISSUE_COLUMNS
    assert len(rows) == 4
    assert {row["status"] for row in rows} == {"missing"}
    assert rows[0]["fid"] == ""


def test_table_json_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "smoke", "--format", "json", "--results", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert cli.main(["table", "smoke", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("| net")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["plan", "quik"], "did you mean 'quick'"),
        (["plan", "none.yaml"], "no study file"),
        (["table", "smoke", "--results", "/nonexistent"], "no results folder"),
        (["run", "smoke", "--device", "gpu"], "unknown device 'gpu'"),
        (["run", "smoke", "--workers", "0"], "positive"),
        (["score", "/nonexistent"], "no such file"),
        (["score", ".", "--dataset", "mnits"], "did you mean 'mnist'"),
        (["classifier", "--dataset", "x"], "choices: mnist"),
        (["sample", "zzzz"], "no cell"),
        (["sample", "**"], "no cell"),
        (["sample", "/x"], "no cell"),
        (["plan", "a" * 300], "too long"),
        (["check", "nightly", "--update-baseline", "--seeds", "2", "--why", "x"], "3 seeds"),
        (["check", "nightly", "--update-baseline"], "needs --why"),
        (["check", "change", "--update-baseline", "--why", " "], "needs --why"),
        (["check", "nightly", "--baseline", "/"], "/"),
        (["check", "--baseline", "/nonexistent"], "no baseline"),
        (["check", "smoke"], "invalid choice"),
        (["check", "--update-baseline", "--why", "x", "--network", "abc"], "no weights of a training run abc"),
        (["classifier", "--out", "/"], "names a folder"),
        (["classifier", "--out", "/proc/none/x.safetensors"], "cannot write to folder /proc/none"),
        (["run", "smoke", "--results", "/proc/none"], "cannot write to folder /proc/none"),
        (["sample", "zzzz", "--out", "x.jpg"], "must end in .png or .npz"),
        (["check", "nightly", "--baseline", "/nonexistent.json"], "no baseline"),
        (["tabel"], "invalid choice"),
        ([], "required"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(capsys, *argv)


def test_results_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refused(capsys, "run", "smoke", "--results", str(tmp_path / "file"))


def test_score_prints_floor_and_ceiling(tmp_path: Path, scorer: Scorer, capsys: pytest.CaptureFixture[str]) -> None:
    """Test images score near the floor and far from the ceiling, whatever form they come in."""
    shutil.copytree(scorer.store.root, tmp_path / "store")
    np.save(tmp_path / "real.npy", datasets.load("mnist").test[::100, 0].numpy())
    argv = ["score", str(tmp_path / "real.npy"), "--results", str(tmp_path / "store"), "--device", "cpu"]
    assert cli.main([*argv, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 100
    assert found["metrics"]["fid"] < 3 * found["floor"]["fid"] < found["ceiling"]["fid"] / 10
    assert cli.main(argv) == 0
    assert "floor (test images)" in capsys.readouterr().out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--results", str(tmp_path)]) == 0
    assert "no results yet" in capsys.readouterr().out


def test_damaged_cells_count_as_missing_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.study import load

    key = load.load("smoke").cells[0].key
    Store(tmp_path).write_bytes(tmp_path / "cells" / f"{key}.json", b'{"version": 1, "sha')
    assert cli.main(["status", "smoke", "--results", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "4 missing" in captured.out
    assert f"{key}.json" in captured.err


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Finished rows of the smoke study, at the baseline's level, that no run has to make."""
    from bench.analysis import table
    from bench.gate import baselines, nightly
    from bench.study import load

    baseline = json.loads((baselines.BASELINES / "smoke.json").read_text())
    found = table.rows(load.load("smoke"), Store(tmp_path))
    for row in found:
        row |= {"status": "done", "fid": float(np.exp(np.log(baseline["fid"][nightly.name_of(row)]).mean()))}
        row |= {k: baseline[k] for k in ("classifier", "epochs")}
    monkeypatch.setattr(cli, "_execute", lambda *_: 0)
    monkeypatch.setattr(table, "rows", lambda *_: found)
    return found


def test_check_passes_fails_and_says_so_everywhere(
    tmp_path: Path, measured: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On finished cells: within the limit is 0, beyond it 1, and either is in the summary, the JSON and the XML."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    files = ["--json", str(tmp_path / "out" / "check.json"), "--junit", str(tmp_path / "out" / "check.xml")]
    argv = ["check", "nightly", "--seeds", "1", "--results", str(tmp_path), *files]
    assert cli.main(argv) == 0
    assert json.loads((tmp_path / "out" / "check.json").read_text())["exit_code"] == 0
    measured[1]["fid"] *= 100
    assert cli.main(argv) == 1
    said = capsys.readouterr().out
    assert "FAIL" in said
    assert said.count("::error title=ddpm-bench check::") == 1
    assert (tmp_path / "summary.md").read_text().count("### Sample quality") == 2
    assert 'failures="1"' in (tmp_path / "out" / "check.xml").read_text()
    monkeypatch.setattr(cli, "_execute", lambda *_: 1)
    assert cli.main(argv) == 3


def test_a_baseline_says_who_changed_it_and_why(tmp_path: Path, measured: list[Any]) -> None:
    path = tmp_path / "baseline.json"
    rows = list(measured)
    measured[:] = [row | {"seed": seed} for seed in range(3) for row in rows]
    argv = [
        "check",
        "nightly",
        "--update-baseline",
        "--seeds",
        "3",
        "--baseline",
        str(path),
        "--results",
        str(tmp_path),
    ]
    assert cli.main([*argv, "--why", "the first"]) == 0
    assert cli.main([*argv, "--why", "a better network"]) == 0
    history = json.loads(path.read_text())["history"]
    assert [change["why"] for change in history] == ["the first", "a better network"]
    assert all(change["who"] and change["when"] for change in history)
