"""Scores of a set of images against a reference, from the judges' features: name → function and direction.

All are computed in float64 from one pass of each judge, and checked in the tests against torch-fidelity. Those that do
not say otherwise are in the features of the headline judge (:mod:`bench.score.judges`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.score.classifier import Features
from bench.score.distances import (
    Moments,
    covered,
    extrapolated,
    frechet_bias,
    frechet_distance,
    inception_score,
    kernel_distance,
    nearest,
    radii,
)
from bench.score.judges import JUDGES, column
from bench.score.reference import Reference
from bench.score.running import check
from bench.score.views import VIEWS

NEAREST = 5
"""Neighbours behind density and coverage, as their paper has it."""
SAME = 1e-3
"""Two images are the same where their features are nearer than this, in units of the features' root mean square."""


def fid(sample: Features, reference: Reference) -> float:
    """Fréchet distance to the whole reference, between Gaussians of the same moments (arXiv 1706.08500).

    Use: to rank. It has a bias that falls with N, so compare with the floor at the same N. It sees neither copies
    of training images, nor repeated images, nor slight compression.
    """
    return frechet_distance(Moments.of(sample.features), reference.moments)


@lru_cache(maxsize=1)
def _kernel_distance(features: Tensor, reference: Reference) -> tuple[float, float]:
    """:func:`kernel_distance` to the subset, kept because two rows of the table read it."""
    return kernel_distance(features, reference.subset, reference.within)


def kid(sample: Features, reference: Reference) -> float:
    """Unbiased squared MMD with a cubic kernel, to 10,000 images of the reference (arXiv 1801.01401).

    Use: beside FID when N is small: it has no bias. It can be negative, so take differences and never ratios.
    """
    return _kernel_distance(sample.features, reference)[0]


def kid_se(sample: Features, reference: Reference) -> float:
    """Standard error of :func:`kid` over draws of the samples.

    Use: to tell whether two KIDs differ.
    """
    return _kernel_distance(sample.features, reference)[1]


def precision(sample: Features, reference: Reference) -> float:
    """Share of samples within the reference's manifold, k = 3 (Kynkäänniemi et al., arXiv 1904.06991).

    Use: to see whether samples look real. It sees neither missing classes nor repeated images.
    """
    return covered(sample.features, *reference.manifold(len(sample.features)))


def recall(sample: Features, reference: Reference) -> float:
    """Share of the reference within the samples' manifold, k = 3.

    Use: to see whether all kinds of images are drawn. It does not say whether they look real.
    """
    rows, _ = reference.manifold(len(sample.features))
    return covered(rows, sample.features, radii(sample.features))


def fid_bias(sample: Features, reference: Reference) -> float:
    """How much too large FID is at this N, if the features were Gaussian: to first order (:func:`frechet_bias`).

    Use: to judge how much of an FID is N.
    """
    return frechet_bias(Moments.of(sample.features), reference.moments, len(sample.features))


def fid_infinity(sample: Features, reference: Reference) -> float:
    """FID extrapolated to infinitely many samples, from eight sizes down to N/4 (Chong & Forsyth, arXiv 1911.07023).

    Use: to compare sets of different N. It is noisier than FID, and can be negative near 0.
    """
    return extrapolated(sample.features, reference.moments)


def density(sample: Features, reference: Reference) -> float:
    """In how many reference balls a sample is, on average, divided by k = 5 (Naeem et al., arXiv 2002.09797).

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
    """exp E KL(p(y | x) ‖ p(y)) of the classifier's classes, at most their number (Salimans et al., arXiv 1606.03498).

    Use: to compare with older work; it does not look at the reference.
    """
    return inception_score(sample.logits)


def confidence(sample: Features, reference: Reference) -> float:
    """Mean of the classifier's largest class probability.

    Use: as a quick check whether samples are digits at all. It does not see a missing class.
    """
    return float(sample.logits.softmax(1).max(1).values.mean())


def class_balance(sample: Features, reference: Reference) -> float:
    """Entropy of the predicted classes over its largest: 1 when all are equally frequent, 0 when there is only one.

    Use: to see whether classes are missing. It does not say how the images look.
    """
    share = torch.bincount(sample.logits.argmax(1)).double() / len(sample.logits)
    return float(torch.special.entr(share).sum() / np.log(sample.logits.shape[1]))


def _agreement(sample: Features) -> Tensor:
    """For each class asked for, the share of its samples that the classifier takes for it."""
    if sample.asked is None:
        raise ValueError("no classes were asked for")
    right = (sample.logits.argmax(1) == sample.asked).double()
    return torch.stack([right[sample.asked == c].mean() for c in sample.asked.unique()])


def class_accuracy(sample: Features, reference: Reference) -> float:
    """Share of samples in which the classifier sees the class that was asked for, averaged over classes.

    Use: with `guidance`: are samples of the class that was asked for? Cells without guidance have no value.
    """
    return float(_agreement(sample).mean())


def worst_class_accuracy(sample: Features, reference: Reference) -> float:
    """The same for the class with the lowest accuracy.

    Use: to see whether one class is lost though the mean is good.
    """
    return float(_agreement(sample).min())


def repeated(sample: Features, reference: Reference) -> float:
    """Share of samples that are the same as another of the samples, as the judge sees them.

    Use: to see whether images are drawn more than once. It does not see copies of training images.
    """
    near = SAME * sample.features.square().mean().sqrt()
    return float((radii(sample.features, 1) <= near).double().mean())


def repeated_se(sample: Features, reference: Reference) -> float:
    """Standard error of :func:`repeated`, binomial: images that are the same come in pairs, so N/2 of them count.

    A bootstrap would be wrong: whatever it draws twice is repeated.
    """
    share = repeated(sample, reference)
    return math.sqrt(2 * share * (1 - share) / len(sample.features))


@dataclass(frozen=True)
class Metric:
    """A function of (sample, reference), and which way is better (None: neither, as for an error).

    ``asks``: whether it is of samples that were to be of given classes, and of no others.
    ``beside``: whether it is in features that only some data sets have.
    ``reads``: whether it looks at the classes that are seen.
    ``classes``: whether it is of classes, of which some data sets have none.
    ``compared``: by ratios, or by differences where it can be negative or zero for good samples.
    ``error``: its standard error over draws of the samples, where a bootstrap is slow or wrong.
    """

    of: Callable[[Features, Reference], float]
    better: Literal["lower", "higher"] | None
    asks: bool = False
    beside: bool = False
    reads: bool = True
    classes: bool = False
    compared: Literal["ratio", "difference"] = "ratio"
    error: Callable[[Features, Reference], float] | None = None


def _beside(name: str, text: str) -> Metric:
    """The Fréchet distance in the features of another judge, or in some that need no network."""

    def of(sample: Features, reference: Reference) -> float:
        return frechet_distance(Moments.of(sample.beside[name]), reference.beside[name])

    of.__doc__ = text
    return Metric(of, "lower", beside=True, reads=False)


def _by(judge: str) -> Metric:
    text = f"FID in the features of the judge `{judge}`. Where that is the headline judge, `fid` is the same number."
    return _beside(
        column(judge), f"{text}\n\nUse: beside `fid`: a conclusion should hold under it too. {JUDGES[judge].about}"
    )


METRICS: dict[str, Metric] = {
    "fid": Metric(fid, "lower", reads=False),
    "kid": Metric(kid, "lower", compared="difference", error=kid_se),
    "kid_se": Metric(kid_se, None),
    "inception_score": Metric(score_of_classes, "higher", classes=True),
    "precision": Metric(precision, "higher"),
    "recall": Metric(recall, "higher"),
    "confidence": Metric(confidence, "higher", classes=True),
    "class_balance": Metric(class_balance, "higher", classes=True),
    "fid_infinity": Metric(fid_infinity, "lower", compared="difference"),
    "fid_bias": Metric(fid_bias, None),
    "density": Metric(density, "higher"),
    "coverage": Metric(coverage, "higher"),
    "class_accuracy": Metric(class_accuracy, "higher", asks=True, classes=True),
    "worst_class_accuracy": Metric(worst_class_accuracy, "higher", asks=True, classes=True),
    **{column(judge): _by(judge) for judge in JUDGES},
    **{view: _beside(view, VIEWS[view].about) for view in VIEWS},
    "repeated": Metric(repeated, "lower", compared="difference", error=repeated_se),
}


def score(sample: Features, reference: Reference, only: str | None = None) -> dict[str, float]:
    """Every metric of ``sample`` that there is without being told the classes, or with them where it has them; or one.

    :raises ValueError: for fewer than :data:`MINIMUM` images, or features that are not finite.
    """
    check(len(sample.features), bool(sample.features.isfinite().all() and sample.logits.isfinite().all()))
    wanted = METRICS if only is None else {only: METRICS[only]}
    return {name: metric.of(sample, reference) for name, metric in wanted.items() if possible(name, metric, sample)}


def possible(name: str, metric: Metric, sample: Features) -> bool:
    """Whether there is such a metric of these samples."""
    if metric.classes and not sample.logits.shape[1]:
        return False
    return (sample.asked is not None or not metric.asks) and (name in sample.beside or not metric.beside)
