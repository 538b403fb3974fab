"""What ``docs/data.md`` says is what the code has, and its commands run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from bench import cli
from bench.images import folder
from bench.images.datasets import DATASETS
from bench.images.readers import SPLITS
from bench.paths import ROOT
from bench.score import own, turns
from ddpm.spec import parameters
from tests.bench.test_own_images import picture, write

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def fenced(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_every_data_set_is_listed_with_its_shape() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d)×(\d+)×\d+, (\w+) classes \|", PAGE, re.MULTILINE)
    listed = {name: tuple(numbers) for name, *numbers in rows}
    made = {name: row.with_options({}) for name, row in DATASETS.items() if row.look is None}
    assert listed == {name: (str(r.channels), str(r.side), str(r.classes or "no")) for name, r in made.items()}
    assert all(f"`{split}`" in PAGE for split in SPLITS)


def test_every_data_set_has_a_source_and_a_use() -> None:
    """What it shows, a paper with its year or number, a licence if it is known, and when to take it."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name for name, *_ in rows] == [name for name, row in DATASETS.items() if row.look is None]
    for name, _, paper, licence, use in rows:
        assert re.search(r"arXiv \d{4}\.\d{5}|\((19|20)\d\d\)", paper), name
        assert re.fullmatch(r"CC BY(-SA|-NC)? [34]\.0|MIT|BSD-style|none known to us", licence), name
        assert re.match("(by|for|to|beside) ", use), name


def test_every_option_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `(\w+)` \| (?:`([\w.]+)`)? *\| ", PAGE.split("| option |")[1], re.MULTILINE))
    usual = {"": "", (): "", True: "true"}
    found = {k: usual.get(v, str(v)) if v != 1 or v is True else str(v) for k, v in parameters(folder.options).items()}
    said = re.search(r"Do not set (.*)\. They are found out", PAGE)
    assert said is not None
    assert listed == {name: default for name, default in found.items() if f"`{name}`" not in said[1]}
    assert set(listed) | set(re.findall(r"`(\w+)`", said[1])) == set(found)
    assert all(f"`{fit}`" in PAGE for fit in folder.FITS)


def test_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, run, report and score, word for word, in a folder with pictures of which some are larger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own, "STEPS", 1)
    monkeypatch.setattr(turns, "RECIPE", turns.RECIPE._replace(epochs=1))
    write(Path("pictures"), n=80, side=8)
    write(Path("pictures") / "larger", n=20, side=10, start=100)
    Path("mine.yaml").write_text(next(block for block in fenced("yaml") if "folder" in block))
    np.savez("samples.npz", images=np.stack([picture(1000 + i, 8) for i in range(30)]))
    commands = [shlex.split(line) for block in fenced("sh") for line in block.splitlines()]
    assert [command[1] for command in commands] == ["plan", "run", "report", "score"]
    for command in commands:
        more = ["--executor", "inline", "--threads", "1", "--engine", "eager"] if command[1] == "run" else []
        assert cli.main([*command[1:], *more, "--results", "results"]) == 0, command
    said = capsys.readouterr().out
    assert "100 images of 3×8×8" in said
    assert "75 to train on, 25 held out" in said
    assert "30 images from samples.npz" in said
    assert list(Path("results/reports").rglob("*.png"))
    report = next(Path("results/reports").rglob("report.md")).read_text()
    assert "pixel distance" in report
    assert "onfidence of the classifier" not in report
    assert not re.search(r"\bnan\b", report)
    assert len(list(Path("results/classifiers").glob("*.safetensors"))) == 1  # the same data set in both
