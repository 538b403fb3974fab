"""How the data sets that others publish are read: IDX files, CIFAR's batches, and MedMNIST's .npz files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import UserError, unknown
from bench.images import arrays, idx
from bench.images.dataset import Images
from bench.images.idx import Idx
from bench.paths import SHIPPED_DATA

MNIST = Idx(
    "mnist",
    "MNIST",
    sha256=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION = Idx(
    "fashion_mnist",
    "FashionMNIST",
    sha256=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    package=("dataset-fashion-mnist", "fashion-mnist"),
)
"""Fashion-MNIST (Xiao, Rasul & Vollgraf, arXiv 1708.07747, MIT licence): clothes.

Use: to see which answers hold beside digits. It has judges of its own.
"""
KMNIST = Idx("kmnist", "KMNIST")
"""KMNIST (Clanuwat et al., arXiv 1812.01718, CC BY-SA 4.0): ten characters of cursive Japanese.

Use: for strokes that vary more within a class than those of digits do.
"""
QMNIST = Idx(
    "qmnist",
    "QMNIST",
    (
        "qmnist-train-images-idx3-ubyte",
        "qmnist-train-labels-idx2-int",
        "qmnist-test-images-idx3-ubyte",
        "qmnist-test-labels-idx2-int",
    ),
    variants=({"what": "train"}, {"what": "test"}),
)
"""QMNIST (Yadav & Bottou, arXiv 1905.10498, BSD-style licence): MNIST made again, with 60,000 test images.

Use: where held-out numbers need more images than MNIST has.
"""
ZENODO = "https://zenodo.org/records/10519652/files"
"""Where MedMNIST's files are."""
SPLITS: dict[str, dict[str, int]] = {
    "balanced": {"train": 112_800, "test": 18_800, "classes": 47},
    "byclass": {"train": 697_932, "test": 116_323, "classes": 62},
    "bymerge": {"train": 697_932, "test": 116_323, "classes": 47},
    "letters": {"train": 124_800, "test": 20_800, "classes": 26},
    "digits": {"train": 240_000, "test": 40_000, "classes": 10},
    "mnist": {"train": 60_000, "test": 10_000, "classes": 10},
}
"""EMNIST's splits."""


def mnist(root: Path) -> Images:
    """MNIST (LeCun, Cortes & Burges, CC BY-SA 3.0): 60,000 + 10,000 of 1×28×28. It ships with the project.

    Use: by default.
    """
    return idx.load(MNIST, root if idx.find(MNIST, MNIST.files[0], root) else SHIPPED_DATA)


def of_split(*, split: str = "balanced") -> Mapping[str, Any]:
    """How many images a split of EMNIST has, and of how many classes.

    :raises UserError: if there is no such split.
    """
    if split not in SPLITS:
        raise unknown("split of EMNIST", split, SPLITS)
    return SPLITS[split]


def emnist(root: Path, *, split: str = "balanced") -> Images:
    """EMNIST (Cohen et al. 2017, arXiv 1702.05373): letters and digits, 1×28×28. Its files are turned upright.

    Use: for more classes, up to 62, or more images, up to 697,932.
    """
    start = f"emnist-{split}"
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    train, test = ([f"{start}-{part}-{kind}" for kind in kinds] for part in ("train", "test"))
    variants = tuple({"split": split, "train": train} for train in (True, False))
    first = 1 if split == "letters" else 0  # whose labels are from 1 to 26
    spec = Idx("emnist", "EMNIST", (train[0], train[1], test[0], test[1]), variants=variants,
               classes=of_split(split=split)["classes"], first=first, turned=True)  # fmt: skip
    return idx.load(spec, root)


def cifar10(root: Path) -> Images:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 of 3×32×32, read by torchvision, which checks its md5.

    Use: for photographs in colour, where published numbers are. They take more training than digits do.
    """
    sets = idx.download("CIFAR10", root, ({"train": True}, {"train": False}), f"cifar-10-batches-py in {root}")
    images = [torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous() for s in sets]
    labels = [torch.tensor(s.targets) for s in sets]
    digest = hashlib.sha256(b"".join(i.numpy().tobytes() for i in images)).hexdigest()
    return Images(images[0], labels[0], images[1], labels[1], digest)


def medmnist(name: str, classes: int) -> Callable[[Path], Images]:
    """A function that reads a 28×28 set of MedMNIST v2 (Yang et al. 2023, arXiv 2110.14795) from its .npz file.

    The training and the test images are used. The validation images are not. With 0 classes labels are not read. The
    file may lie where the package ``medmnist`` puts it. The sets are CC BY 4.0, but for `dermamnist`: CC BY-NC 4.0.

    Use: to see which answers hold for images of other kinds and other numbers, from 546 to 165,466.
    """

    def read(root: Path) -> Images:
        folders = (root / "medmnist", root, Path.home() / ".medmnist")
        path = next((p for folder in folders if (p := folder / f"{name}.npz").is_file()), None)
        if path is None:
            raise UserError(
                f"missing data: no {name}.npz in {root}, nor in {folders[-1]}: "
                f"run `curl -L -o {root}/{name}.npz {ZENODO}/{name}.npz`"
            )
        found: list[torch.Tensor] = []
        for part in ("train", "test"):
            images = _images(path, _array(path, f"{part}_images"))
            labels = (
                _labels(path, _array(path, f"{part}_labels"), classes) if classes else torch.zeros(len(images)).long()
            )
            if len(images) != len(labels):
                raise UserError(f"corrupt data: {path} has {len(images)} {part} images and {len(labels)} labels")
            found += [images, labels]
        train, train_labels, test, test_labels = found
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return Images(train, train_labels, test, test_labels, sha256, classes)

    return read


def _array(path: Path, name: str) -> np.ndarray:
    return arrays.read_npz(path, lambda shape: False, name).images.whole()


def _images(path: Path, array: np.ndarray) -> torch.Tensor:
    """Images (N, 28, 28) or (N, 28, 28, 3) as (N, C, 28, 28)."""
    if array.dtype != np.uint8 or array.shape[1:] not in ((28, 28), (28, 28, 3)):
        shape = arrays.in_words(array.shape)
        raise UserError(f"corrupt data: {path} holds {shape} of {array.dtype.name}: 28×28 bytes are needed")
    images = torch.from_numpy(array)
    return images[:, None] if array.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _labels(path: Path, array: np.ndarray, classes: int) -> torch.Tensor:
    """Labels (N, 1) or (N,) as (N,)."""
    whole = array.size > 0 and array.shape[1:] in ((), (1,)) and array.dtype.kind in "iu"
    if not whole or not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise UserError(f"corrupt data: the labels in {path} are not all between 0 and {classes - 1}")
    return torch.from_numpy(array.reshape(-1).astype(np.int64))
