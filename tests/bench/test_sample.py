"""``ddpm-bench sample``: the images of a trained cell again, as a grid or as an array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import cli
from bench.errors import UserError
from bench.images.grids import tile_grid
from bench.job.draw import Trained
from bench.job.run import run
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Cell
from bench.study.study import Study
from tests.conftest import TinyNet

if TYPE_CHECKING:
    from tests.conftest import World

Draw = Callable[..., np.ndarray]


def trained(study: Study, store: Store) -> list[Cell]:
    """The cells of a study's first job, once they are made."""
    cells = next(iter(study.jobs.values()))
    list(run(cells, store, device=torch.device("cpu")))
    return cells


def kept(store: Store, cell: Cell) -> np.ndarray:
    """The samples that were scored."""
    found = store.load_samples(cell.key)
    assert found is not None
    return found[0]


@pytest.fixture
def draw(world: World, tmp_path: Path) -> Draw:
    """What the command writes to an .npz."""

    def drawn(cell: str, *options: str) -> np.ndarray:
        out = tmp_path / "out" / "images.npz"
        argv = ["sample", cell, "--results", str(world.store.root), "--device", "cpu", "--out", str(out), *options]
        assert cli.main(argv) == 0
        with np.load(out) as file:
            return np.asarray(file["images"])

    return drawn


def test_it_draws_the_images_that_were_scored(
    world: World, tiny_study: Study, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the noise of the study; fewer are the first of them, and another seed gives others."""
    for cell in trained(tiny_study, world.store):
        assert (draw(cell.key[:12], "-n", "20") == kept(world.store, cell)).all()
        said = capsys.readouterr().out
        assert said.startswith(f"20 images of {cell.job.label}, {cell.label}: ")
        assert said.strip().endswith("images.npz")
    assert (draw(cell.key, "-n", "7") == kept(world.store, cell)[:7]).all()
    other = draw(cell.key, "-n", "20", "--seed", "1")
    assert other.shape == (20, 1, 28, 28)
    assert not (other == kept(world.store, cell)).all()


def test_a_grid(world: World, tiny_study: Study, tmp_path: Path) -> None:
    """As square as it can be, of the same images."""
    cell = trained(tiny_study, world.store)[0]
    out = tmp_path / "grid.png"
    argv = ["sample", cell.key, "--results", str(world.store.root), "--device", "cpu", "-n", "20", "--out", str(out)]
    assert cli.main(argv) == 0
    with Image.open(out) as picture:
        assert picture.size == (4 * 28, 5 * 28)
        found = np.asarray(picture)
    expected = tile_grid(torch.from_numpy(kept(world.store, cell)), 4)
    assert (found == expected[0].numpy()).all()


def test_a_cell_of_another_average(world: World, make_study: Any, draw: Draw) -> None:
    """Each cell's own weights, not those of the training run."""
    study = make_study(objective=["eps"], sampler=["ddim"], ema=[None, 0.2], budget={"snapshots": 4})
    first, second = trained(study, world.store)
    assert (draw(first.key, "-n", "20") == kept(world.store, first)).all()
    assert (draw(second.key, "-n", "20") == kept(world.store, second)).all()
    assert not (kept(world.store, first) == kept(world.store, second)).all()


def test_the_oracle_needs_no_checkpoint(world: World, make_study: Any, draw: Draw) -> None:
    study = make_study(net=["oracle"], objective=["eps"], sampler=["ddim"], budget={"epochs": 0, "images": 100})
    (cell,) = trained(study, world.store)
    assert (draw(cell.key, "-n", "20") == kept(world.store, cell)).all()


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ({"sampler": "renoise", "steps": 4}, "sampler renoise in 4 steps needs a network whose x̂₀ is a sample"),
        ({"sampler": "jump"}, "sampler jump needs a network that has learned to jump"),
        ({"sampler": "ancestral_learned"}, "sampler ancestral_learned needs a network that learns its variance"),
        ({"guidance": 2.0}, "guidance=2 needs a network that knows classes"),
        ({"steps": 2000}, "sample_steps=2000 is more than T=1000"),
    ],
)
def test_ways_that_are_not_for_this_network(make_study: Any, way: dict[str, Any], said: str) -> None:
    """As in a study: what it would refuse is not drawn either."""
    (cell,) = make_study(objective=["eps"], sampler=["ddim"], T=[1000]).cells
    network = Trained(cell, TinyNet())
    with pytest.raises(UserError, match=f"^{said}"):
        network.sample(2, **way)
    assert network.sample(2, sampler="renoise", steps=1).shape == (2, 1, 28, 28)


def refused(capsys: pytest.CaptureFixture[str], store: Store, cell: str, out: Path) -> str:
    """The one line; nothing is written."""
    capsys.readouterr()
    assert cli.main(["sample", cell, "--results", str(store.root), "--device", "cpu", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not out.exists()
    return error


def test_mistakes(world: World, tiny_study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell, other = trained(tiny_study, world.store)
    out = tmp_path / "none.png"
    assert "2 cells in " in refused(capsys, world.store, "", out)
    assert "no cell in " in refused(capsys, world.store, "zz", out)
    assert "must end in .png or .npz, not 'none.jpg'" in refused(capsys, world.store, cell.key, out.with_suffix(".jpg"))
    kept = world.store.load_tensors(Checkpoint, cell.job.key)
    assert kept is not None
    weights, about = kept
    broken = {name: torch.full_like(value, torch.nan) for name, value in weights.items() if value.is_floating_point()}
    world.store.save_tensors(cell.job.key, weights | broken, about)
    assert "diverged while sampling" in refused(capsys, world.store, cell.key, out)
    world.store.path("checkpoints", cell.job.key, ".safetensors").unlink()
    assert f"no checkpoint of {cell.job.label} in " in refused(capsys, world.store, cell.key, out)
    world.store.path("cells", other.key, ".json").write_text("{")
    assert f"{other.key}.json" in refused(capsys, world.store, other.key, out)
