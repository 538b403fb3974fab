"""``ddpm-bench check``: what it says, where, and with which exit code."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import cli
from bench.analysis import table
from bench.cli import check, output
from bench.execute import plan
from bench.gate import gates, nightly, verdicts
from bench.gate.verdicts import PASS, Outcome
from bench.paths import BASELINES
from bench.store.store import Store
from bench.study import load
from bench.text import listing


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Finished rows of the smoke study, at the baseline's level, that no run has to make."""
    baseline = json.loads((BASELINES / "smoke.json").read_text())
    found = table.rows(load.load("smoke"), Store(tmp_path))
    for row in found:
        row |= {"status": "done", "fid": float(np.exp(np.log(baseline["fid"][nightly.name_of(row)]).mean()))}
        row |= {k: baseline[k] for k in ("classifier", "epochs")}
    monkeypatch.setattr(output, "run_study", lambda *_: True)
    monkeypatch.setattr(gates, "rows", lambda *_: found)
    return found


def test_check_passes_fails_and_says_so_everywhere(
    tmp_path: Path, measured: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On finished cells: within the limit is 0, beyond it 1, and either is in the summary, the JSON and the XML."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    files = ["--json", str(tmp_path / "out" / "check.json"), "--junit", str(tmp_path / "out" / "check.xml")]
    argv = ["check", "nightly", "--seeds", "1", "--results", str(tmp_path), *files]
    assert cli.main(argv) == 0
    assert json.loads((tmp_path / "out" / "check.json").read_text())["exit_code"] == 0
    measured[1]["fid"] *= 100
    assert cli.main(argv) == 1
    said = capsys.readouterr().out
    assert "FAIL" in said
    assert said.count("::error title=ddpm-bench check::") == 1
    assert (tmp_path / "summary.md").read_text().count("### Sample quality") == 2
    assert 'failures="1"' in (tmp_path / "out" / "check.xml").read_text()
    monkeypatch.setattr(output, "run_study", lambda *_: False)
    assert cli.main(argv) == 3


@pytest.mark.parametrize("option", ["--json", "--junit"])
@pytest.mark.parametrize(("place", "words"), [("file/out", "Not a directory"), ("", "it is a folder")])
def test_a_place_that_cannot_be_written_is_known_before_the_gate_runs(
    option: str, place: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Exit code 2 at the end would hide the verdict's."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(gates, "check_change", lambda **_: pytest.fail("the gate ran"))
    assert cli.main(["check", option, str(tmp_path / place)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_baseline_says_who_changed_it_and_why(tmp_path: Path, measured: list[Any]) -> None:
    path = tmp_path / "baseline.json"
    rows = list(measured)
    measured[:] = [row | {"seed": seed} for seed in range(3) for row in rows]
    argv = [
        "check",
        "nightly",
        "--update-baseline",
        "--seeds",
        "3",
        "--baseline",
        str(path),
        "--results",
        str(tmp_path),
    ]
    assert cli.main([*argv, "--why", "the first"]) == 0
    assert cli.main([*argv, "--why", "a better network"]) == 0
    history = json.loads(path.read_text())["history"]
    assert [change["why"] for change in history] == ["the first", "a better network"]
    assert all(change["who"] and change["when"] for change in history)


def test_a_night_trains_on_more_seeds_until_it_is_decided(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Doubling, up to --most; one seed named alone stays one seed."""
    baseline = json.loads((BASELINES / "smoke.json").read_text())
    noisy = max(baseline["fid"], key=lambda name: np.log(baseline["fid"][name]).std())
    for row in measured:
        row["fid"] *= 1.35 if nightly.name_of(row) == noisy else 1.0
    asked: list[int] = []
    monkeypatch.setattr(output, "run_study", lambda study, *_: not asked.append(len(study.axes.seed)))
    argv = ["check", "nightly", "--results", str(tmp_path)]
    for more, counts in (
        (["--seeds", "1"], [1]),
        ([], [3, 6, 12]),
        (["--seeds", "2", "--most", "5"], [2, 4, 5]),
    ):
        asked.clear()
        assert cli.main([*argv, *more]) == 4
        assert asked == counts


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--engine", "nonsense"], "unknown engine 'nonsense'"),
        (["--engine", "graphs_bf16"], "does not fit device cpu (engines that do: auto, eager"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--seeds", "3"], "--seeds is for `ddpm-bench check` nightly, promotion and nightly --update-baseline"),
        (["--only", "no such check"], "no check has 'no such check' in its name"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "change", *argv]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1


WAYS = {mode: [mode] for mode in check.MODES} | {
    f"{mode} --update-baseline": [mode, "--update-baseline", "--why", "x"] for mode in ("change", "nightly")
}  # fmt: skip
VALUES = {"seeds": "3", "most": "3", "threads": "2"}


def options() -> list[str]:
    """Those of the command that take a value."""
    parser = argparse.ArgumentParser()
    check.add(parser)
    return [action.dest for action in parser._actions if action.option_strings and action.nargs != 0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("option", options())
def test_an_option_is_used_or_refused(
    option: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reaches what the gate calls, or one line says what it is for; no option is ignored."""
    reached: list[object] = []

    def note(*given: object, **named: object) -> Any:
        reached.extend([*given, *named.values()])
        for train in filter(callable, given):
            train(None, None)
        return []

    monkeypatch.setattr(gates, "check_change", note)
    monkeypatch.setattr(gates, "check_runs", note)
    monkeypatch.setattr(gates, "update_change", lambda *given, **named: note(*given, **named) or tmp_path)
    monkeypatch.setattr(gates, "update_runs", lambda *given, **named: (note(*given, **named) or tmp_path, 3))
    monkeypatch.setattr(plan, "make_options", note)
    monkeypatch.setattr(output, "run_study", lambda *_: True)
    monkeypatch.setattr(verdicts, "tell", lambda *given: len(note(*given)))
    value = VALUES.get(option, str(tmp_path / "value"))
    code = cli.main(["check", *WAYS[way], f"--{option.replace('_', '-')}", value])
    if way in check.USED.get(option, WAYS):
        assert code == 0
        assert value in map(str, reached) or any(value in str(getattr(one, "root", "")) for one in reached)
    else:
        assert code == 2
        assert not reached
        assert capsys.readouterr().err == (
            f"ddpm-bench: --{option} is for `ddpm-bench check` {listing(check.USED[option])}, not for {way}\n"
        )


def test_device_and_engine_reach_what_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def note(subject: Any, baseline: Any, only: str) -> list[Outcome]:
        seen.append((subject.device.type, subject.engine))
        return [Outcome("x", PASS, 0.0, 1.0)]

    monkeypatch.setattr(gates.change, "check", note)
    assert cli.main(["check"]) == 0
    assert cli.main(["check", "--device", "cpu", "--engine", "compiled"]) == 0
    assert seen == [("cpu", "eager"), ("cpu", "compiled")]
