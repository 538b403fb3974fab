"""Images of the frozen networks, every way to sample them; and their scores, on real features and on made-up ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.gate.kinds import Check
from bench.gate.numbers import normal
from bench.gate.subject import SHORT_T, Subject, Way
from bench.score import classifier
from bench.score.classifier import CLASSES, Features
from bench.score.distances import Moments, frechet_distance
from bench.score.judges import PANELS, column
from bench.score.metrics import METRICS
from bench.score.reference import Reference
from bench.score.scorer import Scorer
from bench.study.model import Sampling
from ddpm.sampler import SAMPLERS, make_sampler
from ddpm.spacing import SPACINGS
from ddpm.spec import Variant

MAIN = "ancestral, 25 of 1000"
SCORED = 500
"""Images of :data:`MAIN` that are kept, to be scored."""
WIDTH = 12
"""Numbers of a made-up image's features: fewer than images, so that no eigenvalue is 0 but for rounding."""
COUNTS = (
    "precision", "recall", "class_balance", "density", "coverage", "class_accuracy", "worst_class_accuracy", "repeated",
)  # fmt: skip
"""Metrics that count images."""


def ways() -> dict[str, Way]:
    """Every sampler, spacing and way to clip; with S = T where a sampler is defined by that; seeds and guidance."""

    def way(sampler: str | Variant, steps: int = 10, **own: Any) -> Sampling:
        return Sampling(sampler=Variant.of(sampler), sample_steps=steps, **own)

    every: dict[str, Way] = {MAIN: Way(way("ancestral", 25))}
    for name in SAMPLERS:
        if make_sampler(name).jumps:
            continue  # no frozen network does: a job of bench.gate.jobs has it
        if make_sampler(name).learned:
            every[f"{name}, 10 of 1000"] = Way(way(name), net="classes")
        else:
            every[f"{name}, 10 of 1000"] = Way(way(name))
    for name in ("ancestral", "ancestral_beta"):
        every[f"{name}, 50 of 50"] = Way(way(name, SHORT_T), SHORT_T)
    every["heun with churn, 10 of 1000"] = Way(way(Variant("heun", (("churn", 5.0),))))
    every["ddim η=0.5, 10 of 1000"] = Way(way("ddim", eta=0.5))
    for label, clip in (("unclipped", False), ("dynamic", "dynamic")):
        every[f"ancestral {label}, 10 of 1000"] = Way(way("ancestral", clip=clip))
    for name in SPACINGS:
        if name != Sampling.model_fields["spacing"].default:
            every[f"ddim {name}, 10 of 1000"] = Way(way("ddim", spacing=Variant(name)))
    every["ancestral seed 7, 10 of 1000"] = Way(way("ancestral", sample_seed=7))
    for scale in (0.0, 1.0, 3.0):
        every[f"ddim guidance {scale:g}, 10 of 1000"] = Way(way("ddim", guidance=scale), net="classes")
    return every


def rows() -> Iterable[tuple[str, Check]]:
    """Images of every way, scores of the baseline's images, and every metric of made-up features."""
    for name, way in ways().items():
        rule = make_sampler(way.sampling.sampler)
        steep = rule.corrects or rule.order > 2
        yield f"images {name}", Check("steep images" if steep else "images", partial(_images, way))
    for name in METRICS:
        if name == column(PANELS["mnist"].headline):  # ``fid`` is the same number
            continue
        kind = "counts" if name in COUNTS else "scores"
        yield f"score {name}", Check(kind, partial(_score, name))
    for name in METRICS:
        yield f"metric {name}", Check("tables", partial(made_up, name))


def _images(way: Way, subject: Subject) -> np.ndarray:
    return subject.draw(way).numpy()


def _score(name: str, subject: Subject) -> np.ndarray:
    return np.array([scored(subject)[name]])


def scored(subject: Subject) -> dict[str, float]:
    """Every metric of the baseline's images, the classes they would be of being named in turn."""
    images: torch.Tensor = subject.made["main"]
    found: dict[str, float] = subject.once(
        "scores", lambda: subject.scorer.score(images, torch.arange(len(images)) % CLASSES)
    )
    return found


def made_up(name: str, subject: Subject) -> np.ndarray:
    """A metric of 60 made-up features beside 400, in float64."""

    def make() -> tuple[Features, Reference]:
        mixing = normal(20, WIDTH, WIDTH)
        sample, reference = (0.9 * normal(21, 60, WIDTH) + 0.1) @ mixing, normal(22, 400, WIDTH) @ mixing
        beside = [metric for metric, row in METRICS.items() if row.beside]
        seen = Features(sample, 2 * normal(23, 60, CLASSES), torch.arange(60) % CLASSES, dict.fromkeys(beside, sample))
        return seen, Reference(reference, 200, beside=dict.fromkeys(beside, Moments.of(reference)))

    features, reference = subject.once("features", make)
    return np.array([METRICS[name].of(features, reference)])


def quality(scorer: Scorer, images: torch.Tensor, before: torch.Tensor, resamples: int = 100) -> str:
    """Whether images that differ are worse: the ratio of FIDs, and its interval over images, resampled in pairs."""
    a, b = (classifier.extract(scorer.network, x, scorer.device).features for x in (before, images))
    reference, random = scorer.reference.moments, np.random.default_rng(0)

    def ratio(rows: Any) -> float:
        return frechet_distance(Moments.of(b[rows]), reference) / frechet_distance(Moments.of(a[rows]), reference)

    # resampled images have a larger bias: only the spread means anything
    spread = np.std([np.log(ratio(random.integers(len(a), size=len(a)))) for _ in range(resamples)])
    middle = ratio(slice(None))
    low, high = middle * np.exp(-1.96 * spread), middle * np.exp(1.96 * spread)
    word = "worse" if low > 1 else "better" if high < 1 else "no worse for certain"
    return f"changed; FID × {middle:.3f} ({low:.3f} to {high:.3f}): {word}"
