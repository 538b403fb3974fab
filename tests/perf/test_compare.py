"""A change of speed counts when it is both significant and large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gate.verdicts import FAIL, NOT_MEASURED, PASS, UNDECIDED, Outcome
from bench.paths import ROOT
from perf import compare

BASE = [1.00, 1.01, 0.99, 1.02, 0.98]


@pytest.mark.parametrize(
    ("head", "verdict", "note"),
    [
        ([1.31, 1.29, 1.30, 1.32, 1.28], FAIL, "slower, p = 0.004"),
        ([0.70, 0.71, 0.69, 0.72, 0.68], PASS, "faster, p = 0.004"),
        ([1.05, 1.06, 1.04, 1.07, 1.03], PASS, "p = 0.004"),  # significant, but small
        ([1.30, 0.50, 1.40, 0.60, 1.20], UNDECIDED, "p = 0.345"),  # large, but as likely noise
        (BASE, PASS, "p = 0.579"),
    ],
)
def test_both_significant_and_large(head: list[float], verdict: str, note: str) -> None:
    found = compare.judge("a", BASE, head)
    assert (found.verdict, found.value, found.note) == (verdict, sorted(head)[2] / 1.0, note)


def test_the_least_p_is_that_of_complete_separation() -> None:
    assert compare.judge("a", BASE, [2 * value for value in BASE]).note.endswith(f"p = {1 / 252:.3f}")
    assert compare.judge("a", BASE[:4], [2 * value for value in BASE[:4]]).note.endswith(f"p = {1 / 70:.3f}")


def test_benchmarks_that_come_and_go() -> None:
    """What HEAD cannot run was not measured; what BASE could not is no reason to stop."""
    base, head = [{"kept": 1.0, "lost": 1.0}] * 4, [{"kept": 1.0, "new": 1.0}] * 4
    found = {one.name: one.verdict for one in compare.outcomes(base, head)}
    assert found == {"kept": PASS, "lost": NOT_MEASURED, "new": PASS}
    flaky = [*head[:3], {"kept": 1.0}]
    assert {one.name: one.verdict for one in compare.outcomes(base, flaky)}["new"] == NOT_MEASURED


def test_few_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["HEAD", "--rounds", "3"]) == 2
    assert "at least 4" in capsys.readouterr().err


def test_an_unknown_revision_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["no-such-revision"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("perf.compare: git cannot give revision 'no-such-revision'")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(("verdict", "code"), [(PASS, 0), (FAIL, 1), (NOT_MEASURED, 3), (UNDECIDED, 4)])
def test_exit_codes_and_summary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: str, code: int
) -> None:
    """Those of ``ddpm-bench check``."""
    found = [Outcome("a", verdict, 1.5, 1.1, "p = 0.004"), Outcome("b", PASS, 1.0, 1.1)]
    monkeypatch.setattr(compare, "compare", lambda *_: found)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    out = tmp_path / "out.json"
    assert compare.main(["HEAD~1", "--json", str(out)]) == code
    said = json.loads(out.read_text())
    assert (said["mode"], said["exit_code"]) == ("speed", code)
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("### Speed of HEAD against HEAD~1")
    assert f"| {verdict}" in text
    assert verdict in capsys.readouterr().out


def test_medians_from_a_report() -> None:
    report = {"benchmarks": [{"fullname": "perf/test_ddpm.py::test_noise", "stats": {"median": 0.5, "mean": 0.7}}]}
    assert compare.medians(json.dumps(report)) == {"perf/test_ddpm.py::test_noise": 0.5}


def test_every_benchmark_can_be_collected() -> None:
    """One that cannot is left out of the gate without a word."""
    command = [sys.executable, "-m", "pytest", "perf", "--collect-only", "-p", "no:cacheprovider"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}  # not of this run
    found = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    for path in (ROOT / "perf").glob("test_*.py"):
        assert f"perf/{path.name}" in found.stdout
