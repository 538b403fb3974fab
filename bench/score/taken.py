"""Scores of a source of images of any size, of each class where labels are known, and what may be wrong."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.images.conventions import CHANGES
from bench.images.source import MINIMUM, Source
from bench.score import classifier, metrics
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance
from bench.score.eyes import key_of
from bench.score.kept import Progress
from bench.score.running import Running
from bench.score.scorer import Scorer, last
from bench.store.records import Scores
from bench.store.tensors import ReferenceFeatures

STREAMED = 50_000
"""With more images than this, scores that compare pairs of them are left out, and the rest takes no more memory."""
TRIED = 500
"""Images that simple changes are tried on, spread over all of them."""
BETTER = 3
"""How many times smaller FID must be for a change to be worth a word."""


class Taken(NamedTuple):
    """Scores; FID of each class by itself (None: too few), None without labels; and a word on what may be wrong."""

    metrics: Scores
    fid_by_class: tuple[float | None, ...] | None
    hint: str | None


class _Seen:
    """What is kept of the images: their features where there are few, running sums where there are many."""

    def __init__(self, source: Source, scorer: Scorer) -> None:
        self.source, self.done = source, 0
        self.running = scorer.running()
        self.classes = [
            Running(scorer.network.features, None, scorer.network.classes)
            for _ in range(scorer.network.classes if source.labels is not None else 0)
        ]
        kept = source.n if source.n <= STREAMED else 0
        self.features = torch.empty(kept, scorer.network.features, dtype=torch.float64)
        self.logits = torch.empty(kept, scorer.network.classes, dtype=torch.float64)
        # filled in place: a small tensor kept of each part would pin the heap that large ones leave behind
        self.step = -(-source.n // TRIED)
        self.few = torch.empty(0, dtype=torch.uint8)

    def add(self, images: Tensor, seen: Features) -> None:
        here = np.arange(self.done, self.done + len(images))
        if not self.done:
            self.few = images.new_empty(-(-self.source.n // self.step), *images.shape[1:])
        spread = here[here % self.step == 0]
        if len(spread):
            self.few[spread[0] // self.step : spread[-1] // self.step + 1] = images[spread - here[0]]
        if len(self.features):
            self.features[here[0] : here[-1] + 1], self.logits[here[0] : here[-1] + 1] = seen.features, seen.logits
        self.running.add(seen)
        if self.source.labels is not None:
            labels = torch.from_numpy(self.source.labels[here])
            for c, running in enumerate(self.classes):
                running.add(Features(seen.features[labels == c], seen.logits[labels == c]))
        self.done += len(images)

    def scores(self, scorer: Scorer) -> Scores:
        scores = self.running.scores(scorer.reference)
        if len(self.features):
            asked = None if self.source.labels is None else torch.from_numpy(self.source.labels)
            return scores | metrics.score(Features(self.features, self.logits, asked), scorer.reference)
        right = [float(running.count[c]) / running.n for c, running in enumerate(self.classes) if running.n]
        told = {"class_accuracy": sum(right) / len(right), "worst_class_accuracy": min(right)} if right else {}
        return scores | told


def score(scorer: Scorer, source: Source) -> Taken:
    """:func:`scoring`, and nobody watches."""
    return last(scoring(scorer, source))


def scoring(scorer: Scorer, source: Source) -> Generator[Progress, None, Taken]:
    """Every score there is of the images, in memory that does not grow beyond :data:`STREAMED` of them."""
    seen = _Seen(source, scorer)
    for images in source:
        seen.add(images, scorer.see(images))
        yield Progress("looking at the images", seen.done / source.n)
    if len(seen.features):
        yield from scorer.reference.reading()
    scores = seen.scores(scorer)
    by_class = None
    if seen.classes:
        of_classes = yield from moments_of_classes(scorer)
        pairs = zip(seen.classes, of_classes, strict=True)
        by_class = tuple(frechet_distance(a.moments, b) if b and a.n >= MINIMUM else None for a, b in pairs)
    return Taken(scores, by_class, hint(scorer, seen.few))


def moments_of_classes(scorer: Scorer) -> Generator[Progress, None, list[Moments | None]]:
    """The moments of the training images of each class, kept in the store as the reference is.

    None where they are fewer than :data:`~bench.images.source.MINIMUM`.
    """
    key, about = key_of(scorer.classifier, scorer.images, "classes"), ReferenceFeatures(code=scorer.code)
    kept = scorer.store.load_tensors(ReferenceFeatures, key)
    state = kept[0] if kept is not None and kept[1] == about else None
    classes = scorer.network.classes
    if state is None:
        state = {}
        for c in range(classes):
            yield Progress("looking at the training images of each class", c / classes)
            which = scorer.images.train_labels == c
            if which.sum() < MINIMUM:
                continue
            found = Moments.of(classifier.extract(scorer.network, scorer.images.train[which], scorer.device).features)
            state[f"mean.{c}"] = torch.from_numpy(found.mean)
            state[f"covariance.{c}"] = torch.from_numpy(found.covariance)
        scorer.store.save_tensors(key, state, about)
    return [
        Moments(state[f"mean.{c}"].numpy(), state[f"covariance.{c}"].numpy()) if f"mean.{c}" in state else None
        for c in range(classes)
    ]


def hint(scorer: Scorer, images: Tensor) -> str | None:
    """One line on the simple change with which a few images, uint8 (n, C, H, W), would fit far better; else None."""
    given, side = _fid(scorer, images), images.shape[2]
    best, name = min((_fid(scorer, change), name) for name, change in _changes(images.numpy(), side))
    if best * BETTER > given:
        return None
    return (
        f"{CHANGES[name].words}, they would fit far better: FID of {len(images)} of them is {best:.4g}, and "
        f"{given:.4g} as they are (--apply {name})"
    )


def _changes(images: np.ndarray, side: int) -> Iterator[tuple[str, Tensor]]:
    for name, change in CHANGES.items():
        if change.likely(images) and not np.array_equal(other := change.of(images, side), images):
            yield name, torch.from_numpy(np.ascontiguousarray(other))


def _fid(scorer: Scorer, images: Tensor) -> float:
    features = classifier.extract(scorer.network, images, scorer.device).features
    return frechet_distance(Moments.of(features), scorer.reference.moments)
