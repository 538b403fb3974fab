"""Scores of images that come in parts, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bench.images.source import MINIMUM
from bench.machine.blas import by_one_thread
from bench.score.classifier import CLASSES, Features
from bench.score.distances import Moments, frechet_bias, frechet_distance
from bench.score.reference import Reference


class Gathered:
    """Number, mean and scatter Σ (x − mean)(x − mean)ᵀ of rows that come in parts (Chan, Golub & LeVeque 1983, 2.1)."""

    def __init__(self, features: int) -> None:
        self.n, self.mean, self.scatter = 0, np.zeros(features), np.zeros((features, features))

    @by_one_thread
    def add(self, rows: Tensor) -> None:
        """Add some rows (n, d)."""
        if not len(rows):
            return
        new, x = Gathered(len(self.mean)), rows.double().numpy()
        new.n, new.mean = len(x), x.mean(0)
        centred = x - new.mean
        new.scatter = centred.T @ centred
        self.merge(new)

    def merge(self, other: Gathered) -> None:
        """Add what another has gathered."""
        n = self.n + other.n
        if n == 0:
            return
        apart = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
        self.mean = self.mean + apart * (other.n / n)
        self.n = n

    @property
    def moments(self) -> Moments:
        """Of all that was added."""
        return Moments(self.mean, self.scatter / (self.n - 1))


class Running:
    """What is kept of images that come in parts: enough for the scores in :meth:`scores`, in memory that does not grow.

    Parts may be added in any order, and those of several processes merged.

    :param features: how many the judge gives.
    :param beside: column → how many features that distance is in.
    :param classes: how many classes the judge tells apart; 0 for none.
    """

    def __init__(self, features: int, beside: Mapping[str, int] | None = None, classes: int = CLASSES) -> None:
        self.seen = Gathered(features)
        self.beside = {name: Gathered(width) for name, width in (beside or {}).items()}
        self.entropy = self.confidence = 0.0  # sums of Σ p log p and of max p
        self.chance, self.count = np.zeros(classes), np.zeros(classes)  # sums of p, and of images by class seen

    @property
    def n(self) -> int:
        """How many images were added."""
        return self.seen.n

    def add(self, part: Features) -> None:
        """Add some images."""
        self.seen.add(part.features)
        for name, gathered in self.beside.items():
            gathered.add(part.beside[name])
        if not len(self.count):
            return
        log_p = part.logits.double().log_softmax(1)
        p = log_p.exp()
        self.entropy += float((p * log_p).sum())
        self.confidence += float(p.amax(1).sum())
        self.chance = self.chance + p.sum(0).numpy()
        self.count = self.count + np.bincount(p.argmax(1).numpy(), minlength=len(self.count))

    def merge(self, other: Running) -> None:
        """Add what another has seen."""
        self.seen.merge(other.seen)
        for name, gathered in self.beside.items():
            gathered.merge(other.beside[name])
        for name in ("entropy", "confidence", "chance", "count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def moments(self) -> Moments:
        """Of all that was added."""
        return self.seen.moments

    def scores(self, reference: Reference) -> dict[str, float]:
        """The metrics that need no pairs of images.

        :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
        """
        check(self.n, bool(np.isfinite(self.seen.scatter).all() and np.isfinite(self.chance).all()))
        p, share = self.chance / self.n, self.count / self.n
        classes = {
            "inception_score": float(np.exp(self.entropy / self.n + entropy(p))),
            "confidence": self.confidence / self.n,
            "class_balance": entropy(share) / math.log(len(share)),
        } if len(share) else {}  # fmt: skip
        return {
            "fid": frechet_distance(self.moments, reference.moments),
            "fid_bias": frechet_bias(self.moments, reference.moments, self.n),
            **classes,
            **{name: frechet_distance(seen.moments, reference.beside[name]) for name, seen in self.beside.items()},
        }


def entropy(p: np.ndarray) -> float:
    """−Σ p log p, in nats."""
    return float(torch.special.entr(torch.from_numpy(p / p.sum())).sum())


def check(n: int, finite: bool) -> None:
    """Refuse what cannot be scored.

    :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
    """
    if n < MINIMUM:
        raise ValueError(f"{n} images are too few to score: at least {MINIMUM} are needed")
    if not finite:
        raise ValueError("the classifier's features are not finite")
