"""Training the classifier that scores samples once more, by its recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench import files
from bench.errors import UserError
from bench.images import datasets
from bench.rows import known
from bench.score import classifier


class Retrained(NamedTuple):
    """The file's sha256, and whether its weights are the pinned classifier's (None: none is pinned)."""

    sha256: str
    same: bool | None


def retrain(
    dataset: str, out: Path, *, data_dir: Path | None = None, epochs: int | None = None
) -> Iterator[classifier.Epoch | Retrained]:
    """Train a classifier and write it to ``out``, yielding each epoch and at last what was written.

    :param epochs: the recipe's number if None.
    :raises UserError: for an unknown data set, or a file that cannot be written.
    """
    known("dataset", dataset)
    images = datasets.load(dataset, data_dir)
    if out.is_dir():
        raise UserError(f"--out names a folder: {out}")
    files.check_writable(out.parent)  # now, not after minutes of training
    options: dict[str, Any] = {"epochs": epochs} if epochs else {}
    for progress, trained in classifier.train(images, **options):
        network = trained
        yield progress
    about = {"dataset": dataset, "dataset_sha256": images.sha256, "accuracy": f"{progress.accuracy:.4f}"}
    yield Retrained(classifier.save(network, out, about), _is_pinned(dataset, network))


def _is_pinned(dataset: str, network: classifier.Network) -> bool | None:
    if dataset not in classifier.PINNED:
        return None
    pinned = classifier.load(*classifier.PINNED[dataset]).state_dict()
    return all(value.equal(pinned[name]) for name, value in network.state_dict().items())
