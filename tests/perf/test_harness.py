"""What is said of the harness follows from the records and the raw seconds."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bench.store.store import Store
from bench.study.model import Job
from perf import harness
from tests.records import CREATED, epoch, harness_run, trained_job

RAW = {"--help": [0.2, 0.4, 0.25], "imports": [2.0, 2.0, 2.0], "rerun": [3.0, 6.0, 4.0]}


def write(
    store: Store,
    seed: int,
    *,
    overhead: float,
    estimate: float | None,
    runs: int = 1,
    alone: bool = True,
    hour: int = 1,
) -> str:
    config = {"net": "unet", "objective": "eps", "weight": "unit", "schedule": "cosine", "T": 100, "seed": seed}
    job = Job(**config, train={"epochs": 1})
    stages = {"start": 5.0 / hour, "load": 0.25, "reference": 0.5, "store": 0.1, "train": 90.0, "compile": 3.0}
    run = harness_run(100.0, overhead, estimate_s=estimate, stages_s=stages)
    made = CREATED + timedelta(hours=hour)
    store.write(job.key, trained_job(job, [epoch(exclusive=alone)], harness=(run,) * runs, created=made))
    return job.key


def test_rows_and_claims_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a = write(store, 0, overhead=0.004, estimate=110.0, hour=20)
    b = write(store, 1, overhead=0.02, estimate=None)
    c = write(store, 2, overhead=0.006, estimate=82.0, hour=40)
    resumed = write(store, 3, overhead=0.5, estimate=1.0, runs=2, hour=2)
    shared = write(store, 4, overhead=0.5, estimate=1.0, alone=False, hour=2)
    write(store, 5, overhead=0.5, estimate=1.0)  # of another study
    rows = harness.jobs(store, [a, "missing", b, c, resumed, shared])
    assert [row["overhead"] for row in rows] == [0.004, 0.02, 0.006]
    assert [row["error"] for row in rows] == [pytest.approx(0.1), None, pytest.approx(0.18)]
    assert {row["warming up, s"] for row in rows} == {3.0}
    assert [row["start, s"] for row in rows] == [1.0, None, 0.875], "b was the first"
    found = {one["claim"]: (one["measured"], one["met"]) for one in harness.claims(rows, RAW)}
    assert found == {
        "harness overhead, share of a job (median)": ("0.6%", True),
        "a job's start, after the first (median)": ("0.94 s", True),
        "estimates of plan, median error": ("14%", True),
        "rerun of 1,000 finished cells, beyond imports": ("2.00 s", True),
        "ddpm-bench --help": ("0.25 s", True),
    }
    slow = {one["claim"]: one["met"] for one in harness.claims([], {**RAW, "rerun": [9.0] * 3, "--help": [0.5] * 3})}
    assert set(slow.values()) == {False}
    assert len(slow) == 2
    late = [row | {"start, s": 1.5} for row in rows]
    assert ("1.50 s", False) in [(one["measured"], one["met"]) for one in harness.claims(late, RAW)]


def test_commands_take_turns_after_a_round_that_does_not_count() -> None:
    raw = harness.in_turn(
        {"a": [sys.executable, "-c", ""], "b": [sys.executable, "-c", "import time; time.sleep(1)"]}, 2
    )
    assert [len(values) for values in raw.values()] == [2, 2]
    assert min(raw["b"]) > 1 > min(raw["a"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--repeats", "0"], "at least 1"),
        (["--results", "no/where"], "no folder"),
        (["--study", "quik"], "did you mean 'quick'"),
    ],
)
def test_bad_input_is_one_line(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main(options) == 2
    assert words in capsys.readouterr().err
