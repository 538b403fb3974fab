"""Scores of a set of images against a reference, from the classifier's features: name → function and direction.

All are computed in float64 from one pass of the classifier, and checked in the tests against torch-fidelity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.classifier import CLASSES, Features

NEIGHBOURS = 3
MINIMUM = 2 * CLASSES
"""Fewest images any metric here accepts."""


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d), float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of (N, d) features; the covariance is the unbiased one."""
        x = features.numpy()
        return cls(x.mean(0), np.cov(x, rowvar=False))


def frechet_distance(p: Moments, q: Moments) -> float:
    """|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) between Gaussians (Heusel et al., arXiv 1706.08500).

    The trace of the root is Σ √λ over the eigenvalues of S Σ₂ S with S = Σ₁^½, which is symmetric: no complex
    residue, and singular covariances are as good as any.
    """
    values, vectors = np.linalg.eigh(p.covariance)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    inner = np.linalg.eigvalsh(root @ q.covariance @ root)
    offset = p.mean - q.mean
    trace = np.trace(p.covariance) + np.trace(q.covariance) - 2 * np.sqrt(inner.clip(0)).sum()
    return float(max(offset @ offset + trace, 0.0))


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ (Bińkowski et al., arXiv 1801.01401, section 3)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Tensor, y: Tensor, within_y: float | None = None) -> tuple[float, float]:
    """The unbiased MMD² between x (N, d) and y (M, d), and its standard error over draws of x with y held fixed.

    The error is the delete-one jackknife of the U-statistic, which the kernel's row sums give exactly, less what it
    counts twice: the variance of the statistic's degenerate part (Hoeffding's decomposition; Efron & Stein 1981), which
    is all there is when x and y are alike (there the error still comes out up to a quarter too large, by keeping the
    other part from being negative). Unlike a spread over subsets it estimates the error of the number itself.

    :param within_y: the mean of the kernel over pairs of y, if it is known already.
    """
    n = len(x)
    between = polynomial_kernel(x, y).mean(1)
    kernel = polynomial_kernel(x, x)
    rows = kernel.sum(1) - kernel.diagonal()
    total = rows.sum()
    constant = mean_over_pairs(y) if within_y is None else within_y
    estimate = total / (n * (n - 1)) - 2 * between.mean() + constant
    without = (total - 2 * rows) / ((n - 1) * (n - 2)) - 2 * (between.sum() - between) / (n - 1) + constant
    jackknife = (n - 1) / n * (without - without.mean()).square().sum()
    h = kernel - between[:, None] - between[None, :] + constant
    h_given_one = (h.sum(1) - h.diagonal()) / (n - 1)
    degenerate = h - h_given_one[:, None] - h_given_one[None, :] + estimate
    degenerate.fill_diagonal_(0)
    twice = 2 * degenerate.square().sum() / (n * (n - 1)) ** 2
    error = torch.maximum(jackknife - twice, twice).sqrt()
    return float(estimate), float(error)


def mean_over_pairs(y: Tensor) -> float:
    """The mean of the kernel over ordered pairs of distinct rows of y."""
    m = len(y)
    total = sum((float(polynomial_kernel(part, y).sum()) for part in y.split(2000)), 0.0)
    diagonal = ((y.square().sum(1) / y.shape[1] + 1) ** 3).sum()
    return (total - float(diagonal)) / (m * (m - 1))


def inception_score(logits: Tensor) -> float:
    """exp E KL(p(y|x) ‖ p(y)) over all images at once (Salimans et al., arXiv 1606.03498); between 1 and 10."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    return float((p * (log_p - p.mean(0).log())).sum(1).mean().exp())


def _radii(x: Tensor) -> Tensor:
    """Each row's distance to its third nearest other row."""
    return torch.cat([torch.cdist(part, x).kthvalue(NEIGHBOURS + 1).values for part in x.split(2000)])


def _covered(x: Tensor, centres: Tensor, radii: Tensor) -> float:
    """The share of rows of x inside at least one ball."""
    inside = [(torch.cdist(part, centres) <= radii).any(1) for part in x.split(2000)]
    return float(torch.cat(inside).double().mean())


class Reference:
    """What samples are compared with: features of the training images, and a fixed subset for pairwise metrics."""

    def __init__(self, features: Tensor, subset: int = 10_000, seed: int = 0) -> None:
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        self.moments = Moments.of(features)
        self.subset = features[order[:subset]]
        self.within = mean_over_pairs(self.subset)

    def state(self) -> dict[str, Tensor]:
        """What the reference is, as tensors to keep."""
        return {
            "mean": torch.from_numpy(self.moments.mean),
            "covariance": torch.from_numpy(self.moments.covariance),
            "subset": self.subset,
            "within": torch.tensor(self.within, dtype=torch.float64),
        }

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Reference:
        """The reference that :meth:`state` came from."""
        new = cls.__new__(cls)
        new.moments = Moments(state["mean"].numpy(), state["covariance"].numpy())
        new.subset, new.within = state["subset"], float(state["within"])
        return new

    def manifold(self, n: int) -> tuple[Tensor, Tensor]:
        """The first n rows of the subset and their ball radii: precision and recall compare equal numbers."""
        if n not in self._manifolds:
            rows = self.subset[:n]
            self._manifolds[n] = rows, _radii(rows)
        return self._manifolds[n]

    @cached_property
    def _manifolds(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {}


def fid(sample: Features, reference: Reference) -> float:
    """Fréchet distance to the whole reference, between Gaussians of the same moments (arXiv 1706.08500).

    Use: to rank. It has a bias that falls with N, so compare with the floor at the same N.
    """
    return frechet_distance(Moments.of(sample.features), reference.moments)


@lru_cache(maxsize=1)
def _kernel_distance(features: Tensor, reference: Reference) -> tuple[float, float]:
    """:func:`kernel_distance` to the subset, kept because two rows of the table read it."""
    return kernel_distance(features, reference.subset, reference.within)


def kid(sample: Features, reference: Reference) -> float:
    """Unbiased squared MMD with a cubic kernel, to 10,000 images of the reference (arXiv 1801.01401).

    Use: beside FID when N is small: it has no bias.
    """
    return _kernel_distance(sample.features, reference)[0]


def kid_se(sample: Features, reference: Reference) -> float:
    """Standard error of :func:`kid` over draws of the samples.

    Use: to tell whether two KIDs differ.
    """
    return _kernel_distance(sample.features, reference)[1]


def precision(sample: Features, reference: Reference) -> float:
    """Share of samples within the reference's manifold, k = 3 (Kynkäänniemi et al., arXiv 1904.06991).

    Use: to see whether samples look real.
    """
    return _covered(sample.features, *reference.manifold(len(sample.features)))


def recall(sample: Features, reference: Reference) -> float:
    """Share of the reference within the samples' manifold, k = 3.

    Use: to see whether all kinds of images are drawn.
    """
    rows, _ = reference.manifold(len(sample.features))
    return _covered(rows, sample.features, _radii(sample.features))


def score_of_classes(sample: Features, reference: Reference) -> float:
    """exp E KL(p(y | x) ‖ p(y)) of the classifier's classes, at most 10 (Salimans et al., arXiv 1606.03498).

    Use: to compare with older work; it does not look at the reference.
    """
    return inception_score(sample.logits)


def confidence(sample: Features, reference: Reference) -> float:
    """Mean of the classifier's largest class probability.

    Use: as a quick check for digits that are none.
    """
    return float(sample.logits.softmax(1).max(1).values.mean())


def class_balance(sample: Features, reference: Reference) -> float:
    """Entropy of the predicted classes over log 10: 1 when all ten are equally frequent, 0 when there is only one.

    Use: to see whether classes are missing.
    """
    share = torch.bincount(sample.logits.argmax(1), minlength=CLASSES).double() / len(sample.logits)
    return float(torch.special.entr(share).sum() / np.log(CLASSES))


@dataclass(frozen=True)
class Metric:
    """A function of (sample, reference), and which way is better (None: neither, as for an error)."""

    of: Callable[[Features, Reference], float]
    better: Literal["lower", "higher"] | None


METRICS: dict[str, Metric] = {
    "fid": Metric(fid, "lower"),
    "kid": Metric(kid, "lower"),
    "kid_se": Metric(kid_se, None),
    "inception_score": Metric(score_of_classes, "higher"),
    "precision": Metric(precision, "higher"),
    "recall": Metric(recall, "higher"),
    "confidence": Metric(confidence, "higher"),
    "class_balance": Metric(class_balance, "higher"),
}


def score(sample: Features, reference: Reference) -> dict[str, float]:
    """Every metric of ``sample``.

    :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
    """
    if len(sample.features) < MINIMUM:
        raise ValueError(f"{len(sample.features)} images are too few to score: at least {MINIMUM} are needed")
    if not (sample.features.isfinite().all() and sample.logits.isfinite().all()):
        raise ValueError("the classifier's features are not finite")
    return {name: metric.of(sample, reference) for name, metric in METRICS.items()}
