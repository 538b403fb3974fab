"""Data sets: name → uint8 images and labels, from local files, checked; downloaded only where there are none."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError
from bench.paths import DATA, SHIPPED_DATA


@dataclass(frozen=True)
class Images:
    """Images as uint8 (N, C, H, W) and labels as int64 (N,); ``sha256`` identifies the bytes of all four."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    sha256: str

    @property
    def shape(self) -> tuple[int, int]:
        """(channels, side)."""
        return self.train.shape[1], self.train.shape[2]


def to_float(images: Tensor) -> Tensor:
    """uint8 0 … 255 → float32 −1 … 1, the range the diffusion models work in."""
    return images.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> Tensor:
    """float −1 … 1 → uint8, rounded to the nearest level; values outside are clamped."""
    return x.add(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class _Idx:
    """Four IDX files in the order train images, train labels, test images, test labels."""

    folder: str
    torchvision: str
    files: tuple[str, str, str, str]
    sha256: tuple[str, ...] = ()  # of the decompressed files
    variants: tuple[dict[str, Any], ...] = ({"train": True}, {"train": False})


_CANONICAL = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_MNIST = _Idx(
    "mnist",
    "MNIST",
    _CANONICAL,
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
_FASHION = _Idx("fashion_mnist", "FashionMNIST", _CANONICAL)
_KMNIST = _Idx("kmnist", "KMNIST", _CANONICAL)
_QMNIST = _Idx(
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


def _read_idx(path: Path, raw: bytes) -> np.ndarray:
    """The array in an IDX file: two zero bytes, type, rank, big-endian sizes, data."""
    types = {8: ">u1", 12: ">i4"}
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in types:
        raise UserError(f"corrupt data: {path} is not an IDX file")
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4) if len(raw) >= 4 + 4 * rank else np.array([-1])
    kind = np.dtype(types[raw[2]])
    if (shape < 0).any() or len(raw) != 4 + 4 * rank + int(shape.prod()) * kind.itemsize:
        raise UserError(f"corrupt data: {path} holds {len(raw)} bytes, not what its header says")
    return np.frombuffer(raw, kind, offset=4 + 4 * rank).reshape(shape)


def _find(spec: _Idx, name: str, root: Path) -> Path | None:
    """The file, plain or gzipped, in ``root/<set>``, in torchvision's layout, or in ``root`` itself."""
    folders = [root / spec.folder, root / spec.torchvision / "raw", root]
    paths = [folder / (name + end) for folder in folders for end in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def _load_idx(spec: _Idx, root: Path) -> Images:
    if any(_find(spec, name, root) is None for name in spec.files):
        missing = next(name for name in spec.files if _find(spec, name, root) is None)
        _download(spec.torchvision, root, spec.variants, f"{missing}(.gz) in {root / spec.folder}")
    arrays, digest = [], hashlib.sha256()
    for i, name in enumerate(spec.files):
        path = _find(spec, name, root)
        if path is None:
            raise UserError(f"missing data: no {name}(.gz) in {root / spec.folder}")
        try:
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"corrupt data: {path} cannot be read ({error})") from error
        found = hashlib.sha256(raw).hexdigest()
        if spec.sha256 and found != spec.sha256[i]:
            raise UserError(f"corrupt data: {path} has sha256 {found} (decompressed), expected {spec.sha256[i]}")
        digest.update(found.encode())
        arrays.append(_read_idx(path, raw))
    for array, name in zip(arrays, spec.files, strict=True):
        picture = array.ndim == 3 and array.shape[1:] == (28, 28) and array.dtype == np.uint8
        if not (picture if name in spec.files[::2] else array.ndim in (1, 2) and array.size):
            shape = "×".join(map(str, array.shape)) or "one number"
            raise UserError(f"corrupt data: {_find(spec, name, root)} holds {shape} of {array.dtype.name}")
    images = [torch.from_numpy(a.astype(np.uint8))[:, None] for a in arrays[::2]]
    labels = [torch.from_numpy(a.reshape(len(a), -1)[:, 0].astype(np.int64)) for a in arrays[1::2]]
    for a, b, name, label_name in zip(images, labels, spec.files[::2], spec.files[1::2], strict=True):
        if len(a) != len(b):
            raise UserError(f"corrupt data: {name} has {len(a)} images and {len(b)} labels")
        if not 0 <= int(b.min()) <= int(b.max()) <= 9:
            raise UserError(f"corrupt data: the labels in {label_name} are not all between 0 and 9")
    return Images(images[0], labels[0], images[1], labels[1], digest.hexdigest())


def _download(name: str, root: Path, variants: tuple[dict[str, Any], ...], missing: str) -> list[Any]:
    """The torchvision data sets of that class, fetched where they are not on disk."""
    from torchvision import datasets

    try:
        return [getattr(datasets, name)(str(root), download=True, **kind) for kind in variants]
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"missing data: no {missing}, and downloading {name} failed: {reason}") from error


def mnist(root: Path) -> Images:
    """MNIST (LeCun, Cortes & Burges, CC BY-SA 3.0): 60,000 + 10,000 of 1×28×28. It ships with the project."""
    return _load_idx(_MNIST, root if _find(_MNIST, _CANONICAL[0], root) else SHIPPED_DATA)


def fashion_mnist(root: Path) -> Images:
    """Fashion-MNIST (Xiao et al. 2017, MIT): 60,000 + 10,000 of 1×28×28."""
    return _load_idx(_FASHION, root)


def kmnist(root: Path) -> Images:
    """Kuzushiji-MNIST (Clanuwat et al. 2018, CC BY-SA 4.0): 60,000 + 10,000 of 1×28×28."""
    return _load_idx(_KMNIST, root)


def qmnist(root: Path) -> Images:
    """QMNIST (Yadav & Bottou 2019, BSD): 60,000 + 60,000 of 1×28×28."""
    return _load_idx(_QMNIST, root)


def cifar10(root: Path) -> Images:
    """CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 of 3×32×32, read by torchvision, which checks its md5."""
    sets = _download("CIFAR10", root, ({"train": True}, {"train": False}), f"cifar-10-batches-py in {root}")
    images = [torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous() for s in sets]
    labels = [torch.tensor(s.targets) for s in sets]
    digest = hashlib.sha256(b"".join(i.numpy().tobytes() for i in images)).hexdigest()
    return Images(images[0], labels[0], images[1], labels[1], digest)


@dataclass(frozen=True)
class Dataset:
    """How to read a data set, the shape of its images and how many there are: known before anything is read.

    ``accuracy``: what a classifier of it should reach, by the recipe that judges are trained by. A report warns where
    one is far below. None: nothing is stated.
    """

    read: Callable[[Path], Images]
    channels: int = 1
    side: int = 28
    train: int = 60_000
    test: int = 10_000
    classes: int = 10
    accuracy: float | None = None


DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(mnist, accuracy=0.99),
    "fashion_mnist": Dataset(fashion_mnist, accuracy=0.9),
    "kmnist": Dataset(kmnist, accuracy=0.95),
    "qmnist": Dataset(qmnist, test=60_000, accuracy=0.99),
    "cifar10": Dataset(cifar10, channels=3, side=32, train=50_000, accuracy=0.7),
}


def load(name: str, root: Path | None = None) -> Images:
    """The named data set from ``root`` (default: ``data/`` of the checkout or of the working directory).

    :raises UserError: if files are missing (and cannot be downloaded) or corrupt, naming file and hash.
    """
    return DATASETS[name].read(root or DATA)
