"""A few of the mutated inputs of ``make fuzz``: only a line for the user, or success."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf import fuzz

BUDGET = {"studies": 4, "arrays": 60, "pictures": 25, "records": 4, "sql": 2}
"""About a second for each reader."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fuzz.READERS)
def test_mutated_inputs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "MOST_MB", float("inf"))  # other tests were here before
    outcomes = list(fuzz.fuzz(BUDGET[name], 100, tmp_path, [name]))
    assert [one.fault for one in outcomes if one.fault] == []
    assert len(outcomes) == BUDGET[name]


def test_a_traceback_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, rng: object) -> None:
        raise KeyError("x")

    monkeypatch.setitem(fuzz.READERS, "sql", broken)
    monkeypatch.setattr(fuzz, "MOST_MB", float("inf"))  # other tests were here before
    (found,) = fuzz.fuzz(1, 0, tmp_path, ["sql"])
    assert (found.reader, found.what) == ("sql", "traceback")
    assert found.fault is not None
    assert "KeyError" in found.fault.what
    kept = fuzz.summary([found])
    assert kept["rows"] == [
        {"reader": "sql", "success": 0, "a line for the user": 0, "traceback": 1, "slowest, s": 0.0}
    ]
    assert [one["met"] for one in kept["claims"]][:2] == [False, False]
