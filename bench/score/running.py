"""Scores of images that come in parts, in memory that does not grow."""

from __future__ import annotations

import math

import numpy as np
import torch

from bench.images.source import MINIMUM
from bench.score.classifier import CLASSES, Features
from bench.score.distances import Moments, frechet_bias, frechet_distance
from bench.score.reference import Reference


class Running:
    """What is kept of images that come in parts: enough for the scores in :meth:`scores`, in memory that does not grow.

    Parts may be added in any order, and those of several processes merged (Chan, Golub & LeVeque 1983, eq. 2.1).
    """

    def __init__(self, features: int) -> None:
        self.n = 0
        self.mean = np.zeros(features)
        self.scatter = np.zeros((features, features))  # Σ (x − mean)(x − mean)ᵀ
        self.entropy = self.confidence = 0.0  # sums of Σ p log p and of max p
        self.chance, self.count = np.zeros(CLASSES), np.zeros(CLASSES)  # sums of p, and of images by class seen

    def add(self, part: Features) -> None:
        """Add some images."""
        if not len(part.features):
            return
        new = Running(len(self.mean))
        x, log_p = part.features.double().numpy(), part.logits.double().log_softmax(1)
        p = log_p.exp()
        new.n, new.mean = len(x), x.mean(0)
        centred = x - new.mean
        new.scatter = centred.T @ centred
        new.entropy, new.confidence = float((p * log_p).sum()), float(p.max(1).values.sum())
        new.chance = p.sum(0).numpy()
        new.count = np.bincount(p.argmax(1).numpy(), minlength=CLASSES).astype(float)
        self.merge(new)

    def merge(self, other: Running) -> None:
        """Add what another has seen."""
        n = self.n + other.n
        if n == 0:
            return
        apart = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
        self.mean = self.mean + apart * (other.n / n)
        self.n = n
        for name in ("entropy", "confidence", "chance", "count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def moments(self) -> Moments:
        """Of all that was added."""
        return Moments(self.mean, self.scatter / (self.n - 1))

    def scores(self, reference: Reference) -> dict[str, float]:
        """The metrics that need no pairs of images.

        :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
        """
        check(self.n, bool(np.isfinite(self.scatter).all() and np.isfinite(self.chance).all()))
        p, share = self.chance / self.n, self.count / self.n
        return {
            "fid": frechet_distance(self.moments, reference.moments),
            "fid_bias": frechet_bias(self.moments, reference.moments, self.n),
            "inception_score": float(np.exp(self.entropy / self.n + entropy(p))),
            "confidence": self.confidence / self.n,
            "class_balance": entropy(share) / math.log(CLASSES),
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
