"""``ddpm-bench doctor``: a line for each thing that a study needs, and which of them is missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import torch

from bench import cli
from bench.cli import doctor
from bench.errors import UserError
from bench.execute import processes
from bench.images import datasets
from bench.job import speed
from bench.job.run import run
from bench.score import classifier, eyes
from bench.score.judges import judges_of
from bench.store import examine

if TYPE_CHECKING:
    from tests.conftest import World

PARTS = ["device", "python", *doctor.LIBRARIES, "code", "mnist", "classifier", "results", "files"]


def lines(capsys: pytest.CaptureFixture[str], results: Path, *options: str, code: int) -> dict[str, tuple[str, str]]:
    """Part → (ok or BAD, what is said of it); of a folder that is there."""
    if not results.exists():
        results.mkdir(parents=True)
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
    judge = judges_of("mnist")["classifier"]
    share = classifier.accuracy(eyes.load(judge), world.images)
    assert found["classifier"][1] == f"{judge.sha256[:12]} {share:.2%} of test images right"
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


def flip(path: Path) -> None:
    """One bit, past the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [flip, lambda path: path.write_bytes(path.read_bytes()[:-9])], ids=["bit", "cut"])
def test_every_damaged_file_is_named(
    world: World, make_study: Any, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    """One of each kind, whatever is wrong with it; and a folder and a dangling link in a file's place."""
    study = make_study(objective=["eps"], sampler=["ddim"], ema=[None, 0.1], budget={"snapshots": 2})
    list(run(list(study.cells), world.store, device=torch.device("cpu")))
    found = lines(capsys, world.store.root, code=0)
    count = sum(len(list(world.store.root.glob(kind.pattern))) for kind in examine.KINDS)
    assert found["files"][1].startswith(f"{count} in ")
    assert found["files"][1].endswith("none damaged")
    spoilt = [path for kind in examine.KINDS for path in sorted(world.store.root.glob(kind.pattern))[:1]]
    assert len(spoilt) >= 8
    for path in spoilt:
        spoil(path)
    (world.store.root / "cells" / f"{'0' * 16}.json").mkdir()
    (world.store.root / "samples" / f"{'0' * 16}.npz").symlink_to("nowhere")
    assert cli.main(["doctor", "--device", "cpu", "--results", str(world.store.root)]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BAD")]
    assert len(said) == len(spoilt) + 3
    for path in [*spoilt, *world.store.root.glob("*/0000000000000000.*")]:
        assert sum(path.name in line for line in said) == 1, path
    assert said[-1].endswith(f"{len(spoilt) + 2} damaged")
