"""The bar is the median seed's FID over the ceiling's, and the time of training."""

from __future__ import annotations

from typing import Any

import pytest

from bench.study.load import load
from perf import quality


def row(fid: float, seconds: float | None = 400.0, evaluations: int = 50) -> dict[str, Any]:
    return {"fid": fid, "ceiling": 2400.0, "n": 5000, "evaluations": evaluations, "training, s": seconds}


@pytest.mark.parametrize(
    ("found", "met"),
    [
        ([row(2.3), row(9.0), row(2.4)], [True, True]),
        ([row(2.3), row(2.5), row(2.5)], [False, True]),
        ([row(2.3), row(2.3)], [False, True]),
        ([row(2.3, evaluations=51)] * 3, [False, True]),
        ([row(2.3, 481.0), row(2.3, 470.0), row(2.3, 490.0)], [True, False]),
        ([row(2.3, None)] * 3, [True]),
    ],
)
def test_claims(found: list[dict[str, Any]], met: list[bool]) -> None:
    assert [one["met"] for one in quality.claims(found)] == met


def test_the_study_is_what_the_bar_asks_for() -> None:
    study = load(str(quality.STUDY))
    assert len(study.jobs) == len(study.cells) == 3
    assert {cell.n for cell in study.cells} == {5000}
    assert max(cell.sampling.sample_steps for cell in study.cells) <= quality.EVALUATIONS
    assert quality.budget(quality.STUDY) == study.train.images // study.train.batch_size * study.train.batch_size


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert quality.main(["--study", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith("perf.quality: ")
