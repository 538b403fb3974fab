"""Data sets: what each row says, and what is read from made-up files.

Sets whose files are pinned by hash have no made-up files: any other bytes are refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.gate.kinds import Check, fingerprint
from bench.images import datasets, readers
from bench.images.idx import CANONICAL
from ddpm.spec import Variant

COUNTS = (30, 12)
"""Made-up images to train on, and to measure with."""


def rows() -> Iterable[tuple[str, Check]]:
    """What every row says of its images, and the images and labels of made-up files."""
    splits = [str(Variant("emnist", (("split", split),))) for split in readers.SPLITS]
    for name in (*datasets.DATASETS, *splits):
        yield f"dataset {name}", Check("tables", partial(_said, name))
    for name in FILES:
        yield f"dataset read: {name}", Check("vectors", partial(_read, name))


def _said(name: str, _: Any) -> np.ndarray:
    variant = Variant.of(name)
    row = datasets.DATASETS[variant.name].with_options(dict(variant.options))
    said = (row.channels, row.side, row.train, row.test, row.classes, row.accuracy or 0)
    return np.array(said, dtype=float)


def _read(name: str, _: Any) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        found = datasets.load(FILES[name](root, name), root)
    parts = (found.train, found.train_labels, found.test, found.test_labels)
    return np.concatenate([fingerprint(part.numpy()) for part in parts])


def _bytes(key: int, *shape: int, below: int = 256) -> np.ndarray:
    """Numbers from 0, the same wherever they are drawn; the largest is among them."""
    drawn = np.random.Generator(np.random.Philox(key=key)).integers(below, size=shape, dtype=np.uint8)
    drawn.flat[0] = below - 1
    return drawn


def _idx(root: Path, name: str, files: tuple[str, ...] = CANONICAL, first: int = 0, columns: int = 0) -> str:
    """Four IDX files, with labels from ``first``; some have columns of ints beside them."""
    classes = datasets.row(name).classes
    folder = root / Variant.of(name).name
    folder.mkdir()
    for i, file in enumerate(files):
        count = COUNTS[i // 2]
        array = _bytes(i, count, 28, 28) if i % 2 == 0 else _bytes(i, count, below=classes) + np.uint8(first)
        if columns and i % 2:
            array = (array[:, None].astype(int) + np.arange(columns)).astype(">i4")
        sizes = np.array(array.shape, dtype=">i4").tobytes()
        kind = 12 if array.dtype.itemsize == 4 else 8
        (folder / file).write_bytes(bytes([0, 0, kind, array.ndim]) + sizes + array.tobytes())
    return name


def _emnist(root: Path, name: str) -> str:
    split = dict(Variant.of(name).options)["split"]
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = tuple(f"emnist-{split}-{part}-{kind}" for part in ("train", "test") for kind in kinds)
    return _idx(root, name, files, first=1 if split == "letters" else 0)


def _medmnist(root: Path, name: str) -> str:
    row = datasets.row(name)
    arrays = {}
    for key, (part, count) in enumerate(zip(("train", "test"), COUNTS, strict=True)):
        arrays[f"{part}_images"] = _bytes(key, count, 28, 28, *([3] if row.channels == 3 else []))
        arrays[f"{part}_labels"] = _bytes(10 + key, count, 1, below=row.classes or 2)
    np.savez(root / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return name


def _folder(root: Path, name: str, **options: Any) -> str:
    """Pictures in colour of two classes, wider than they are high."""
    for i in range(50):
        path = root / "own" / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_bytes(i, 10, 12, 3)).save(path)
    return datasets.named({"folder": {"path": str(root / "own"), "held_out": 0.4, **options}})


FILES: dict[str, Callable[[Path, str], str]] = {
    "kmnist": _idx,
    "qmnist": partial(_idx, files=readers.QMNIST.files, columns=8),
    'emnist(split="letters")': _emnist,
    'emnist(split="byclass")': _emnist,
    "octmnist": _medmnist,
    "chestmnist": _medmnist,
    "bloodmnist": _medmnist,
    "folder, cropped": partial(_folder, side=8, fit="crop"),
    "folder, padded": partial(_folder, side=16, fit="pad", background=255),
    "folder, one channel": partial(_folder, side=12, fit="pad", channels=1),
}
"""What is read → a function that writes its files into a folder, and returns the data set's name."""
