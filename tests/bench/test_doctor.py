"""``ddpm-bench doctor``: a line for each thing that a study needs, and which of them is missing."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from bench import cli
from bench.cli import doctor
from bench.errors import UserError
from bench.execute import processes
from bench.images import datasets
from bench.job import speed
from bench.score import classifier, eyes
from bench.score.judges import JUDGES

if TYPE_CHECKING:
    from tests.conftest import World

PARTS = ["device", "python", *doctor.LIBRARIES, "code", "mnist", "classifier", "results"]


def lines(capsys: pytest.CaptureFixture[str], results: Path, *options: str, code: int) -> dict[str, tuple[str, str]]:
    """Part → (ok or BAD, what is said of it)."""
    assert cli.main(["doctor", "--device", "cpu", "--results", str(results), *options]) == code
    split = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line]
    return {part: (mark, said) for mark, part, said in split}


def test_all_is_well(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part once, with what is really there."""
    found = lines(capsys, world.store.root, code=0)
    assert list(found) == PARTS
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert all(found[name][1] == importlib.metadata.version(name) for name in doctor.LIBRARIES)
    assert found["device"][1].startswith("cpu: ")
    assert found["mnist"][1] == f"256 + 200 images, {world.images.sha256[:12]}"
    share = classifier.accuracy(eyes.load(JUDGES["classifier"]), world.images)
    assert found["classifier"][1] == f"{JUDGES['classifier'].sha256[:12]} {share:.2%} of test images right"
    assert found["results"][1].startswith(f"{world.store.root}, ")


def no_library(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIBRARIES", (*doctor.LIBRARIES[:-1], "no-such-library"))


def no_data(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(root: Path) -> NoReturn:
        raise UserError("corrupt data: made up")

    monkeypatch.setitem(datasets.DATASETS, "mnist", replace(datasets.DATASETS["mnist"], read=read))


def other_weights(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.weights.write_bytes(world.weights.read_bytes()[:-1] + b"x")


def no_folder(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.root.write_text("in the way")


@pytest.mark.parametrize(
    ("harm", "part", "says"),
    [
        (no_library, "no-such-library", "not installed"),
        (no_data, "mnist", "corrupt data: made up"),
        (other_weights, "classifier", "corrupt classifier"),
        (no_folder, "results", "cannot write"),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_is_looked_at(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    harm: object,
    part: str,
    says: str,
) -> None:
    """One bad line, exit code 1; no part hides another."""
    assert callable(harm)
    harm(world, monkeypatch)
    found = lines(capsys, world.store.root, code=1)
    assert [name for name, (mark, _) in found.items() if mark != "ok"] == [part]
    assert says in found[part][1]
    assert len(found) == len(PARTS)


def test_speed_is_measured_on_request(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a process started as jobs are; otherwise nothing is timed."""
    done: list[str] = []
    monkeypatch.setattr(processes, "start_again", lambda: done.append("started again"))
    monkeypatch.setattr(speed, "report", lambda device, nets: iter([f"speed of {device}: {len(nets)} networks"]))
    assert "speed" not in lines(capsys, world.store.root, code=0)
    assert done == []
    assert cli.main(["doctor", "--speed", "--device", "cpu", "--results", str(world.store.root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("speed of cpu: ")
    assert done == ["started again"]


def test_a_device_that_does_not_exist_is_a_mistake(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "gpu"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ddpm-bench: unknown device 'gpu'")
