"""``ddpm-bench export``: what it writes is read again, by others and by this."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ddpm_bench
from bench import cli
from bench.images import files
from bench.job.run import run
from bench.study.model import Cell
from bench.study.study import Study

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.fixture
def cell(world: World, tiny_study: Study) -> Cell:
    """A cell that is trained, sampled and scored."""
    cells = next(iter(tiny_study.jobs.values()))[:1]
    list(run(cells, world.store, device=torch.device("cpu")))
    return cells[0]


def export(world: World, cell: Cell, out: Path, *more: str) -> int:
    return cli.main(["export", cell.key[:12], "--results", str(world.store.root), "--out", str(out), *more])


def kept(world: World, cell: Cell) -> np.ndarray:
    found = world.store.load_samples(cell.key)
    assert found is not None
    return found[0]


def test_samples_come_back(world: World, cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As guidance-diffusion's npz, and as PNGs: read as `score` reads them."""
    assert export(world, cell, tmp_path / "npz", "--no-weights") == 0
    with np.load(tmp_path / "npz" / "samples.npz") as file:
        assert file.files == ["arr_0"]
        assert (file["arr_0"].shape, file["arr_0"].dtype) == ((20, 28, 28, 3), np.uint8)
    assert export(world, cell, tmp_path / "png", "--no-weights", "--samples", "png") == 0
    assert capsys.readouterr().out.count("written: ") == 2
    for path in (tmp_path / "npz" / "samples.npz", tmp_path / "png" / "samples"):
        np.testing.assert_array_equal(files.take(path, 1, 28).whole().numpy(), kept(world, cell))


def test_pngs_of_two_cells_are_not_mixed(
    world: World, cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, inner = tmp_path / "out", tmp_path / "out" / "samples"
    inner.mkdir(parents=True)
    assert export(world, cell, out, "--no-weights", "--samples", "png") == 0, "an empty folder is nobody's"
    for path in inner.iterdir():
        path.unlink()
    (inner / "of-another.png").touch()
    capsys.readouterr()
    assert export(world, cell, out, "--samples", "png") == 2
    assert "samples is not empty" in capsys.readouterr().err
    assert sorted(path.name for path in out.rglob("*")) == ["of-another.png", "samples"]


def test_classes_that_were_asked_for_are_labels(world: World, cell: Cell, tmp_path: Path) -> None:
    """In both forms; here of a cell that says it had guidance."""
    from bench.job import export as module

    for labels in (None, np.arange(20) % 10):
        images = kept(world, cell)
        folder = tmp_path / str(labels is None)
        for path in (module._npz(folder, images, labels), module._pngs(folder, images, labels)):
            found = files.take(path, 1, 28)
            assert (found.labels is None) == (labels is None)
            if labels is not None and found.labels is not None:
                assert sorted(found.labels) == sorted(labels)


def test_weights_come_back_in_five_lines(
    world: World, cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines on the card, run as they stand, give the network that made the samples."""
    assert export(world, cell, tmp_path, "--samples", "none") == 0
    card = (tmp_path / "weights.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    lines = [line for line in code.splitlines() if line]
    assert len(lines) <= 5
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    exec(code, space)  # noqa: S102 (it is the card's own)
    network = space["network"]
    assert isinstance(network, torch.nn.Module)
    again = network.sample(20)
    assert again.dtype == torch.uint8
    np.testing.assert_array_equal(again.numpy(), kept(world, cell))
    x, u = torch.randn(2, 1, 28, 28), torch.full((2,), 0.5)
    same = ddpm_bench.load(cell.key, results=world.store.root, device="cpu")
    assert torch.equal(network(x, u), same(x, u))
    for fact in (cell.key, cell.job.key, "epochs", "| fid |", str(cell.job.objective)):
        assert fact in card


def test_what_is_missing_is_one_line_and_nothing_is_written(
    world: World, cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(world, cell, out, "--samples", "jpg") == 2
    world.store.path("samples", cell.key, ".npz").unlink()
    assert export(world, cell, out) == 2
    world.store.path("checkpoints", cell.job.key, ".safetensors").unlink()
    assert export(world, cell, out, "--samples", "none") == 2
    said = capsys.readouterr().err.splitlines()
    assert [
        part in line
        for part, line in zip(("choices: npz, png, none", "no samples of", "no checkpoint of"), said, strict=True)
    ]
    assert not out.exists()


def test_files_of_others_are_not_loaded(world: World, cell: Cell, tmp_path: Path) -> None:
    """Neither weights without a word on their cell, nor with one that does not fit, nor anything else."""
    assert export(world, cell, tmp_path, "--samples", "none") == 0
    weights = load_file(tmp_path / "weights.safetensors")
    save_file(weights, tmp_path / "bare.safetensors")
    save_file(weights, tmp_path / "odd.safetensors", {"ddpm-bench": "{}"})
    (tmp_path / "text.safetensors").write_text("x")
    for name, says in (
        ("bare", "does not say which cell it is of"),
        ("odd", "not a weights file"),
        ("text", "not a weights file"),
        ("none", "no file"),
    ):
        with pytest.raises(ddpm_bench.UserError, match=says):
            ddpm_bench.load(tmp_path / f"{name}.safetensors", device="cpu")
    from safetensors import safe_open

    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        about = file.metadata()
    save_file({name: tensor[:1] for name, tensor in weights.items()}, tmp_path / "cut.safetensors", about)
    with pytest.raises(ddpm_bench.UserError, match="weights of another network"):
        ddpm_bench.load(tmp_path / "cut.safetensors", device="cpu")
