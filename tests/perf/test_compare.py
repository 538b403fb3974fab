"""A change of speed counts when it is both significant and large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perf import compare

BASE = [1.00, 1.01, 0.99, 1.02, 0.98]


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        ([1.31, 1.29, 1.30, 1.32, 1.28], "slower"),
        ([0.70, 0.71, 0.69, 0.72, 0.68], "faster"),
        ([1.05, 1.06, 1.04, 1.07, 1.03], "same"),  # significant, but small
        ([1.30, 0.50, 1.40, 0.60, 1.20], "same"),  # large, but as likely noise
        (BASE, "same"),
    ],
)
def test_both_significant_and_large(head: list[float], outcome: str) -> None:
    verdict = compare.judge(BASE, head)
    assert verdict.outcome == outcome
    assert verdict.ratio == sorted(head)[2] / 1.0


def test_the_least_p_is_that_of_complete_separation() -> None:
    assert compare.judge(BASE, [2 * value for value in BASE]).p == pytest.approx(1 / 252)
    assert compare.judge(BASE[:4], [2 * value for value in BASE[:4]]).p == pytest.approx(1 / 70)


def test_few_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["HEAD", "--rounds", "3"]) == 2
    assert "at least 4" in capsys.readouterr().err


def test_an_unknown_revision_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["no-such-revision"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("perf.compare: git cannot give revision 'no-such-revision'")
    assert len(error.splitlines()) == 1


def test_exit_code_and_summary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = {"a": compare.Verdict(1.5, 0.004, "slower"), "b": compare.Verdict(1.0, 0.5, "same")}
    monkeypatch.setattr(compare, "compare", lambda *_: (verdicts, {"c"}))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert compare.main(["HEAD"]) == 1
    text = (tmp_path / "summary.md").read_text()
    assert text in capsys.readouterr().out + "\n"
    assert "| `a` | 1.500 | 0.004 | **slower** |" in text
    assert "Not in both: `c`" in text
    verdicts["a"] = compare.Verdict(1.05, 0.004, "same")
    assert compare.main(["HEAD"]) == 0


def test_medians_from_a_report() -> None:
    report = {"benchmarks": [{"fullname": "perf/test_ddpm.py::test_noise", "stats": {"median": 0.5, "mean": 0.7}}]}
    assert compare.medians(json.dumps(report)) == {"perf/test_ddpm.py::test_noise": 0.5}
