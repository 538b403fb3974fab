"""Training a judge once more by its recipe, or all judges of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from bench import files
from bench.errors import UserError, unknown
from bench.images import datasets
from bench.score import classifier, eyes, kept
from bench.score.judges import JUDGES, Pinned, hash_of, judges_of
from bench.score.kept import Progress
from bench.score.learning import JudgeNetwork
from bench.score.together import Together
from bench.text import listing


class Member(NamedTuple):
    """A judge or view of a new panel: the hashes of its weights ("" for a view) and of its moments."""

    name: str
    sha256: str
    moments: str


class Retrained(NamedTuple):
    """The hashes of the two files, and whether the weights are the pinned judge's (None: none is pinned)."""

    sha256: str
    moments: str
    same: bool | None


def retrain(
    dataset: str,
    out: Path,
    *,
    judge: str | None = None,
    data_dir: Path | None = None,
    device: str | torch.device = "cpu",
    epochs: int | None = None,
) -> Iterator[classifier.Epoch | Progress | Retrained]:
    """Train a judge and write it to ``out``, yielding each epoch and at last what was written.

    Beside it goes ``<out>.moments.safetensors``: the moments of the training images, which samples are compared with.

    :param judge: a name in :data:`bench.score.judges.JUDGES`; by default the first one, ``classifier``.
    :param epochs: the recipe's number if None.
    :raises UserError: for an unknown data set or judge, or a file that cannot be written.
    """
    dataset = datasets.named(dataset)
    name = judge or next(iter(JUDGES))
    if name not in JUDGES:
        raise unknown("judge", name, JUDGES)
    images = datasets.load(dataset, data_dir)
    if out.is_dir():
        raise UserError(f"--out names a folder: {out}")
    files.check_writable(out.parent)  # now, not after minutes of training
    row, where = JUDGES[name], torch.device(device)
    if row.recipe is None:
        raise UserError(f"judge '{name}' is made of others: retrain {listing([member for member, _ in row.members])}")
    for event in classifier.train(images, recipe=row.recipe(), epochs=epochs, device=where):
        if isinstance(event, tuple) and isinstance(event[0], classifier.Epoch):
            progress, network = event
            yield progress
    about = {"dataset": dataset, "dataset_sha256": images.sha256, "accuracy": f"{progress.accuracy:.4f}"}
    about |= {"epochs": str(epochs)} if epochs else {}
    sha256 = classifier.save(network, out, about)
    looking = eyes.looked_at(eyes.of_network(network, sha256, where, None), images)
    moments = yield from looking
    yield Retrained(
        sha256, kept.write(out.with_suffix(".moments.safetensors"), moments), _is_pinned(dataset, name, network)
    )


def retrain_panel(
    dataset: str, folder: Path, *, data_dir: Path | None = None, device: str | torch.device = "cpu"
) -> Iterator[classifier.Epoch | Progress | Retrained | Member]:
    """Train the judges of a data set into ``folder``, and write the moments of all of them and of the views there.

    Judges whose weights lie there already are not trained again. What :data:`bench.score.judges.PANELS` and
    :data:`bench.score.views.VIEWS` must say of each comes last, a :class:`Member` each.

    :raises UserError: as :func:`retrain` does.
    """
    dataset, where = datasets.named(dataset), torch.device(device)
    images = datasets.load(dataset, data_dir)
    hashes: dict[str, tuple[str, str]] = {}
    for name, judge in JUDGES.items():
        path = folder / f"{dataset}-{name}.safetensors"
        if judge.recipe is not None and not path.is_file():
            yield from retrain(dataset, path, judge=name, data_dir=data_dir, device=device)
        if judge.recipe is not None:
            hashes[name] = _sha256(path), _sha256(path.with_suffix(".moments.safetensors"))
    shape = images.shape[0], images.classes
    for name, judge in JUDGES.items():
        if judge.recipe is None:
            members = [(Pinned(k, dataset, JUDGES[k], *hashes[k], folder), weight) for k, weight in judge.members]
            network = Together([(eyes.load(member, *shape), weight) for member, weight in members]).eval()
            shipped = yield from eyes.looked_at(eyes.of_network(network, "", where, None), images)
            moments = kept.write(folder / f"{dataset}-{name}.moments.safetensors", shipped)
            hashes[name] = hash_of(members), moments
    yield from (Member(name, *pair) for name, pair in hashes.items())
    for name, eye in eyes.views_of(dataset).items():
        shipped = yield from eyes.looked_at(eye, images)
        yield Member(name, "", kept.write(folder / eye.shipped.name, shipped))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_pinned(dataset: str, name: str, network: JudgeNetwork) -> bool | None:
    judges = judges_of(dataset)
    if name not in judges:
        return None
    pinned = eyes.load(judges[name]).state_dict()
    return all(value.cpu().equal(pinned[key]) for key, value in network.state_dict().items())
