"""From images to numbers: the data set's classifier, the reference, and the floor and ceiling at the same N."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from bench.images.datasets import Images, to_uint8
from bench.machine.sources import code_hash
from bench.rows import installed
from bench.score import classifier, metrics, running
from bench.score.reference import Reference
from bench.store.records import Bounds, Provenance, ReferenceRecord
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures


class Scorer:
    """Scores uint8 images against a data set's training images.

    The reference's moments and subset are kept in the store, so that only the first process computes them; they are
    made again when the code that computes metrics has changed.
    """

    def __init__(self, dataset: str, images: Images, store: Store, device: torch.device) -> None:
        self.images, self.store, self.device = images, store, device
        path, self.classifier = classifier_of(dataset, images, store, device)
        self.network = classifier.load(path, self.classifier, images.shape[0])
        self.name = classifier.name_of(dataset, self.classifier)
        self.dataset_sha256 = images.sha256
        self.code = code_hash(metrics.__name__)
        self.reference = self._reference()

    def _reference(self) -> Reference:
        text = f"{self.classifier} {self.dataset_sha256} reference"
        key, about = hashlib.sha256(text.encode()).hexdigest()[:16], ReferenceFeatures(code=self.code)
        kept = self.store.load_tensors(ReferenceFeatures, key)
        if kept is None or kept[1] != about:
            reference = Reference(classifier.extract(self.network, self.images.train, self.device).features)
            self.store.save_tensors(key, reference.state(), about)
            return reference
        return Reference.from_state(kept[0])

    @property
    def provenance(self) -> Provenance:
        """What two scores must share to be comparable (with N)."""
        return Provenance(classifier=self.classifier, dataset_sha256=self.dataset_sha256)

    def score(self, images: Tensor, asked: Tensor | None = None, only: str | None = None) -> dict[str, float]:
        """Every metric of uint8 ``images`` (N, C, H, W), or one; ``asked`` (N,) are the classes they were to be of."""
        seen = classifier.extract(self.network, images, self.device)
        return metrics.score(seen._replace(asked=asked), self.reference, only)

    def stream(self, parts: Iterable[Tensor]) -> running.Running:
        """What is seen in images that come in parts, uint8 (n, C, H, W) each: any number, in the memory of one part."""
        seen = running.Running(classifier.FEATURES)
        for part in parts:
            seen.add(classifier.extract(self.network, part, self.device))
        return seen

    def bounds(self, n: int) -> Bounds:
        """Every metric of n test images drawn at random (``floor``) and of n images of pure noise (``ceiling``)."""
        key = ReferenceRecord.key_of(self.classifier, self.dataset_sha256, n)
        code = " ".join(filter(None, (self.code, installed())))  # other packages' metrics are among them
        record = self.store.read(ReferenceRecord, key)
        if record is None or record.code != code:
            random = torch.Generator().manual_seed(0)
            drawn = self.images.test[torch.randperm(len(self.images.test), generator=random)[:n]]
            noise = to_uint8(torch.randn(drawn.shape, generator=random))
            record = ReferenceRecord(
                classifier=self.classifier,
                dataset_sha256=self.dataset_sha256,
                code=code,
                n=n,
                floor=self.score(drawn),
                ceiling=self.score(noise),
            )
            self.store.write(key, record)
        return record.bounds


def pinned(dataset: str) -> str | None:
    """The hash of the classifier that scores this data set, where one is pinned."""
    return classifier.PINNED[dataset][1] if dataset in classifier.PINNED else None


def classifier_of(dataset: str, images: Images, store: Store, device: torch.device) -> tuple[Path, str]:
    """The weights that score this data set and their hash; if none are pinned or kept, trained on ``device``."""
    if dataset in classifier.PINNED:
        return classifier.PINNED[dataset]
    path = store.path("classifiers", dataset, ".safetensors")
    if not path.is_file() or store.cut_short("classifiers", dataset):
        *_, (_, network) = classifier.train(images, device=device)
        classifier.save(network, path, {"dataset": dataset, "dataset_sha256": images.sha256})
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
