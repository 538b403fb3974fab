"""What is worth knowing of a set of samples besides its scores, at the price of looking at every training image.

``ddpm-bench score PATH --thorough``: whether samples are copies of training images, each class by itself, whether
classes are as frequent as they should be, and a Fréchet distance that needs no classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from bench.images.source import MINIMUM
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance, nearest
from bench.score.scorer import Scorer
from bench.score.views import COMPONENTS, pixels

RARE = 0.01
"""A sample is suspiciously near where fewer than this share of test images are as near to a training image."""


class Nearness(NamedTuple):
    """How near samples are to training images, in units of the space.

    ``samples`` and ``test`` are median distances to the nearest one, of the samples and of test images. ``copies`` is
    the share of samples nearer than all but 1% of test images are, about 0.01 where nothing is copied; ``p`` the chance
    of so many or more then.
    """

    samples: float
    test: float
    copies: float
    p: float


def nearness(samples: Tensor, test: Tensor, train: Tensor) -> Nearness:
    """How near ``samples`` are to ``train``, beside what ``test`` is: rows of any space."""
    own, others = nearest(samples, train), nearest(test, train)
    limit = float(others.double().quantile(RARE))
    count = int((own <= limit).sum())
    p = float(stats.binom.sf(count - 1, len(own), RARE))
    return Nearness(float(own.median()), float(others.median()), count / len(own), p)


def by_class(seen: Features, train: Tensor, labels: Tensor) -> list[float | None]:
    """For each class, the Fréchet distance between the samples taken for it and the training images of it.

    None where either are fewer than :data:`~bench.images.source.MINIMUM`; small classes have a larger bias.
    """
    taken = seen.logits.argmax(1)
    found: list[float | None] = []
    for c in range(seen.logits.shape[1]):
        rows, of_class = seen.features[taken == c], train[labels == c].double()
        enough = min(len(rows), len(of_class)) >= MINIMUM
        found.append(frechet_distance(Moments.of(rows), Moments.of(of_class)) if enough else None)
    return found


def balance(seen: Features, train_logits: Tensor) -> float:
    """p of the χ² test that classes are seen as often as in the training images."""
    counts = torch.bincount(seen.logits.argmax(1), minlength=seen.logits.shape[1]).numpy()
    expected = torch.bincount(train_logits.argmax(1), minlength=seen.logits.shape[1]).double().numpy()
    kept = expected > 0
    if counts[~kept].any():
        return 0.0
    return float(stats.chisquare(counts[kept], expected[kept] / expected.sum() * counts.sum()).pvalue)


def look(scorer: Scorer, images: Tensor) -> dict[str, Any]:
    """Everything here of uint8 ``images`` (N, C, H, W)."""
    seen, train, test = (
        scorer.see(part, only="confidence") for part in (images, scorer.images.train, scorer.images.test)
    )
    features = (seen.features, test.features, train.features)
    in_pixels = tuple(pixels(x).float() for x in (images, scorer.images.test, scorer.images.train))
    of_classes = {
        "fid_by_class": by_class(seen, train.features, scorer.images.train_labels),
        "class_balance_p": balance(seen, train.logits),
    } if scorer.network.classes else {}  # fmt: skip
    return {
        "nearest_in_features": nearness(*(x.float() for x in features))._asdict(),
        "nearest_in_pixels": nearness(*in_pixels)._asdict(),
        **of_classes,
        **scorer.score(images, only="pixel_distance"),
    }


def classes_line(what: str, fids: Sequence[float | None]) -> str:
    """A number for each class; a dash where there are too few images of it."""
    return f"{what}: " + ", ".join(f"{c}: {'–' if fid is None else f'{fid:.3g}'}" for c, fid in enumerate(fids))


def describe(found: dict[str, Any]) -> list[str]:
    """What :func:`look` found, a line each."""
    lines = []
    for space in ("features", "pixels"):
        near = Nearness(**found[f"nearest_in_{space}"])
        lines.append(
            f"nearest training image in {space}: {near.samples:.4g} away (median), {near.test:.4g} from test images; "
            f"{near.copies:.1%} of samples are nearer than 99% of test images are (p = {near.p:.2g})"
        )
    if "fid_by_class" in found:
        lines += [
            classes_line("FID by the class seen", found["fid_by_class"]),
            f"classes as frequent as in the training images: p = {found['class_balance_p']:.2g}",
        ]
    if "pixel_distance" in found:
        lines.append(f"Fréchet distance of pixels in {COMPONENTS} principal components: {found['pixel_distance']:.4g}")
    return lines
