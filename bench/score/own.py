"""The classifier of a data set without pinned judges: trained once for a folder, by the first judge's recipe."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from bench.images.datasets import Images
from bench.score import classifier
from bench.score.kept import Progress
from bench.score.learning import Step
from bench.store.store import Store

LOOK_S = 1.0
"""Seconds between two looks at whether another process is done."""


def path_of(dataset: str, store: Store) -> Path:
    """Where it is kept."""
    return store.path("classifiers", dataset, ".safetensors")


def training(dataset: str, images: Images, store: Store, device: torch.device) -> Generator[Progress, None, None]:
    """Train it on ``device`` if there is none of these images yet, under a lock, and say how far it is."""
    lock = FileLock(store.path("locks", f"classifier-{dataset}", ".lock"), thread_local=False)
    while True:
        if _there(dataset, images, store):
            return
        try:
            lock.acquire(timeout=LOOK_S)
            break
        except Timeout:
            yield Progress(f"waiting for the classifier of {dataset}, which another process trains", 0)
    try:
        if not _there(dataset, images, store):
            yield from _train(dataset, images, store, device)
    finally:
        lock.release()


def _train(dataset: str, images: Images, store: Store, device: torch.device) -> Generator[Progress, None, None]:
    what = f"training the classifier of {dataset}"
    yield Progress(what, 0)
    for event in classifier.train(images, device=device):
        if isinstance(event, Step):
            yield Progress(what, (event.epoch - 1 + event.share) / event.of)
            continue
        epoch, network = event
        yield Progress(what, epoch.epoch / classifier.RECIPE.epochs)
    about = {"dataset": dataset, "dataset_sha256": images.sha256, "accuracy": f"{epoch.accuracy:.4f}"}
    classifier.save(network, path_of(dataset, store), about)


def _there(dataset: str, images: Images, store: Store) -> bool:
    """Whether it is kept, whole, and of these images."""
    path = path_of(dataset, store)
    if not path.is_file() or store.cut_short("classifiers", dataset):
        return False
    return classifier.about(path).get("dataset_sha256") == images.sha256
