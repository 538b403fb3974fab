"""Moments of the training images' features, and the files that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from bench import files
from bench.errors import UserError
from bench.score.distances import Moments
from bench.score.running import Gathered

PART = 250


class Progress(NamedTuple):
    """What scoring is getting ready for, and which share of it is done."""

    what: str
    share: float


class Shipped(NamedTuple):
    """Moments that come with the package, the data set that they are of, and what was fitted to it."""

    moments: Moments
    dataset_sha256: str
    fitted: Tensor


def gathered(see: Callable[[Tensor], Tensor], images: Tensor, what: str) -> Generator[Progress, None, Moments]:
    """The moments of what is seen in ``images``, a part at a time."""
    found: Gathered | None = None
    for start in range(0, len(images), PART):
        rows = see(images[start : start + PART])
        found = found or Gathered(rows.shape[1])
        found.add(rows)
        yield Progress(what, (start + len(rows)) / len(images))
    if found is None:
        raise ValueError("no images")
    return found.moments


def packed(moments: Moments, fitted: Tensor) -> dict[str, Tensor]:
    """Moments as tensors: of the covariance, which is symmetric, the upper half."""
    half = moments.covariance[np.triu_indices(len(moments.mean))]
    return {"mean": torch.from_numpy(moments.mean), "covariance": torch.from_numpy(half), "fitted": fitted}


def write(path: Path, shipped: Shipped) -> str:
    """Write them, whole or not at all; the file's sha256."""
    content = save(packed(shipped.moments, shipped.fitted), {"dataset_sha256": shipped.dataset_sha256})
    files.write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read(path: Path, sha256: str) -> Shipped:
    """The moments in a file of the package.

    :raises UserError: if it is missing or is not the one with this hash.
    """
    if not path.is_file():
        raise UserError(f"missing moments: no {path}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise UserError(f"corrupt moments: {path} has sha256 {found}, expected {sha256}")
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
    return Shipped(unpacked(tensors), about.get("dataset_sha256", ""), tensors["fitted"])


def unpacked(tensors: dict[str, Tensor]) -> Moments:
    """The moments in tensors as :func:`packed` writes them."""
    mean = tensors["mean"].numpy()
    covariance = np.zeros((len(mean), len(mean)))
    covariance[np.triu_indices(len(mean))] = tensors["covariance"].numpy()
    return Moments(mean, covariance + np.triu(covariance, 1).T)
