"""``ddpm-bench check``: what it says, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cli
from bench.analysis import table
from bench.cli import output
from bench.gate import gates, nightly
from bench.paths import BASELINES
from bench.store.store import Store
from bench.study import load


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Finished rows of the smoke study, at the baseline's level, that no run has to make."""
    baseline = json.loads((BASELINES / "smoke.json").read_text())
    found = table.rows(load.load("smoke"), Store(tmp_path))
    for row in found:
        row |= {"status": "done", "fid": float(np.exp(np.log(baseline["fid"][nightly.name_of(row)]).mean()))}
        row |= {k: baseline[k] for k in ("classifier", "epochs")}
    monkeypatch.setattr(output, "run_study", lambda *_: True)
    monkeypatch.setattr(gates, "rows", lambda *_: found)
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
    monkeypatch.setattr(output, "run_study", lambda *_: False)
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
