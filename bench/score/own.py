"""The judge of a data set without pinned ones: trained once for a results folder.

It is a classifier, by the first judge's recipe. Of images without labels it is :mod:`bench.score.turns`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from bench.images.datasets import Images
from bench.rows import identity
from bench.score import classifier, turns
from bench.score.kept import Progress
from bench.score.learning import JudgeNetwork, Recipe, Step
from bench.store.store import Store
from ddpm.spec import parse

STEPS = 1000
"""Steps that it is trained for at least: a small data set is gone through more often than a large one."""
BATCH = 128
LOOK_S = 1.0
"""Seconds between two looks at whether another process is done."""


def path_of(dataset: str, store: Store) -> Path:
    """Where it is kept."""
    return store.path("classifiers", file_of(dataset), ".safetensors")


def file_of(dataset: str) -> str:
    """What its file is called: the data set's name, with a hash of its options where it has any."""
    text = identity("dataset", dataset)
    name = parse(text).name
    return name if text == name else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def recipe_of(images: Images) -> Recipe:
    """How it is trained."""
    return classifier.RECIPE if images.classes else turns.RECIPE


def load(dataset: str, images: Images, store: Store, sha256: str) -> JudgeNetwork:
    """The network that was trained."""
    channels, _ = images.shape
    return classifier.load(path_of(dataset, store), sha256, channels, recipe_of(images).network, images.classes)


def training(dataset: str, images: Images, store: Store, device: torch.device) -> Generator[Progress, None, None]:
    """Train it on ``device`` if there is none of these images yet, under a lock, and say how far it is."""
    lock = FileLock(store.path("locks", f"classifier-{file_of(dataset)}", ".lock"), thread_local=False)
    while True:
        if _there(dataset, images, store):
            return
        try:
            lock.acquire(timeout=LOOK_S)
            break
        except Timeout:
            yield Progress(f"waiting for the classifier of {parse(dataset).name}, which another process trains", 0)
    try:
        if not _there(dataset, images, store):
            yield from _train(dataset, images, store, device)
    finally:
        lock.release()


def _train(dataset: str, images: Images, store: Store, device: torch.device) -> Generator[Progress, None, None]:
    what = f"training the {'classifier' if images.classes else 'judge'} of {parse(dataset).name}"
    yield Progress(what, 0)
    recipe = recipe_of(images)
    epochs = max(recipe.epochs, -(-STEPS // max(1, len(images.train) // BATCH)))
    for event in classifier.train(images, recipe=recipe, epochs=epochs, device=device):
        if isinstance(event, Step):
            yield Progress(what, (event.epoch - 1 + event.share) / event.of)
            continue
        epoch, network = event
        yield Progress(what, epoch.epoch / epochs)
    about = {"dataset": identity("dataset", dataset), "dataset_sha256": images.sha256}
    about |= {"accuracy": f"{epoch.accuracy:.4f}"} if images.classes else {}
    classifier.save(network, path_of(dataset, store), about)


def _there(dataset: str, images: Images, store: Store) -> bool:
    """Whether it is kept, whole, and of these images."""
    path = path_of(dataset, store)
    if not path.is_file() or store.cut_short("classifiers", file_of(dataset)):
        return False
    return classifier.about(path).get("dataset_sha256") == images.sha256
