"""Study files as people write them: numbers of YAML 1.2, home folders, other working directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import ddpm_bench
from bench import cli
from bench.study import load, yaml12

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2E5", 200000.0),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("10_000", 10_000),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        ("1e", "1e"),
        ("true", True),
    ],
)
def test_numbers(text: str, value: Any) -> None:
    """Of YAML 1.2; and whatever is written is read as it was, text that looks like a number too."""
    found = yaml.load(text, yaml12.Loader)  # noqa: S506 (a SafeLoader)
    assert (type(found), found) == (type(value), value)
    for each in (value, text):
        again = yaml.load(yaml12.dump({"a": each}), yaml12.Loader)["a"]  # noqa: S506
        assert (type(again), again) == (type(each), each)


def test_a_learning_rate_without_a_point(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "train: {epochs: 1, lr: 1e-3}\naxes: {objective: [v], schedule: [linear], sampler: [ddim], sample_steps: [5]}\n"
    )
    assert load.load(str(path)).train.lr == 0.001


STUDY = """
train: {epochs: 1, batch_size: 64, lr: 2e-3}
axes: {net: [tiny], objective: [v], schedule: [linear], T: [100], sampler: [ddim], sample_steps: [4]}
score: {n: 20}
"""


def test_home_folders_and_other_working_directories(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``~`` that no shell has looked at, in paths of studies and of results; relative ones, seen from elsewhere."""
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    (home / "x.yaml").write_text(STUDY)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(other)
    run = ["run", "--executor", "inline", "--device", "cpu", "--engine", "eager"]
    assert cli.main([*run, "~/x.yaml", "--results", "out"]) == 0
    assert (other / "out" / "cells").is_dir()
    monkeypatch.chdir(home)
    assert cli.main([*run, "x.yaml", "--results", "../other/out"]) == 0
    assert cli.main(["status", "../home/x.yaml", "--results", "~/../other/out"]) == 0
    assert capsys.readouterr().out.count("1 of 1 cells done") == 2
    assert not (home / "~").exists()
    assert not (other / "~").exists()
    frame = ddpm_bench.results("~/x.yaml", "~/../other/out")
    assert list(frame["status"]) == ["done"]
    key = frame["key"][0]
    monkeypatch.chdir(other)
    network = ddpm_bench.network(key, results="out", device="cpu")
    monkeypatch.chdir(home)
    assert (network.sample(20).numpy() == ddpm_bench.samples(key, results="~/../other/out")).all()


def commands(report: str) -> list[list[str]]:
    """The command lines under *To reproduce*."""
    import shlex

    block = report.split("### To reproduce")[1].split("```sh\n")[1].split("```")[0]
    return [shlex.split(line) for line in block.strip().splitlines()]


def test_to_reproduce_a_study_of_ones_own(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's commands, run as they stand beside the report's YAML, make the same cells again."""
    monkeypatch.chdir(tmp_path)
    Path("my study.yaml").write_text(STUDY)
    run = ["run", "my study.yaml", "--executor", "inline", "--threads", "1", "--engine", "eager", "--device", "cpu"]
    assert cli.main([*run, "--results", "first"]) == 0
    assert cli.main(["report", "my study.yaml", "--results", "first"]) == 0
    report = Path("first/reports/my study/report.md").read_text()
    again, shown = commands(report)
    record = next(Path("first/cells").glob("*.json")).read_text()
    threads = str(json.loads(record)["record"]["environment"]["threads"])
    assert again == ["ddpm-bench", "run", "my study.yaml", "--threads", threads, "--engine", "eager"]
    assert shown == ["ddpm-bench", "report", "my study.yaml"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Path("my study.yaml").write_text(report.split("### The study")[1].split("```yaml\n")[1].split("```")[0])
    assert cli.main([*again[1:], "--executor", "inline", "--device", "cpu", "--results", "second"]) == 0
    first, second = (
        {path.name for path in (folder / "cells").glob("*.json")} for folder in (tmp_path / "first", Path("second"))
    )
    assert first == second != set()


def test_to_reproduce_a_shipped_study_is_by_name() -> None:
    """Its own file is not needed; one of the same name that differs is."""
    from bench.analysis.frames import Results
    from bench.paths import REFERENCE
    from bench.report.render import markdown
    from bench.report.sections.provenance import section
    from bench.store.store import Store

    study = load.load("quick")
    for each, file in ((study, "quick"), (study.model_copy(update={"description": "mine"}), "quick.yaml")):
        text = markdown.source(list(section(Results(each, Store(REFERENCE)))))
        assert commands(text)[0][:3] == ["ddpm-bench", "run", file]
