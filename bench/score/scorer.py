"""From images to numbers: the data set's judges, the reference, and the floor and ceiling at the same N."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from bench.images.datasets import Images, to_uint8
from bench.machine.sources import code_hash
from bench.rows import entries, installed
from bench.score import classifier, eyes, metrics, own, running
from bench.score.classifier import Features
from bench.score.distances import mean_over_pairs
from bench.score.judges import column, headline, judges_of, reader
from bench.score.kept import Progress, Shipped
from bench.score.reference import SUBSET, Reference, in_order
from bench.score.together import Together
from bench.store.records import Bounds, Provenance, ReferenceRecord
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures

T = TypeVar("T")
TELL_S = 1.0
"""Seconds between two words on how far something is."""


class Scorer:
    """Scores uint8 images against a data set's training images.

    The moments of the training images come with the package. Where they do not, they are worked out once and kept in
    the store; they are made again when the code that computes metrics has changed. :func:`preparing` does all that is
    slow before, and says how far it is.

    :param judge: the judge that ``fid`` is by, if it is not the data set's headline judge.
    """

    def __init__(
        self, dataset: str, images: Images, store: Store, device: torch.device, judge: str | None = None
    ) -> None:
        deque(self._start(dataset, images, store, device, judge), maxlen=0)

    @classmethod
    def made(
        cls, dataset: str, images: Images, store: Store, device: torch.device
    ) -> Generator[Progress, None, Scorer]:
        """One that is made while somebody watches."""
        new = cls.__new__(cls)
        yield from new._start(dataset, images, store, device, None)
        return new

    def _start(
        self, dataset: str, images: Images, store: Store, device: torch.device, judge: str | None
    ) -> Iterator[Progress]:
        self.images, self.store, self.device = images, store, device
        self.dataset_sha256 = images.sha256
        self.code = code_hash(metrics.__name__)
        panel, shape = judges_of(dataset), (images.shape[0], images.classes)
        row = panel[judge] if judge else headline(dataset)
        if row is None:
            yield from own.training(dataset, images, store, device)
            path = own.path_of(dataset, store)
            self.classifier = hashlib.sha256(path.read_bytes()).hexdigest()
            self.network = own.load(dataset, images, store, self.classifier)
        else:
            path, self.classifier, self.network = row.path, row.sha256, eyes.load(row, *shape)
        self.accuracy = _accuracy(path)
        self.name = classifier.name_of(dataset, self.classifier)
        others = {column(k): other for k, other in panel.items() if other != row}
        self.panel = {k: other.sha256[:12] for k, other in others.items()}
        self._beside = {
            k: eyes.of_network(eyes.load(other, *shape), other.sha256, device, other) for k, other in others.items()
        } | eyes.views_of(dataset, images.shape)
        self._members = [column(member.name) for member, _ in row.members] if row else []
        reads = reader(dataset) if row and not row.members else None
        self._reader = eyes.load(reads, *shape) if reads and reads != row else None
        self._reads = column(reads.name) if reads else None
        mine = eyes.of_network(self.network, self.classifier, device, row)
        known = yield from eyes.moments(mine, images, store, self.code)
        beside: dict[str, Shipped] = {}
        for k, eye in self._beside.items():
            beside[k] = yield from eyes.moments(eye, images, store, self.code)
        self._fitted = {k: shipped.fitted for k, shipped in beside.items()}
        self._own = column(row.name) if row else None
        self.reference = KeptReference(self, known, beside)

    @property
    def chance(self) -> float | None:
        """The share of test images of the most frequent class: what a classifier gets right that names no other."""
        labels = self.images.test_labels
        return float(labels.bincount().max()) / len(labels) if self.images.classes else None

    @property
    def provenance(self) -> Provenance:
        """What two scores must share to be comparable (with N)."""
        return Provenance(classifier=self.classifier, dataset_sha256=self.dataset_sha256)

    def see(self, images: Tensor, asked: Tensor | None = None, only: str | None = None) -> Features:
        """What the judges and views see in uint8 ``images`` (N, C, H, W).

        :param only: the one metric that is wanted, so that the others need not look.
        """
        seen = classifier.extract(self.network, images, self.device)
        beside: dict[str, Tensor] = {} if only is None or only != self._own else {only: seen.features}
        if only is None and isinstance(self.network, Together):  # one pass gives what its members see, too
            beside = dict(zip(self._members, self.network.apart(seen.features), strict=True))
        if self._reader is not None and (only is None or entries("metric")[only].reads):
            read = classifier.extract(self._reader, images, self.device)
            seen = seen._replace(logits=read.logits)
            beside |= {k: read.features for k in [self._reads] if k and only is None}
        for k, eye in self._beside.items():
            if k not in beside and only in (None, k):
                beside[k] = eye.see(images, self._fitted[k])
        return seen._replace(asked=asked, beside=beside)

    def score(self, images: Tensor, asked: Tensor | None = None, only: str | None = None) -> dict[str, float]:
        """Every metric of uint8 ``images`` (N, C, H, W), or one; ``asked`` (N,) are the classes they were to be of."""
        return metrics.score(self.see(images, asked, only), self.reference, only)

    def stream(self, parts: Iterable[Tensor]) -> running.Running:
        """What is seen in images that come in parts, uint8 (n, C, H, W) each: any number, in the memory of one part."""
        seen = self.running()
        for part in parts:
            seen.add(self.see(part))
        return seen

    def running(self) -> running.Running:
        """What is kept of images that come in parts, of none so far."""
        beside = {k: len(self.reference.beside[k].mean) for k in self._beside}
        return running.Running(self.network.features, beside, self.network.classes)

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


class KeptReference(Reference):
    """A reference whose subset is looked at when it is asked for, as much of it as is used, and kept in the store."""

    def __init__(self, scorer: Scorer, known: Shipped, beside: dict[str, Shipped]) -> None:
        self.moments = known.moments
        self.beside = {k: shipped.moments for k, shipped in beside.items()}
        if scorer._own:
            self.beside[scorer._own] = known.moments
        self._scorer, self._about = scorer, ReferenceFeatures(code=scorer.code)
        self._name = eyes.key_of(scorer.classifier, scorer.images, "subset")
        self._size = min(SUBSET, len(scorer.images.train))

    @cached_property
    def _held(self) -> dict[str, Tensor]:
        found = self._scorer.store.load_tensors(ReferenceFeatures, self._name)
        return found[0] if found and found[1] == self._about else {}

    def reading(self, n: int = SUBSET) -> Iterator[Progress]:
        """Look at the first ``n`` of the subset, as far as that was not done, and say how far it is."""
        n, parts = min(n, self._size), [self._held["subset"]] if "subset" in self._held else []
        have = sum(map(len, parts))
        if have >= n:
            return
        scorer = self._scorer
        for index in in_order(len(scorer.images.train))[have:n].split(classifier.BATCH):
            parts.append(classifier.extract(scorer.network, scorer.images.train[index], scorer.device).features)
            have += len(index)
            yield Progress("looking at training images to compare with", have / n)
        self._keep(subset=torch.cat(parts))

    def rows(self, n: int) -> Tensor:
        """The features of the first ``n`` of the subset, or of all of it where it is smaller."""
        deque(self.reading(n), maxlen=0)
        return self._held["subset"][:n]

    @property
    def within(self) -> float:
        """The kernel's mean over pairs of the subset."""
        if "within" not in self._held:
            self._keep(within=torch.tensor(mean_over_pairs(self.subset), dtype=torch.float64))
        return float(self._held["within"])

    def _keep(self, **tensors: Tensor) -> None:
        self._held.update(tensors)
        self._scorer.store.save_tensors(self._name, self._held, self._about)


def preparing(
    dataset: str, images: Images, store: Store, device: torch.device, *, pairs: bool = True
) -> Generator[Progress, None, Scorer]:
    """A scorer, made with all that is slow; about once a second it says how far that is.

    :param pairs: also get ready for metrics of pairs, which ``fid`` is not.
    """
    return (yield from seldom(_preparing(dataset, images, store, device, pairs)))


def seldom(watched: Generator[Progress, None, T]) -> Generator[Progress, None, T]:
    """The same, saying how far it is about once a second."""
    told, before = "", 0.0
    while True:
        try:
            progress = next(watched)
        except StopIteration as end:
            found: T = end.value
            return found
        if progress.what != told or time.monotonic() - before > TELL_S:
            told, before = progress.what, time.monotonic()
            yield progress


def _preparing(
    dataset: str, images: Images, store: Store, device: torch.device, pairs: bool
) -> Generator[Progress, None, Scorer]:
    scorer = yield from Scorer.made(dataset, images, store, device)
    if pairs:
        yield from scorer.reference.reading()
    return scorer


def last(watched: Generator[Progress, None, T]) -> T:
    """What comes of something that nobody watches."""
    while True:
        try:
            next(watched)
        except StopIteration as end:
            found: T = end.value
            return found


def _accuracy(path: Path) -> float | None:
    """The share of test images that the judge in a file classifies correctly, as was found when it was trained."""
    with suppress(KeyError, ValueError):
        return float(classifier.about(path)["accuracy"])
    return None
