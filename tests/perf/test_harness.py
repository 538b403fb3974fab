"""What is said of the harness follows from the records and the raw seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.store.store import Store
from bench.study.model import Job
from perf import harness
from tests.records import epoch, harness_run, trained_job

RAW = {"--help": [0.2, 0.4, 0.25], "imports": [2.0, 2.0, 2.0], "rerun": [3.0, 6.0, 4.0]}


def write(
    store: Store, seed: int, *, overhead: float, estimate: float | None, runs: int = 1, alone: bool = True
) -> str:
    config = {"net": "unet", "objective": "eps", "weight": "unit", "schedule": "cosine", "T": 100, "seed": seed}
    job = Job(**config, train={"epochs": 1})
    run = harness_run(100.0, overhead, estimate_s=estimate, stages_s={"train": 90.0, "compile": 3.0})
    store.write(job.key, trained_job(job, [epoch(exclusive=alone)], harness=(run,) * runs))
    return job.key


def test_rows_and_claims_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    a = write(store, 0, overhead=0.004, estimate=110.0)
    b = write(store, 1, overhead=0.02, estimate=None)
    c = write(store, 2, overhead=0.006, estimate=82.0)
    resumed = write(store, 3, overhead=0.5, estimate=1.0, runs=2)
    shared = write(store, 4, overhead=0.5, estimate=1.0, alone=False)
    write(store, 5, overhead=0.5, estimate=1.0)  # of another study
    rows = harness.jobs(store, [a, "missing", b, c, resumed, shared])
    assert [row["overhead"] for row in rows] == [0.004, 0.02, 0.006]
    assert [row["error"] for row in rows] == [pytest.approx(0.1), None, pytest.approx(0.18)]
    assert {row["warming up, s"] for row in rows} == {3.0}
    found = {one["claim"]: (one["measured"], one["met"]) for one in harness.claims(rows, RAW)}
    assert found == {
        "harness overhead, share of a job (median)": ("0.6%", True),
        "estimates of plan, median error": ("14%", True),
        "rerun of 1,000 finished cells, beyond imports": ("2.00 s", True),
        "ddpm-bench --help": ("0.25 s", True),
    }
    slow = {one["claim"]: one["met"] for one in harness.claims([], {**RAW, "rerun": [9.0] * 3, "--help": [0.5] * 3})}
    assert set(slow.values()) == {False}
    assert len(slow) == 2


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
