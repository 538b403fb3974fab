"""What is said of the harness follows from the records and the raw seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.store.store import Store
from perf import harness

RAW = {"--help": [0.2, 0.4, 0.25], "imports": [2.0, 2.0, 2.0], "rerun": [3.0, 6.0, 4.0]}


def write(
    store: Store, key: str, *, overhead: float, estimate: float | None, runs: int = 1, alone: bool = True
) -> None:
    config = {"net": "unet", "objective": "eps", "weight": "unit", "schedule": "cosine", "T": 100, "seed": 0}
    stages = {"train": 90.0, "compile": 3.0}
    run = {"wall_s": 100.0, "overhead": overhead, "estimate_s": estimate, "stages_s": stages}
    config |= {"train": {"epochs": 1}}
    record = {"status": "done", "epochs": [{"exclusive": alone}], "harness": [run] * runs, "config": config}
    store.write("jobs", key, record)


def test_rows_and_claims_by_hand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "a", overhead=0.004, estimate=110.0)
    write(store, "b", overhead=0.02, estimate=None)
    write(store, "c", overhead=0.006, estimate=82.0)
    write(store, "resumed", overhead=0.5, estimate=1.0, runs=2)
    write(store, "shared", overhead=0.5, estimate=1.0, alone=False)
    write(store, "another study's", overhead=0.5, estimate=1.0)
    rows = harness.jobs(store, ["a", "missing", "b", "c", "resumed", "shared"])
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
