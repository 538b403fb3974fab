"""The gate: limits, verdicts, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import UserError, gate

ROW = {
    "status": "done", "dataset": "mnist", "net": "unet", "objective": "eps", "weight": "unit", "schedule": "linear",
    "T": 1000, "seed": 0, "sampler": "ddim", "sample_steps": 20, "eta": 0.0, "clip": True,
    "n": 500, "classifier": "abc", "epochs": 1,
}  # fmt: skip


def rows(fids: list[float], **changes: Any) -> list[dict[str, Any]]:
    return [ROW | {"seed": i, "fid": fid} | changes for i, fid in enumerate(fids)]


def test_limit_is_the_prediction_limit_of_a_normal_sample() -> None:
    """Of runs from the reference's own distribution, a share α exceeds the limit."""
    random = np.random.default_rng(0)
    above = 0
    for _ in range(4000):
        *reference, new = np.exp(random.normal(1.0, 0.4, 6))
        above += new > gate.limit(reference, alpha=0.05, margin=0.0)[1]
    assert above / 4000 == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 4000) ** 0.5)


def test_a_difference_within_the_margin_never_fails() -> None:
    mean, worst = gate.limit([10.0, 10.0, 10.0])
    assert mean == pytest.approx(10)
    assert worst == pytest.approx(10 * (1 + gate.MARGIN))


def test_judge_passes_a_sibling_and_fails_a_slip() -> None:
    baseline = gate.make_baseline("smoke", rows([9.0, 10.0, 11.0, 10.5, 9.5]), {})
    assert [v.passed for v in gate.judge(rows([10.7]), baseline)] == [True]
    assert [v.passed for v in gate.judge(rows([20.0]), baseline)] == [False]


def test_a_missing_fid_never_passes() -> None:
    baseline = gate.make_baseline("smoke", rows([9.0, 10.0, 11.0]), {})
    assert [v.passed for v in gate.judge(rows([float("nan")]), baseline)] == [False]


@pytest.mark.parametrize(
    ("field", "value"), [("n", 1000), ("classifier", "other"), ("epochs", 2), ("dataset", "kmnist")]
)
def test_judge_refuses_what_was_not_measured_alike(field: str, value: object) -> None:
    baseline = gate.make_baseline("smoke", rows([9.0, 10.0, 11.0]), {})
    with pytest.raises(UserError, match=f"{field}="):
        gate.judge(rows([10.0], **{field: value}), baseline)


def test_judge_refuses_other_cells() -> None:
    baseline = gate.make_baseline("smoke", rows([9.0, 10.0, 11.0]), {})
    with pytest.raises(UserError, match=r"baseline lacks.*sample_steps=50"):
        gate.judge(rows([10.0], sample_steps=50), baseline)


def test_a_baseline_needs_finished_cells_of_three_seeds() -> None:
    with pytest.raises(UserError, match="fewer than 3"):
        gate.make_baseline("smoke", rows([9.0, 10.0]), {})
    with pytest.raises(UserError, match="seed 0 is failed"):
        gate.make_baseline("smoke", rows([9.0, 10.0, 11.0], status="failed"), {})


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"fid": 3, "classifier": "x"}',
        '{"fid": {"a": [9, 8, 9]}, "classifier": "x"}',
        '{"fid": {"a": [9, 8]}, "classifier": "x", "dataset": "mnist", "n": 20, "epochs": 1}',
        '{"fid": {"a": [9, 8, 0]}, "classifier": "x", "dataset": "mnist", "n": 20, "epochs": 1}',
    ],
)
def test_read_baseline_refuses_what_is_not_one(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as error:
        gate.read_baseline(path)
    assert "\n" not in str(error.value)


def test_the_committed_baseline_fits_the_smoke_study() -> None:
    """Same cells, same N, and the pinned classifier: `make check` measures what the baseline did."""
    from bench import study
    from bench.classifier import PINNED

    baseline = gate.read_baseline(gate.BASELINES / "smoke.json")
    smoke = study.load("smoke")
    names = {
        gate.name_of(
            {**cell.job.model_dump(), **{k: getattr(cell, k) for k in ("sampler", "sample_steps", "eta", "clip")}}
        )
        for cell in smoke.cells
    }
    assert names == set(baseline["fid"])
    assert baseline["n"] == smoke.score.n
    assert baseline["epochs"] == smoke.train.epochs
    assert PINNED["mnist"][1].startswith(baseline["classifier"])
    assert all(len(fids) >= 3 for fids in baseline["fid"].values())
    assert json.dumps(baseline["environment"])
