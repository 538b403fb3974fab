"""Training a judge once more by its recipe, or all judges of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
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

MOMENTS = ".moments.safetensors"
"""The ending of the file beside a judge's weights."""


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
    out.with_suffix(MOMENTS).unlink(missing_ok=True)  # those of other weights, should this be stopped here
    sha256 = classifier.save(network, out, about)
    moments = yield from _looked_at(network, images, where, out.with_suffix(MOMENTS))
    yield Retrained(sha256, moments, _is_pinned(dataset, name, network))


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
    hashes, shape = dict[str, tuple[str, str]](), (images.shape[0], images.classes)
    for name, judge in JUDGES.items():
        if judge.recipe is None:
            continue
        path = folder / f"{dataset}-{name}.safetensors"
        if not path.is_file():
            yield from retrain(dataset, path, judge=name, data_dir=data_dir, device=device)
        sha256, beside = _sha256(path), path.with_suffix(MOMENTS)
        if not beside.is_file():  # it was stopped in between
            network = eyes.load(Pinned(name, dataset, judge, sha256, "", folder), *shape)
            yield from _looked_at(network, images, where, beside)
        hashes[name] = sha256, _sha256(beside)
    for name, judge in JUDGES.items():
        if judge.recipe is None:
            members = [(Pinned(k, dataset, JUDGES[k], *hashes[k], folder), weight) for k, weight in judge.members]
            together = Together([(eyes.load(member, *shape), weight) for member, weight in members]).eval()
            moments = yield from _looked_at(together, images, where, folder / f"{dataset}-{name}{MOMENTS}")
            hashes[name] = hash_of(members), moments
    yield from (Member(name, *pair) for name, pair in hashes.items())
    for name, eye in eyes.views_of(dataset, images.shape).items():
        shipped = yield from eyes.looked_at(eye, images)
        yield Member(name, "", kept.write(folder / eye.shipped.name, shipped))


def _looked_at(
    network: JudgeNetwork, images: datasets.Images, device: torch.device, out: Path
) -> Generator[Progress, None, str]:
    """Write the moments of the training images as a judge sees them; the file's hash."""
    shipped = yield from eyes.looked_at(eyes.of_network(network, "", device, None), images)
    return kept.write(out, shipped)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_pinned(dataset: str, name: str, network: JudgeNetwork) -> bool | None:
    judges = judges_of(dataset)
    if name not in judges:
        return None
    pinned = eyes.load(judges[name]).state_dict()
    return all(value.cpu().equal(pinned[key]) for key, value in network.state_dict().items())
