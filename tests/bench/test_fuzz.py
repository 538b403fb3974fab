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
    assert [fault for _, fault in outcomes if fault] == []
    assert len(outcomes) == BUDGET[name]


def test_a_traceback_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, rng: object) -> None:
        raise KeyError("x")

    monkeypatch.setitem(fuzz.READERS, "sql", broken)
    monkeypatch.setattr(fuzz, "MOST_MB", float("inf"))  # other tests were here before
    ((outcome, fault),) = fuzz.fuzz(1, 0, tmp_path, ["sql"])
    assert outcome == "sql: traceback"
    assert fault is not None
    assert "KeyError" in fault.what
