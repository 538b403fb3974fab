"""``ddpm_bench``: what its functions take, and the line for what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ddpm_bench
from bench.execute.schedule import Options
from ddpm_bench import api


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run is asked for: nothing is run."""
    found: dict[str, Any] = {}

    def follow(study: Any, store: Any, options: Options, console: Any, log: Any, *, auto: bool) -> None:
        found.update(options=options, log=list(log), auto=auto)

    monkeypatch.setattr(api, "follow", follow)
    return found


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", "Auto"])
@pytest.mark.parametrize("option", ["workers", "threads"])
def test_how_many_must_be_a_number(option: str, value: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(ddpm_bench.UserError, match=f"^{option} must be a positive integer, not {value!r}$"):
        ddpm_bench.run("smoke", results=tmp_path, **{option: value})
    assert not asked


def test_workers_by_a_trial(tmp_path: Path, asked: dict[str, Any]) -> None:
    ddpm_bench.run("smoke", results=tmp_path, workers="auto")
    assert (asked["auto"], asked["options"].workers) == (True, 1)
    ddpm_bench.run("smoke", results=tmp_path, workers=3)
    assert (asked["auto"], asked["options"].workers) == (False, 3)


@pytest.mark.parametrize(("log", "sinks"), [("jsonl:x", ["jsonl:x"]), (("plain", "jsonl:x"), ["plain", "jsonl:x"])])
def test_one_sink_or_several(log: Any, sinks: list[str], tmp_path: Path, asked: dict[str, Any]) -> None:
    ddpm_bench.run("smoke", results=tmp_path, log=log)
    assert asked["log"] == sinks


def test_a_value_that_is_none_of_yamls() -> None:
    with pytest.raises(ddpm_bench.UserError, match=r"^study: it has a value that YAML cannot hold: 1j$"):
        ddpm_bench.load_study({"train": {"epochs": 1j}, "axes": {}})
