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
from scipy.stats import entropy
from torch import Tensor

from bench.score.classifier import CLASSES, Features

NEIGHBOURS = 3
NEAREST = 5
"""Neighbours behind density and coverage, as their paper has it."""
EXTRAPOLATED = 8
"""Sizes that FID∞ is extrapolated from."""
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
        _check(self.n, bool(np.isfinite(self.scatter).all() and np.isfinite(self.chance).all()))
        p, share = self.chance / self.n, self.count / self.n
        return {
            "fid": frechet_distance(self.moments, reference.moments),
            "fid_bias": frechet_bias(self.moments, reference.moments, self.n),
            "inception_score": float(np.exp(self.entropy / self.n + entropy(p))),
            "confidence": self.confidence / self.n,
            "class_balance": float(entropy(share) / np.log(CLASSES)),
        }


def frechet_distance(p: Moments, q: Moments) -> float:
    """|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) between Gaussians (Heusel et al., arXiv 1706.08500).

    The trace of the root is Σ √λ over the eigenvalues of S Σ₂ S with S = Σ₁^½, which is symmetric: no complex
    residue, and singular covariances are as good as any.
    """
    offset = p.mean - q.mean
    trace = np.trace(p.covariance) + np.trace(q.covariance) - 2 * _roots(p.covariance, q.covariance).sum()
    return float(max(offset @ offset + trace, 0.0))


def _roots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The square roots of the eigenvalues of S b S, S = a^½, which are those of a b."""
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    return np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0))


def frechet_bias(p: Moments, q: Moments, n: int) -> float:
    """How much larger than between the true moments the distance is on average, p being of n Gaussian draws, q exact.

    To first order in 1/n: Tr Σ₁/n for the mean; and for the covariance, whose root's trace is concave, with λ the
    eigenvalues of S Σ₁ S, S = Σ₂^½: (Σᵢⱼ √λᵢ√λⱼ/(√λᵢ + √λⱼ) + ½ Σᵢ √λᵢ)/(2(n − 1)). For white features of d dimensions
    it is σ² d(d + 5)/(4n). (Our own derivation, from the second derivative of Tr M^½ and the covariance of a Wishart
    matrix; the effect is that of Chong & Forsyth, arXiv 1911.07023.)
    """
    r = _roots(q.covariance, p.covariance)
    total = r[:, None] + r[None, :]
    pairs = np.divide(r[:, None] * r[None, :], total, out=np.zeros_like(total), where=total > 0)
    return float(np.trace(p.covariance) / n + (pairs.sum() + r.sum() / 2) / (2 * (n - 1)))


def extrapolated(features: Tensor, reference: Moments, seed: int = 0) -> float:
    """FID∞: the distance at 1/N → 0, by a line through those of random subsets against 1/N (arXiv 1911.07023, 3.1)."""
    n, random = len(features), np.random.default_rng(seed)
    sizes = [round(n / share) for share in np.linspace(1, 4, EXTRAPOLATED)]
    found = [
        frechet_distance(Moments.of(features[torch.from_numpy(random.permutation(n)[:size])]), reference)
        for size in sizes
    ]
    return float(np.polyfit([1 / size for size in sizes], found, 1)[1])


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


def _radii(x: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Each row's distance to its nearest other row but two (or another number)."""
    return torch.cat([torch.cdist(part, x).kthvalue(neighbours + 1).values for part in x.split(2000)])


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """The distance of each row of x (N, d) to the nearest row of y (M, d), (N,)."""
    return torch.cat([torch.cdist(part, y).min(1).values for part in x.split(2000)])


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

    def manifold(self, n: int, neighbours: int = NEIGHBOURS) -> tuple[Tensor, Tensor]:
        """The first n rows of the subset and their ball radii: pairwise metrics compare equal numbers."""
        if (n, neighbours) not in self._manifolds:
            rows = self.subset[:n]
            self._manifolds[n, neighbours] = rows, _radii(rows, neighbours)
        return self._manifolds[n, neighbours]

    @cached_property
    def _manifolds(self) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
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


def fid_bias(sample: Features, reference: Reference) -> float:
    """What FID is too large by at this N, to first order, were the features Gaussian (:func:`frechet_bias`).

    Use: to judge how much of an FID is N.
    """
    return frechet_bias(Moments.of(sample.features), reference.moments, len(sample.features))


def fid_infinity(sample: Features, reference: Reference) -> float:
    """FID extrapolated to infinitely many samples, from eight sizes down to N/4 (Chong & Forsyth, arXiv 1911.07023).

    Use: to compare sets of different N. It is noisier than FID, and can be negative near 0.
    """
    return extrapolated(sample.features, reference.moments)


def density(sample: Features, reference: Reference) -> float:
    """How many reference balls a sample is in, over k = 5, averaged; can exceed 1 (Naeem et al., arXiv 2002.09797).

    Use: instead of precision where outliers in the reference matter.
    """
    rows, radii = reference.manifold(len(sample.features), NEAREST)
    counts = [(torch.cdist(part, rows) <= radii).sum(1) for part in sample.features.split(2000)]
    return float(torch.cat(counts).double().mean()) / NEAREST


def coverage(sample: Features, reference: Reference) -> float:
    """Share of the reference whose ball, k = 5, has a sample in it (arXiv 2002.09797).

    Use: instead of recall: it is not fooled by samples that lie far out.
    """
    rows, radii = reference.manifold(len(sample.features), NEAREST)
    return float((nearest(rows, sample.features) <= radii).double().mean())


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


def _agreement(sample: Features) -> Tensor:
    """For each class asked for, the share of its samples that the classifier takes for it."""
    if sample.asked is None:
        raise ValueError("no classes were asked for")
    right = (sample.logits.argmax(1) == sample.asked).double()
    return torch.stack([right[sample.asked == c].mean() for c in sample.asked.unique()])


def class_accuracy(sample: Features, reference: Reference) -> float:
    """Share of samples in which the classifier sees the class that was asked for, averaged over classes.

    Use: with `guidance`: whether samples are what was asked for. Of cells without it there is none.
    """
    return float(_agreement(sample).mean())


def worst_class_accuracy(sample: Features, reference: Reference) -> float:
    """The same for the class that fares worst.

    Use: to see whether one class is lost where the mean looks well.
    """
    return float(_agreement(sample).min())


@dataclass(frozen=True)
class Metric:
    """A function of (sample, reference), and which way is better (None: neither, as for an error).

    ``asks``: whether it is of samples that were to be of given classes, and of no others.
    """

    of: Callable[[Features, Reference], float]
    better: Literal["lower", "higher"] | None
    asks: bool = False


METRICS: dict[str, Metric] = {
    "fid": Metric(fid, "lower"),
    "kid": Metric(kid, "lower"),
    "kid_se": Metric(kid_se, None),
    "inception_score": Metric(score_of_classes, "higher"),
    "precision": Metric(precision, "higher"),
    "recall": Metric(recall, "higher"),
    "confidence": Metric(confidence, "higher"),
    "class_balance": Metric(class_balance, "higher"),
    "fid_infinity": Metric(fid_infinity, "lower"),
    "fid_bias": Metric(fid_bias, None),
    "density": Metric(density, "higher"),
    "coverage": Metric(coverage, "higher"),
    "class_accuracy": Metric(class_accuracy, "higher", asks=True),
    "worst_class_accuracy": Metric(worst_class_accuracy, "higher", asks=True),
}


def score(sample: Features, reference: Reference, only: str | None = None) -> dict[str, float]:
    """Every metric of ``sample`` that there is without being told the classes, or with them where it has them; or one.

    :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
    """
    _check(len(sample.features), bool(sample.features.isfinite().all() and sample.logits.isfinite().all()))
    told = sample.asked is not None
    wanted = METRICS if only is None else {only: METRICS[only]}
    return {name: metric.of(sample, reference) for name, metric in wanted.items() if told or not metric.asks}


def _check(n: int, finite: bool) -> None:
    if n < MINIMUM:
        raise ValueError(f"{n} images are too few to score: at least {MINIMUM} are needed")
    if not finite:
        raise ValueError("the classifier's features are not finite")
