"""A user's own pictures as a data set: what is found in them, what is refused, and a study of them from end to end."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import cli
from bench.errors import UserError
from bench.images import datasets, folder
from bench.images.datasets import named, row
from bench.job.run import run
from bench.rows import entries
from bench.score import own, turns
from bench.store.records import CellRecord, JobRecord, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.load import load as load_study
from bench.study.model import Cell
from bench.study.study import Study
from ddpm.nets import NETS
from ddpm.spec import Variant
from tests.conftest import TinyNet


def picture(i: int, side: int, channels: int = 3) -> np.ndarray:
    """A square of one shade on another, somewhere: (side, side, channels)."""
    rng = np.random.default_rng(i)
    image = np.full((side, side, channels), rng.integers(0, 80, channels), np.uint8)
    x, y = rng.integers(0, side - 4, 2)
    image[y : y + 4, x : x + 4] = rng.integers(120, 256, channels)
    return image


def write(where: Path, n: int = 60, side: int = 8, channels: int = 3, classes: int = 0, start: int = 0) -> Path:
    """A folder of PNGs."""
    for i in range(n):
        path = where / (f"class {i % classes}" if classes else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = picture(start + i, side, channels)
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path)
    return where


def text(path: Path, **options: Any) -> str:
    return named({"folder": {"path": str(path), "side": 8, "held_out": 0.4, **options}})


def options(spelled: str) -> dict[str, Any]:
    return dict(Variant.of(spelled).options)


def refused(path: Path, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        text(path, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def job_key(study: Study) -> str:
    return study.cells[0].job.key


# what is found


def test_what_is_found_in_a_folder(tmp_path: Path) -> None:
    spelled = text(write(tmp_path / "a", classes=3))
    images, found = datasets.load(spelled), row(spelled)
    assert (found.channels, found.side, found.train, found.test, found.classes) == (3, 8, 36, 24, 3)
    assert images.train.shape == (36, 3, 8, 8)
    assert images.test.shape == (24, 3, 8, 8)
    assert images.shape == (3, 8)
    whole, labels = torch.cat([images.train, images.test]), torch.cat([images.train_labels, images.test_labels])
    expected = {picture(i, 8).transpose(2, 0, 1).tobytes(): i % 3 for i in range(60)}
    assert {image.numpy().tobytes(): int(label) for image, label in zip(whole, labels, strict=True)} == expected


def test_grey_is_found_even_in_colour_files(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(picture(i, 8, 1).repeat(3, 2)).save(tmp_path / "a" / f"{i}.png")
    assert row(text(tmp_path / "a")).channels == 1
    assert row(text(tmp_path / "a", channels=3)).channels == 3


@pytest.mark.parametrize("end", [".npy", ".npz"])
@pytest.mark.parametrize("first", [False, True])
def test_arrays(tmp_path: Path, end: str, first: bool) -> None:
    """An array of the same images is the same data set, channels first or last, but for labels."""
    images = np.stack([picture(i, 8) for i in range(60)])
    images = images.transpose(0, 3, 1, 2) if first else images
    path = tmp_path / f"a{end}"
    if end == ".npy":
        np.save(path, images)
    else:
        np.savez(path, images=images, labels=np.arange(60) % 12)
    spelled = text(path)
    assert row(spelled).classes == (12 if end == ".npz" else 0)
    same = datasets.load(text(write(tmp_path / "same")))
    assert torch.equal(datasets.load(spelled).train, same.train)


def test_labels_in_an_array_keep_their_order(tmp_path: Path) -> None:
    """Label 10 is the last of 0 … 10, not the third."""
    images = np.stack([picture(i, 8) for i in range(60)])
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(60) % 11)
    loaded = datasets.load(text(tmp_path / "a.npz"))
    of = {image.transpose(2, 0, 1).tobytes(): i % 11 for i, image in enumerate(images)}
    assert [of[image.numpy().tobytes()] for image in loaded.train] == loaded.train_labels.tolist()


def test_floats(tmp_path: Path) -> None:
    images = np.stack([picture(i, 8) for i in range(60)])
    np.save(tmp_path / "a.npy", images.astype(np.float32) / 127.5 - 1)
    np.save(tmp_path / "b.npy", images)
    assert options(text(tmp_path / "a.npy"))["sha256"] == options(text(tmp_path / "b.npy"))["sha256"]


def test_a_plan_tells_of_them(tmp_path: Path) -> None:
    write(tmp_path / "a", n=40, classes=2)
    write(tmp_path / "a" / "class 1" / "big", n=20, side=10, start=100)
    lines = datasets.tell(text(tmp_path / "a", fit="crop"))
    assert "60 images of 3×8×8" in lines[0]
    assert "36 to train on, 24 held out" in lines[0]
    assert lines[1] == "2 classes: class 0 (20), class 1 (40)"
    assert "8×8 (40), 10×10 (20)" in lines[2]
    assert "the middle taken: 20" in lines[2]
    loaded = datasets.load(text(tmp_path / "a", fit="crop"))
    whole = torch.cat([loaded.train, loaded.test]).double() / 255
    assert f"mean {whole.mean():.4f}, standard deviation {whole.std(correction=0):.4f}" in lines[3]
    assert datasets.tell("mnist") == []


def test_crop_and_pad_say_what_they_do(tmp_path: Path) -> None:
    write(tmp_path / "a", side=12)
    image = picture(0, 12).transpose(2, 0, 1)
    cropped = datasets.load(text(tmp_path / "a", fit="crop"))
    assert any(torch.equal(one, torch.from_numpy(image[:, 2:10, 2:10])) for one in [*cropped.train, *cropped.test])
    padded = datasets.load(text(tmp_path / "a", side=16, fit="pad", background=255))
    border = np.pad(image, ((0, 0), (2, 2), (2, 2)), constant_values=255)
    assert any(torch.equal(one, torch.from_numpy(border)) for one in [*padded.train, *padded.test])


# the key and the parts


def test_a_moved_folder_keeps_its_key_and_a_changed_picture_does_not(tmp_path: Path) -> None:
    first = text(write(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "0.png").rename(tmp_path / "b" / "zzz.png")  # nor do names of files count
    moved = text(tmp_path / "b")
    assert first != moved
    assert job_key(study_of(first)) == job_key(study_of(moved))
    assert own.file_of(first) == own.file_of(moved)
    pixels = picture(0, 8)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "b" / "zzz.png")
    assert job_key(study_of(first)) != job_key(study_of(text(tmp_path / "b")))
    with pytest.raises(UserError, match="have changed"):
        datasets.load(moved)


def study_of(spelled: str, **more: Any) -> Study:
    content: dict[str, Any] = {
        "name": "own", "dataset": spelled, "train": {"epochs": 1, "batch_size": 16}, "score": {"n": 20},
        "axes": {"net": ["unet"], "objective": ["v"], "schedule": ["cosine"], "sampler": ["ddim"], "sample_steps": [4]},
    }  # fmt: skip
    content["axes"] |= more
    return Study.model_validate(content)


def test_labels_are_part_of_the_hash(tmp_path: Path) -> None:
    hashes = {options(text(write(tmp_path / str(k), classes=k)))["sha256"] for k in (0, 2, 3)}
    assert len(hashes) == 3
    assert row(text(tmp_path / "3", labels=False)).classes == 0


def test_what_is_held_out_depends_on_the_images_alone(tmp_path: Path) -> None:
    """A picture more moves at most one other between the parts, and the same picture twice is never on both sides."""
    before = datasets.load(text(write(tmp_path / "a"))).test
    write(tmp_path / "a" / "more", n=1, start=500)
    after = datasets.load(text(tmp_path / "a")).test
    bytes_of = [{image.numpy().tobytes() for image in part} for part in (before, after)]
    assert len(bytes_of[0] ^ bytes_of[1]) <= 2
    for i in range(60):
        shutil.copy(tmp_path / "a" / f"{i}.png", tmp_path / "a" / f"copy of {i}.png")
    for share in (0.3, 0.31, 0.32, 0.33):
        images = datasets.load(text(tmp_path / "a", held_out=share))
        parts = [{image.numpy().tobytes() for image in part} for part in (images.train, images.test)]
        assert not parts[0] & parts[1]


# what is refused


def test_one_line_for_whatever_is_wrong(tmp_path: Path) -> None:
    assert "no such file or folder" in refused(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "no image files" in refused(tmp_path / "empty")
    (tmp_path / "x.txt").write_text("hello")
    assert "neither" in refused(tmp_path / "x.txt")
    write(tmp_path / "a")
    assert "0.png is 8×8, not 28×28; fit: pad is possible" in refused(tmp_path / "a", side=28)
    assert "0.png is 8×8, not 4×4; fit: crop is possible" in refused(tmp_path / "a", side=4)
    assert "fit: crop is possible" in refused(tmp_path / "a", side=4, fit="pad")
    assert "did you mean 'crop'" in refused(tmp_path / "a", fit="crp")
    assert "side must be 4 or more" in refused(tmp_path / "a", side=2)
    assert "channels must be" in refused(tmp_path / "a", channels=2)
    assert "held_out must be" in refused(tmp_path / "a", held_out=1.0)
    assert "range is for an .npy or .npz file" in refused(tmp_path / "a", range=[0, 1])
    assert "array is for an .npy or .npz file" in refused(tmp_path / "a", array="images")
    assert "at least 20 of each" in refused(tmp_path / "a", held_out=0.1)
    assert "no option 'sides'" in refused(tmp_path / "a", sides=8)
    Image.fromarray(np.zeros((8, 12), np.uint8)).save(tmp_path / "a" / "wide.png")
    assert "wide.png is 8×12, not 8×8; fit: crop is possible" in refused(tmp_path / "a")
    np.save(tmp_path / "wide.npy", np.zeros((60, 12, 8), np.uint8))
    assert "image 0 is 12×8, not 8×8" in refused(tmp_path / "wide.npy")
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    assert "bad.png is not readable" in refused(tmp_path / "a")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    assert "Python objects" in refused(tmp_path / "o.npy")
    with pytest.raises(UserError, match="needs a path"):
        named("folder")


@pytest.mark.parametrize(
    "said", [["black", "white"], [None, 1], [255, 0], [0, 0], [1], [0, 1, 2], [0, 1e31], [False, True]]
)
def test_ranges_that_are_none(tmp_path: Path, said: list[Any]) -> None:
    np.save(tmp_path / "a.npy", np.stack([picture(i, 8) for i in range(60)]))
    assert row(text(tmp_path / "a.npy", range=[0, 255])).train == 36
    line = refused(tmp_path / "a.npy", range=said)
    assert line.startswith("data set folder: range must be two numbers, the lower first, not [")


@pytest.mark.parametrize(
    "given", [{"train": 30, "test": 30}, {"classes": 2}, {"test": 24}, {"train": 36, "sha256": "0" * 32}]
)
def test_what_is_found_out_is_not_given(tmp_path: Path, given: dict[str, Any]) -> None:
    """The images are looked at, unless a text says all that was found."""
    whole = text(write(tmp_path / "a"))
    assert re.fullmatch(
        f"data set folder: ({'|'.join(given)}) is found out: leave it out", refused(tmp_path / "a", **given)
    )
    assert named(whole) == whole == text(tmp_path / "a", sha256=options(whole)["sha256"])


@pytest.mark.parametrize("end", [".npy", ".npz"])
def test_an_array_without_images(tmp_path: Path, end: str) -> None:
    path, none = tmp_path / f"a{end}", np.zeros((0, 8, 8), np.uint8)
    if end == ".npy":
        np.save(path, none)
    else:
        np.savez(path, images=none, labels=np.zeros(0, np.uint8))
    assert refused(path) == f"{path} holds an array of 0×8×8: 0 images"


def test_advice_is_on_the_options_of_a_study(tmp_path: Path) -> None:
    """Not on those of ``ddpm-bench score``, which `plan` and `run` do not have."""
    images = np.stack([picture(i, 8) for i in range(60)])
    np.savez(tmp_path / "a.npz", one=images, other=images)
    assert refused(tmp_path / "a.npz").endswith("; say which with array: NAME")
    assert row(text(tmp_path / "a.npz", array="one")).train == 36
    np.save(tmp_path / "b.npy", images / 10)
    assert refused(tmp_path / "b.npy").endswith("; say range: [low, high]")
    assert "its one array has no name, not 'one'" in refused(tmp_path / "b.npy", array="one")


def test_impossible_studies_of_them(tmp_path: Path) -> None:
    plain = text(write(tmp_path / "a"))
    cases = [
        ({"guidance": [2.0]}, plain, "folder has none"),
        ({"net": [{"unet": {"classes": 10}}]}, plain, "folder has no classes"),
        ({"net": [{"unet": {"classes": 10}}]}, text(write(tmp_path / "b", classes=3)), "3 classes, not 10"),
        ({"net": ["unet"]}, text(write(tmp_path / "c", side=10), side=10), "multiple of 4, not 10"),
    ]
    for axes, spelled, said in cases:
        with pytest.raises(UserError, match=said):
            _ = study_of(spelled, **axes).cells


def test_the_command_says_it_in_one_line_with_the_line_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study_file(tmp_path, "{folder: {path: nowhere, side: 8}}")
    assert cli.main(["plan", str(path), "--results", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"{path}:1:" in said
    assert "nowhere" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def study_file(where: Path, dataset: str, **more: str) -> Path:
    path = where / "own.yaml"
    path.write_text(
        f"dataset: {dataset}\ntrain: {{epochs: 1, batch_size: 16}}\nscore: {{n: 20}}\n"
        f"axes: {{net: [{more.get('net', 'tiny')}], objective: [v], schedule: [cosine], T: [20], sampler: [ddim], "
        f"sample_steps: [4], guidance: [{more.get('guidance', 'null')}]}}\n"
    )
    return path


# from end to end


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network and a judge that train in no time."""
    monkeypatch.setitem(NETS, "tiny", TinyNet)
    monkeypatch.setattr(own, "STEPS", 1)
    monkeypatch.setattr(turns, "RECIPE", turns.RECIPE._replace(epochs=1))
    folder.forget()


@pytest.mark.parametrize("classes", [0, 3])
def test_a_study_of_colour_pictures_from_end_to_end(
    tmp_path: Path, quickly: None, capsys: pytest.CaptureFixture[str], classes: int
) -> None:
    """``unet`` at another size and in colour: plan, run, sample and score."""
    write(tmp_path / "a", classes=classes)
    net = "{unet: {width: 8, inner: 32, blocks: 1, middle: 1" + (f", classes: {classes}}}}}" if classes else "}}")
    spelled = f"{{folder: {{path: {tmp_path / 'a'}, side: 8, held_out: 0.4}}}}"
    path, results = study_file(tmp_path, spelled, net=net, guidance="2.0" if classes else "null"), tmp_path / "out"
    common = ["--results", str(results)]
    assert cli.main(["plan", str(path), *common]) == 0
    assert "60 images of 3×8×8" in capsys.readouterr().out
    cell = load_study(str(path)).cells[0]
    shipped = Cell.model_validate_json(cell.model_dump_json())  # as it goes to another process
    assert (shipped, shipped.key) == (cell, cell.key)
    _ = list(run([shipped], Store(results), device=torch.device("cpu")))
    record = Store(results).read(CellRecord, cell.key)
    assert isinstance(record, ScoredCell)
    assert isinstance(Store(results).read(JobRecord, cell.job.key), TrainedJob)
    of_classes = {name for name, metric in entries("metric").items() if metric.classes}
    found = set(record.metrics)
    assert found & of_classes == (of_classes if classes else set())
    assert found >= {"fid", "kid", "precision", "pixel_distance", "spectrum_distance"}
    kept = Store(results).load_samples(cell.key)
    assert kept is not None
    assert kept[0].shape == (20, 3, 8, 8)
    out = tmp_path / "x.npz"
    assert cli.main(["sample", cell.key, "-n", "20", "--out", str(out), *common, "--device", "cpu"]) == 0
    assert cli.main(["score", str(out), "--dataset", cell.job.dataset, *common, "--device", "cpu", "--thorough"]) == 0
    printed = capsys.readouterr().out
    assert "20 images" in printed
    assert ("class_balance" in printed) == bool(classes)


def test_the_judge_without_labels_tells_turns_and_damage_apart() -> None:
    """What it learns from needs no labels: they may be anything."""
    images = torch.arange(8 * 36, dtype=torch.uint8).view(8, 1, 6, 6)
    out, by = turns.turned(images, torch.Generator().manual_seed(0))
    assert len(by.unique()) > 1
    assert all(torch.equal(a.rot90(-int(k), (1, 2)), b) for a, k, b in zip(out, by, images, strict=True))
    network = turns.Turns(3)
    features, logits = network(torch.zeros(2, 3, 10, 10, dtype=torch.uint8))
    assert features.shape == (2, network.features)
    assert logits.shape == (2, 0)
    random = [torch.Generator().manual_seed(1) for _ in range(2)]
    square = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    losses = [turns.loss(network, square, labels, r) for labels, r in zip((None, torch.ones(8)), random, strict=True)]
    assert losses[0] == losses[1]
