"""Data sets in IDX files (MNIST's format), plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.errors import UserError
from bench.images.arrays import in_words
from bench.images.dataset import Images

SYSTEM = Path("/usr/share/datasets")
"""Where Debian's packages of data sets put them."""
CANONICAL = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Idx:
    """Four IDX files in the order train images, train labels, test images, test labels.

    ``sha256`` is of the decompressed files. ``package``: the Debian package that has them, and its folder in
    :data:`SYSTEM`. ``first``: the number of the first class. ``turned``: whether rows and columns are swapped in them.
    """

    folder: str
    torchvision: str
    files: tuple[str, str, str, str] = CANONICAL
    sha256: tuple[str, ...] = ()
    variants: tuple[dict[str, Any], ...] = ({"train": True}, {"train": False})
    package: tuple[str, str] | None = None
    classes: int = 10
    first: int = 0
    turned: bool = False


def find(spec: Idx, name: str, root: Path) -> Path | None:
    """The file, plain or gzipped: in ``root/<set>``, in torchvision's layout, in ``root`` itself, or Debian's.

    Not in ``root`` itself if neither its name nor a hash tells it from another set's.
    """
    folders = [root / spec.folder, root / spec.torchvision / "raw"]
    if spec.sha256 or spec.files != CANONICAL:
        folders.append(root)
    if spec.package:
        folders.append(SYSTEM / spec.package[1])
    paths = [folder / (name + end) for folder in folders for end in ("", ".gz")]
    return next((path for path in paths if path.is_file()), None)


def load(spec: Idx, root: Path) -> Images:
    """The images in the four files, downloaded by torchvision where there are none.

    :raises UserError: naming the file that is missing, or that is not what it should be.
    """
    if any(find(spec, name, root) is None for name in spec.files):
        missing = next(name for name in spec.files if find(spec, name, root) is None)
        how = f", or run `apt-get install {spec.package[0]}`" if spec.package else ""
        download(spec.torchvision, root, spec.variants, f"{missing}(.gz) in {root / spec.folder}", how)
    arrays, digest = [], hashlib.sha256()
    for i, name in enumerate(spec.files):
        path = find(spec, name, root)
        if path is None:
            raise UserError(f"missing data: no {name}(.gz) in {root / spec.folder}")
        raw = _content(path)
        found = hashlib.sha256(raw).hexdigest()
        if spec.sha256 and found != spec.sha256[i]:
            raise UserError(f"corrupt data: {path} has sha256 {found} (decompressed), expected {spec.sha256[i]}")
        digest.update(found.encode())
        arrays.append(_read(path, raw))
    for array, name in zip(arrays, spec.files, strict=True):
        picture = array.ndim == 3 and array.shape[1:] == (28, 28) and array.dtype == np.uint8
        if not (picture if name in spec.files[::2] else array.ndim in (1, 2) and array.size):
            shape = in_words(array.shape)
            raise UserError(f"corrupt data: {find(spec, name, root)} holds {shape} of {array.dtype.name}")
    upright = [a.transpose(0, 2, 1) if spec.turned else a for a in arrays[::2]]
    images = [_tensor(np.ascontiguousarray(a))[:, None] for a in upright]
    labels = [torch.from_numpy(a.reshape(len(a), -1)[:, 0].astype(np.int64)) - spec.first for a in arrays[1::2]]
    last = spec.first + spec.classes - 1
    for a, b, name, label_name in zip(images, labels, spec.files[::2], spec.files[1::2], strict=True):
        if len(a) != len(b):
            raise UserError(f"corrupt data: {name} has {len(a)} images and {len(b)} labels")
        if not 0 <= int(b.min()) <= int(b.max()) < spec.classes:
            raise UserError(f"corrupt data: the labels in {label_name} are not all between {spec.first} and {last}")
    return Images(images[0], labels[0], images[1], labels[1], digest.hexdigest(), spec.classes)


def reader(spec: Idx) -> Callable[[Path], Images]:
    """A function that reads these files from a folder."""
    return lambda root: load(spec, root)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"corrupt data: {path} cannot be read ({error})") from error


def _tensor(array: np.ndarray) -> torch.Tensor:
    """The same memory as a tensor; nothing writes to images, so that they may lie in bytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _read(path: Path, raw: bytes) -> np.ndarray:
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


def download(name: str, root: Path, variants: tuple[dict[str, Any], ...], missing: str, how: str = "") -> list[Any]:
    """The torchvision data sets of that class, fetched where they are not on disk.

    :param how: another way to get them, which the message also names.
    :raises UserError: if they cannot be fetched, saying where they are looked for.
    """
    from torchvision import datasets

    try:
        return [getattr(datasets, name)(str(root), download=True, **kind) for kind in variants]
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"missing data: no {missing}, and downloading {name} failed: {reason}; put the files there{how}"
        ) from error
