"""Data: what ships is what it should be, and anything wrong with a file is said in one line that names it."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torchvision import datasets as theirs_sets

from bench.errors import UserError
from bench.images import idx as idx_files
from bench.images import readers
from bench.images.datasets import DATASETS, Images, load, named, row, to_float, to_uint8
from bench.paths import REFERENCE, SHIPPED_DATA

CANONICAL = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
QMNIST = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)


def idx(array: np.ndarray) -> bytes:
    """The array in IDX form, written from the format's description."""
    code = {"uint8": 8, "int32": 12}[array.dtype.name]
    sizes = b"".join(struct.pack(">i", n) for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def made_up(wide: bool = False) -> list[np.ndarray]:
    """Images and labels of 30 training and 12 test images; ``wide`` labels are QMNIST's eight columns of int."""
    rng = np.random.default_rng(0)
    arrays = []
    for n in (30, 12):
        arrays.append(rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        labels = rng.integers(0, 10, (n, 8), dtype=np.int32)
        labels[:, 1:] += 70_000  # writer, form and so on: never labels
        arrays.append(labels if wide else labels[:, 0].astype(np.uint8))
    return arrays


def write(folder: Path, names: tuple[str, ...], arrays: list[np.ndarray], end: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        raw = idx(array)
        (folder / (name + end)).write_bytes(gzip.compress(raw, 1) if end else raw)


def refused(name: str, root: Path) -> str:
    """The one line with which a data set is refused."""
    with pytest.raises(UserError) as caught:
        load(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torchvision's classes fail like a machine without internet; what was asked for is listed."""
    asked: list[str] = []

    def failing(name: str) -> Callable[..., None]:
        def construct(root: str, **_: object) -> None:
            asked.append(name)
            raise RuntimeError(f"Error downloading {name}:\nTried https://somewhere, got:\n<urlopen error>\n")

        return construct

    monkeypatch.setattr(idx_files, "SYSTEM", Path("/nowhere"))
    for name in ("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "EMNIST", "CIFAR10"):
        monkeypatch.setattr(theirs_sets, name, failing(name))
    return asked


# what ships


def test_mnist_is_all_there(mnist: Images) -> None:
    assert mnist.train.shape == (60_000, 1, 28, 28)
    assert mnist.test.shape == (10_000, 1, 28, 28)
    assert mnist.train.dtype == mnist.test.dtype == torch.uint8
    assert mnist.train_labels.dtype == mnist.test_labels.dtype == torch.int64
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train_labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.shape == (1, 28)


def test_mnist_has_the_moments_of_the_literature(mnist: Images) -> None:
    """0.1307 and 0.3081 on [0, 1] are what everyone normalises with; REFERENCE gives −.7386 and .6162 on [−1, 1]."""
    x = to_float(mnist.train)
    assert x.mean().item() == pytest.approx(-0.7386, abs=1e-4)
    assert x.std().item() == pytest.approx(0.6162, abs=1e-4)


def test_images_are_upright_and_match_their_labels(mnist: Images) -> None:
    """A transposed or misaligned read would not look like ones: in a 1 the ink is tall and narrow."""
    ones = mnist.train[mnist.train_labels == 1].float()
    ink = ones.mean((0, 1))
    rows, columns = ink.sum(1), ink.sum(0)
    spread = [float(((torch.arange(28) - 13.5) ** 2 * w).sum() / w.sum()) for w in (rows, columns)]
    assert spread[0] > 2 * spread[1]


def test_dataset_rows_tell_the_shape(mnist: Images) -> None:
    assert (DATASETS["mnist"].channels, DATASETS["mnist"].side) == mnist.shape


def test_mnist_in_another_folder_is_used_when_it_is_there(tmp_path: Path, mnist: Images) -> None:
    """An empty --data-dir falls back on the repo's copy, and the identity is of the bytes, not of the place."""
    assert load("mnist", tmp_path).sha256 == mnist.sha256
    link(tmp_path / "mnist")
    assert load("mnist", tmp_path).sha256 == mnist.sha256


# damage


def link(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in CANONICAL:
        (folder / f"{name}.gz").symlink_to(SHIPPED_DATA / "mnist" / f"{name}.gz")


def replace(folder: Path, name: str, content: bytes, end: str = ".gz") -> Path:
    (folder / f"{name}.gz").unlink()
    path = folder / (name + end)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", CANONICAL)
def test_one_flipped_bit_is_noticed_and_both_hashes_are_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mnist"
    link(folder)
    good = gzip.decompress((folder / f"{name}.gz").read_bytes())
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    path = replace(folder, name, bytes(bad), end="")
    line = refused("mnist", tmp_path)
    assert str(path) in line
    assert hashlib.sha256(bad).hexdigest() in line
    assert hashlib.sha256(good).hexdigest() in line


@pytest.mark.parametrize("keep", [0, 1, 5, 15, 200, -9, -1])
def test_truncated_gzip(tmp_path: Path, keep: int) -> None:
    """Cut inside the header, the data and the checksum at the end."""
    folder = tmp_path / "mnist"
    link(folder)
    content = (folder / f"{CANONICAL[3]}.gz").read_bytes()
    path = replace(folder, CANONICAL[3], content[:keep])
    assert str(path) in refused("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"garbage", bytes(1000), random.Random(0).randbytes(1000), b"\x1f\x8b" + random.Random(0).randbytes(1000)],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "mnist"
    link(folder)
    path = replace(folder, CANONICAL[1], content)
    assert str(path) in refused("mnist", tmp_path)


def test_damage_inside_a_gzip_stream(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    link(folder)
    content = bytearray((folder / f"{CANONICAL[3]}.gz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = replace(folder, CANONICAL[3], bytes(content))
    assert str(path) in refused("mnist", tmp_path)


def test_missing_file_is_named(tmp_path: Path, offline: list[str]) -> None:
    link(tmp_path / "mnist")
    (tmp_path / "mnist" / f"{CANONICAL[1]}.gz").unlink()
    line = refused("mnist", tmp_path)
    assert CANONICAL[1] in line
    assert str(tmp_path) in line


HEADERS = {
    "empty": b"",
    "short": b"\0\0\x08",
    "magic": b"\0\1\x08\3",
    "type": b"\0\0\x0d\1\0\0\0\1\0\0\0\0",
    "no sizes": b"\0\0\x08\3\0\0",
    "negative": b"\0\0\x08\1\xff\xff\xff\xff",
    "too long": b"\0\0\x08\1\0\0\0\2\1\2\3",
    "too short": b"\0\0\x08\1\0\0\0\4\1\2\3",
    "scalar": b"\0\0\x08\0\7",
    "labels for images": idx(np.zeros(30, np.uint8)),
    "one column": idx(np.zeros((30, 28), np.uint8)),
    "oblong": idx(np.zeros((30, 28, 20), np.uint8)),
    "other side": idx(np.zeros((30, 32, 32), np.uint8)),
    "int images": idx(np.full((30, 28, 28), 300, np.int32)),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_wrong_header(tmp_path: Path, kind: str) -> None:
    """A set without pinned hashes must still not be read as something that it is not."""
    folder = tmp_path / "kmnist"
    write(folder, CANONICAL, made_up())
    (folder / CANONICAL[0]).write_bytes(HEADERS[kind])
    assert CANONICAL[0] in refused("kmnist", tmp_path)


def test_images_and_labels_of_different_number(tmp_path: Path) -> None:
    arrays = made_up()
    write(tmp_path / "kmnist", CANONICAL, [*arrays[:3], arrays[3][:-1]])
    assert CANONICAL[2] in refused("kmnist", tmp_path)


def test_labels_beyond_nine(tmp_path: Path) -> None:
    """The classifier has ten outputs; a label of 200 would crash it an hour later."""
    arrays = made_up()
    arrays[1][3] = 200
    write(tmp_path / "kmnist", CANONICAL, arrays)
    assert CANONICAL[1] in refused("kmnist", tmp_path)


# the other sets


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "torchvision", "files"),
    [
        ("kmnist", "KMNIST", CANONICAL),
        ("qmnist", "QMNIST", QMNIST),
    ],
)
def test_idx_sets_where_they_may_lie(
    tmp_path: Path, offline: list[str], name: str, torchvision: str, files: tuple[str, ...], end: str
) -> None:
    """Plain or gzipped; in a folder of the set's name, in torchvision's, or in --data-dir itself. No fetching.

    Not in --data-dir itself where the files are called like MNIST's.
    """
    arrays = made_up(wide=name == "qmnist")
    identities = set()
    for i, folder in enumerate((name, f"{torchvision}/raw", *([""] if files != CANONICAL else []))):
        root = tmp_path / str(i)
        write(root / folder, files, arrays, end)
        images = load(name, root)
        assert torch.equal(images.train, torch.from_numpy(arrays[0])[:, None])
        assert torch.equal(images.test, torch.from_numpy(arrays[2])[:, None])
        assert images.train_labels.tolist() == arrays[1].reshape(30, -1)[:, 0].tolist()
        assert images.test_labels.tolist() == arrays[3].reshape(12, -1)[:, 0].tolist()
        assert images.train_labels.dtype == torch.int64
        identities.add(images.sha256)
    assert len(identities) == 1
    assert offline == []


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "folder"])
def test_files_that_any_set_may_have(
    tmp_path: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Four with MNIST's names in --data-dir itself are taken for none: `kmnist` would train on whatever they are."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    write(tmp_path, CANONICAL, made_up())
    assert refused(name, tmp_path).startswith(("corrupt data: ", "missing data: "))


def test_identity_covers_all_four_files(tmp_path: Path) -> None:
    identities = set()
    for i in range(5):
        arrays = made_up()
        if i < 4:
            arrays[i].flat[7] = (arrays[i].flat[7] + 1) % 10
        write(tmp_path / str(i) / "kmnist", CANONICAL, arrays)
        identities.add(load("kmnist", tmp_path / str(i)).sha256)
    assert len(identities) == 5


def test_torchvision_reads_the_same_files(tmp_path: Path) -> None:
    """The oracle for images and labels, and for the folder layout."""
    write(tmp_path / "KMNIST" / "raw", CANONICAL, made_up())
    ours = load("kmnist", tmp_path)
    for train, images, labels in ((True, ours.train, ours.train_labels), (False, ours.test, ours.test_labels)):
        theirs = theirs_sets.KMNIST(str(tmp_path), train=train)
        assert torch.equal(images[:, 0], theirs.data)
        assert torch.equal(labels, theirs.targets)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist", "qmnist", "emnist", "cifar10"])
def test_nothing_on_disk_and_no_internet(tmp_path: Path, offline: list[str], name: str) -> None:
    line = refused(name, tmp_path)
    assert len(offline) == 1
    assert str(tmp_path) in line
    assert f"Error downloading {offline[0]}" in line
    assert "put the files there" in line


def test_debian_s_package_is_found_and_named(
    tmp_path: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "apt-get install dataset-fashion-mnist" in refused("fashion_mnist", tmp_path)
    monkeypatch.setattr(idx_files, "SYSTEM", tmp_path / "system")
    write(tmp_path / "system" / "fashion-mnist", CANONICAL, made_up(), ".gz")
    there = tmp_path / "system" / "fashion-mnist" / f"{CANONICAL[0]}.gz"
    assert refused("fashion_mnist", tmp_path).startswith(f"corrupt data: {there} has sha256 ")


def test_fashion_is_that_of_the_committed_results() -> None:
    """Their records have the hash of the four files' hashes."""
    digest = hashlib.sha256("".join(readers.FASHION.sha256).encode()).hexdigest()
    assert hashlib.sha256("".join(readers.MNIST.sha256).encode()).hexdigest() == load("mnist").sha256
    cells = [path.read_text() for path in (REFERENCE / "cells").glob("*.json")]
    of_fashion = [text for text in cells if '"dataset": "fashion_mnist"' in text]
    assert of_fashion
    assert all(f'"dataset_sha256": "{digest}"' in text for text in of_fashion)


def written_emnist(root: Path, split: str, first: int) -> list[np.ndarray]:
    arrays = made_up()
    for labels in arrays[1::2]:
        labels += first
    names = (f"emnist-{split}-{part}-{kind}"
             for part in ("train", "test") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))  # fmt: skip
    write(root / "EMNIST" / "raw", tuple(names), arrays, ".gz")
    return arrays


def test_emnist_is_upright_and_a_split_is_an_option(tmp_path: Path, offline: list[str]) -> None:
    """Its files hold images with rows and columns swapped, and letters are numbered from 1."""
    arrays = written_emnist(tmp_path, "letters", 1)
    images = load(named({"emnist": {"split": "letters"}}), tmp_path)
    assert torch.equal(images.train[:, 0], torch.from_numpy(arrays[0]).transpose(1, 2))
    assert images.train_labels.tolist() == (arrays[1] - 1).tolist()
    assert images.classes == row('emnist(split="letters")').classes == 26
    assert row("emnist").classes == 47  # the split balanced
    with pytest.raises(UserError, match="letters"):
        named({"emnist": {"split": "leters"}})


def test_emnist_labels_beyond_its_classes(tmp_path: Path) -> None:
    written_emnist(tmp_path, "letters", 0)  # some are 0
    assert "between 1 and 26" in refused('emnist(split="letters")', tmp_path)


def med(path: Path, channels: int, classes: int, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """An .npz as MedMNIST has it."""
    rng = np.random.default_rng(2)
    arrays = {}
    for part, n in (("train", 9), ("val", 4), ("test", 5)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (n, 28, 28, *([3] if channels == 3 else [])), dtype=np.uint8)
        arrays[f"{part}_labels"] = rng.integers(0, classes, (n, 1), dtype=np.uint8)
    np.savez(path, **{**arrays, **changed})
    return arrays


@pytest.mark.parametrize(("name", "channels", "classes"), [("bloodmnist", 3, 8), ("octmnist", 1, 4)])
def test_medmnist(tmp_path: Path, name: str, channels: int, classes: int) -> None:
    arrays = med(tmp_path / f"{name}.npz", channels, classes)
    images = load(name, tmp_path)
    expected = arrays["train_images"].reshape(9, 28, 28, channels).transpose(0, 3, 1, 2)
    assert np.array_equal(images.train.numpy(), expected)
    assert images.test_labels.tolist() == arrays["test_labels"][:, 0].tolist()
    assert len(images.test) == 5
    assert (*images.shape, images.classes) == (channels, 28, classes)
    assert (row(name).channels, row(name).side, row(name).classes) == (channels, 28, classes)


def test_medmnist_of_several_labels_an_image_has_no_classes(tmp_path: Path) -> None:
    many = {f"{part}_labels": np.ones((n, 14), np.uint8) for part, n in (("train", 9), ("test", 5))}
    med(tmp_path / "chestmnist.npz", 1, 2, **many)
    assert load("chestmnist", tmp_path).classes == row("chestmnist").classes == 0


def test_medmnist_where_its_own_package_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".medmnist").mkdir()
    med(tmp_path / ".medmnist" / "octmnist.npz", 1, 4)
    assert len(load("octmnist", tmp_path / "data").train) == 9


def test_wrong_medmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    line = refused("bloodmnist", tmp_path)
    assert f"no bloodmnist.npz in {tmp_path}, nor in {tmp_path}/nobody/.medmnist: run" in line
    assert f"curl -L -o {tmp_path}/bloodmnist.npz" in line
    for changed, said in (
        ({"test_images": np.zeros((5, 64, 64, 3), np.uint8)}, "5×64×64×3"),
        ({"train_labels": np.full((9, 1), 8, np.uint8)}, "between 0 and 7"),
        ({"train_labels": np.zeros((8, 1), np.uint8)}, "9 train images and 8 labels"),
        ({"train_labels": np.array([[{}]] * 9)}, "pickled"),
        ({"test_images": np.zeros((0, 28, 28, 3), np.uint8)}, "bloodmnist.npz holds an array of 0×28×28×3: 0 images"),
        ({"test_labels": np.zeros((0, 1), np.uint8)}, "bloodmnist.npz holds an array of 0×1"),
    ):
        med(tmp_path / "bloodmnist.npz", 3, 8, **changed)
        assert said in refused("bloodmnist", tmp_path)


def test_names_are_one_text_and_wrong_ones_name_the_right() -> None:
    assert named("mnist") == named({"mnist": None}) == "mnist"
    assert named({"emnist": {"split": "balanced"}}) == "emnist"
    for given, said in (
        ("mnits", "mnist"),
        ({"mnist": {"split": 1}}, "split"),
        (3, "not 3"),
        ({"emnist": {"split": 3}}, "balanced"),
    ):
        with pytest.raises(UserError, match=said):
            named(given)


def test_without_a_patch_the_failure_is_one_line_too(tmp_path: Path) -> None:
    """torchvision's own error spans many lines (the network is cut off in all tests)."""
    line = refused("kmnist", tmp_path)
    assert "KMNIST" in line
    assert str(tmp_path) in line


def test_what_is_missing_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, asked = made_up(wide=True), []

    def fetch(root: str, **kind: object) -> None:
        asked.append(kind)
        write(Path(root) / "QMNIST" / "raw", QMNIST, arrays, ".gz")

    monkeypatch.setattr(theirs_sets, "QMNIST", fetch)
    assert len(load("qmnist", tmp_path).train) == 30
    assert {kind["what"] for kind in asked} == {"train", "test"}
    assert all(kind["download"] is True for kind in asked)
    load("qmnist", tmp_path)
    assert len(asked) == 2


def test_a_download_that_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs_sets, "KMNIST", lambda root, **_: None)
    assert CANONICAL[0] in refused("kmnist", tmp_path)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """CIFAR-10's python batches, four images in each, with the md5 sums torchvision should find."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(1)
    rows: dict[str, np.ndarray] = {}
    sums: dict[str, str] = {}

    def put(name: str, content: object) -> None:
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        sums[name] = hashlib.md5(raw, usedforsecurity=False).hexdigest()

    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        rows[name] = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        put(name, {"data": rows[name], "labels": (rows[name][:, 0] % 10).tolist()})
    put("batches.meta", {"label_names": [str(i) for i in range(10)]})
    train = [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    monkeypatch.setattr(theirs_sets.CIFAR10, "train_list", train)
    monkeypatch.setattr(theirs_sets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(theirs_sets.CIFAR10, "meta", meta)
    return rows


def test_cifar10(tmp_path: Path, cifar: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    images = load("cifar10", tmp_path)
    rows = np.concatenate([cifar[f"data_batch_{i}"] for i in range(1, 6)])
    assert torch.equal(images.train, torch.from_numpy(rows).view(20, 3, 32, 32))
    assert torch.equal(images.test, torch.from_numpy(cifar["test_batch"]).view(4, 3, 32, 32))
    assert images.train_labels.tolist() == (rows[:, 0] % 10).tolist()
    assert images.shape == (3, 32) == (DATASETS["cifar10"].channels, DATASETS["cifar10"].side)
    assert images.train.is_contiguous()


def test_corrupt_cifar10(tmp_path: Path, cifar: dict[str, np.ndarray]) -> None:
    """torchvision's md5 fails, and there is no network to mend it."""
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    refused("cifar10", tmp_path)


# conversions


def test_all_levels_survive_the_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    x = to_float(levels)
    assert x.dtype == torch.float32
    assert torch.equal(to_uint8(x), levels)
    assert x[0].item() == -1
    assert x[255].item() == 1
    assert_close(x.double().diff(), torch.full((255,), 2 / 255, dtype=torch.float64), atol=2e-7, rtol=0)


def test_levels_are_rounded_and_clamped() -> None:
    """Truncation would give 9 for 9.9, and wrap-around 0 for 256."""
    level = torch.tensor([9.9, 10.4, -3.0, 255.4, 256.0, 1e9, -1e9, float("inf")])
    assert to_uint8(level / 127.5 - 1).tolist() == [10, 10, 0, 255, 255, 255, 0, 255]


def test_conversions_leave_their_input_alone() -> None:
    bytes_, floats = torch.arange(256, dtype=torch.uint8), torch.linspace(-1.5, 1.5, 50)
    before = bytes_.clone(), floats.clone()
    to_float(bytes_)
    to_uint8(floats)
    assert torch.equal(bytes_, before[0])
    assert torch.equal(floats, before[1])


def test_reading_shipped_data_needs_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert len(load("mnist").test) == 10_000
