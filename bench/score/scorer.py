"""From images to numbers: the data set's classifier, the reference, and the floor and ceiling at the same N."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.images.datasets import Images, to_uint8
from bench.machine.sources import code_hash
from bench.rows import installed
from bench.score import classifier, metrics
from bench.store.store import Store


class Scorer:
    """Scores uint8 images against a data set's training images.

    The reference's moments and subset are kept in the store, so that only the first process computes them; they are
    made again when the code that computes metrics has changed.
    """

    def __init__(self, dataset: str, images: Images, store: Store, device: torch.device) -> None:
        self.images, self.store, self.device = images, store, device
        path, self.classifier = classifier_of(dataset, images, store)
        self.network = classifier.load(path, self.classifier, images.shape[0])
        self.name = classifier.name_of(dataset, self.classifier)
        self.dataset_sha256 = images.sha256
        self.code = code_hash(metrics.__name__)
        self.reference = self._reference()

    def _reference(self) -> metrics.Reference:
        key, about = self._key("reference"), {"code": self.code}
        kept = self.store.load_tensors("scoring", key)
        if kept is None or kept[1] != about:
            reference = metrics.Reference(classifier.extract(self.network, self.images.train, self.device).features)
            self.store.save_tensors("scoring", key, reference.state(), about)
            return reference
        return metrics.Reference.from_state(kept[0])

    def _key(self, *parts: object) -> str:
        text = " ".join(map(str, (self.classifier, self.dataset_sha256, *parts)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def score(self, images: Tensor, asked: Tensor | None = None, only: str | None = None) -> dict[str, float]:
        """Every metric of uint8 ``images`` (N, C, H, W), or one; ``asked`` (N,) are the classes they were to be of."""
        seen = classifier.extract(self.network, images, self.device)
        return metrics.score(seen._replace(asked=asked), self.reference, only)

    def stream(self, parts: Iterable[Tensor]) -> metrics.Running:
        """What is seen in images that come in parts, uint8 (n, C, H, W) each: any number, in the memory of one part."""
        seen = metrics.Running(classifier.FEATURES)
        for part in parts:
            seen.add(classifier.extract(self.network, part, self.device))
        return seen

    def bounds(self, n: int) -> dict[str, dict[str, float]]:
        """Every metric of n test images drawn at random (``floor``) and of n images of pure noise (``ceiling``)."""
        key = self._key("bounds", n)
        record = self.store.read("references", key)
        code = " ".join(filter(None, (self.code, installed())))  # other packages' metrics are among them
        if record is None or record.get("code") != code:
            random = torch.Generator().manual_seed(0)
            drawn = self.images.test[torch.randperm(len(self.images.test), generator=random)[:n]]
            noise = to_uint8(torch.randn(drawn.shape, generator=random))
            record = {
                "classifier": self.classifier,
                "dataset_sha256": self.dataset_sha256,
                "code": code,
                "n": n,
                "floor": self.score(drawn),
                "ceiling": self.score(noise),
            }
            self.store.write("references", key, record)
        return {"floor": record["floor"], "ceiling": record["ceiling"]}


def pinned(dataset: str) -> str | None:
    """The hash of the classifier that scores this data set, where one is pinned."""
    return classifier.PINNED[dataset][1] if dataset in classifier.PINNED else None


def classifier_of(dataset: str, images: Images, store: Store) -> tuple[Path, str]:
    """The weights that score this data set and their hash, trained by the recipe if none are pinned or kept."""
    if dataset in classifier.PINNED:
        return classifier.PINNED[dataset]
    path = store.path("classifiers", dataset, ".safetensors")
    if not path.is_file() or store.cut_short("classifiers", dataset):
        *_, (_, network) = classifier.train(images)
        classifier.save(network, path, {"dataset": dataset, "dataset_sha256": images.sha256})
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def provenance(scorer: Scorer) -> dict[str, Any]:
    """What two scores must share to be comparable (with N)."""
    return {"classifier": scorer.classifier, "dataset_sha256": scorer.dataset_sha256}
