"""Data sets: name → uint8 images and labels, from local files, checked; downloaded only where there are none.

A data set is named by a text, with its options where it has any: ``mnist``, ``emnist(split="letters")``. Its row says
all that has to be known before anything is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import UserError
from bench.images import folder, idx, readers
from bench.images.dataset import Dataset as Dataset
from bench.images.dataset import Images as Images
from bench.paths import DATA
from bench.rows import entries, known, read
from ddpm.spec import Variant


def to_float(images: Tensor) -> Tensor:
    """uint8 0 … 255 → float32 −1 … 1, the range the diffusion models work in."""
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """float −1 … 1 → uint8, rounded to the nearest level; values outside are clamped."""
    return x.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def _medmnist(name: str, train: int, test: int, classes: int, channels: int = 1) -> Dataset:
    """A row of a 28×28 set of MedMNIST."""
    return Dataset(readers.medmnist(name, classes), channels, train=train, test=test, classes=classes)


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(readers.mnist, accuracy=0.99),
    "fashion_mnist": Dataset(idx.reader(readers.FASHION), accuracy=0.9),
    "kmnist": Dataset(idx.reader(readers.KMNIST), accuracy=0.95),
    "qmnist": Dataset(idx.reader(readers.QMNIST), test=60_000, accuracy=0.99),
    "emnist": Dataset(readers.emnist, options=readers.of_split),
    "cifar10": Dataset(readers.cifar10, channels=3, side=32, train=50_000, accuracy=0.7),
    "pathmnist": _medmnist("pathmnist", 89_996, 7_180, 9, channels=3),
    "chestmnist": _medmnist("chestmnist", 78_468, 22_433, 0),  # several diseases an image: no classes
    "dermamnist": _medmnist("dermamnist", 7_007, 2_005, 7, channels=3),
    "octmnist": _medmnist("octmnist", 97_477, 1_000, 4),
    "pneumoniamnist": _medmnist("pneumoniamnist", 4_708, 624, 2),
    "retinamnist": _medmnist("retinamnist", 1_080, 400, 5, channels=3),
    "breastmnist": _medmnist("breastmnist", 546, 156, 2),
    "bloodmnist": _medmnist("bloodmnist", 11_959, 3_421, 8, channels=3),
    "tissuemnist": _medmnist("tissuemnist", 165_466, 47_280, 8),
    "organamnist": _medmnist("organamnist", 34_561, 17_778, 11),
    "organcmnist": _medmnist("organcmnist", 12_975, 8_216, 11),
    "organsmnist": _medmnist("organsmnist", 13_932, 8_827, 11),
    "folder": Dataset(folder.read, options=folder.options, look=folder.look, tell=folder.tell),
}


def named(given: object) -> str:
    """The text that names a data set, from a text or from ``{name: {option: value}}``.

    Of a data set that the user has made, the images are looked at, unless the text says already what was found.

    :raises UserError: for a name or an option that does not exist, or images that cannot be read.
    """
    if not isinstance(given, str | Mapping | Variant):
        raise UserError(f"dataset: a name, or a name with its options, is needed, not {given!r}")
    try:
        variant = read("dataset", given)
    except ValueError as error:
        raise UserError(f"dataset: {error}") from error
    known("dataset", variant.name)
    found = entries("dataset")[variant.name]
    if found.look is not None:
        variant = read("dataset", Variant(variant.name, tuple(found.look(**dict(variant.options)).items())))
    found.with_options(dict(variant.options))
    return str(variant)


def row(dataset: str) -> Dataset:
    """The row of a data set, as its options make it.

    :raises UserError: as :func:`named` does.
    """
    variant = Variant.of(named(dataset))
    found: Dataset = entries("dataset")[variant.name]
    return found.with_options(dict(variant.options))


def load(dataset: str, root: Path | None = None) -> Images:
    """The named data set from ``root`` (default: ``data/`` of the checkout or of the working directory).

    :raises UserError: if files are missing (and cannot be downloaded) or corrupt, naming file and hash.
    """
    variant = Variant.of(named(dataset))
    found: Dataset = entries("dataset")[variant.name]
    options = dict(variant.options)
    images, classes = found.load(root or DATA, options), found.with_options(options).classes
    return images if images.classes == classes else replace(images, classes=classes)


def tell(dataset: str) -> list[str]:
    """What a plan says of a data set that the user has made: a line each; nothing of the others."""
    variant = Variant.of(dataset)
    found: Dataset = entries("dataset")[variant.name]
    return found.tell(**dict(variant.options)) if found.tell else []
