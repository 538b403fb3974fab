"""What is kept of how metrics respond to known damage, and what follows from it. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from pydantic import AwareDatetime

from bench.rows import entries
from bench.store.records import Part

FEW, MANY = 1_000, 10_000
SEEN = 3.0
"""A metric sees a damage where it is worse than for clean images by this many times its own scatter."""
COPIES = "copies"
"""The share of images nearer to a training image than 99% of test images are: ``score --thorough`` looks at it."""

_SAME, _COPIES = "repeated images", "training images"
BLIND: dict[str, tuple[str, ...]] = {
    "fid": ("jpeg", _SAME, _COPIES),
    "fid_classifier": ("jpeg", _SAME, _COPIES),
    "fid_texture": (_SAME, _COPIES),
    "fid_mixer": ("jpeg", _SAME, _COPIES),
    "pixel_distance": ("noise", "jpeg", _SAME, _COPIES),
    "spectrum_distance": ("shift", "missing class", _SAME, _COPIES),
    "kid": (_SAME, _COPIES),
    "inception_score": ("noise", "jpeg", "shift", _SAME, _COPIES),
    "precision": ("jpeg", "missing class", _SAME, _COPIES),
    "recall": (_SAME, _COPIES),
    "confidence": ("noise", "jpeg", "shift", "missing class", _SAME, _COPIES),
    "class_balance": ("noise", "blur", "jpeg", "shift", _SAME, _COPIES),
    "density": ("jpeg", "missing class", _SAME, _COPIES),
    "coverage": ("jpeg", _SAME, _COPIES),
    "repeated": ("noise", "blur", "jpeg", "shift", "missing class", _COPIES),
}
"""Metric → the damages that it did not see at any strength, in sets of :data:`FEW` images of MNIST: the committed
calibration, where reports can read it. A test compares the two. Metrics that are not here were not measured."""


class Point(Part):
    """A metric of ``draws`` sets of ``n`` images: mean and standard deviation. Clean sets have damage "".

    ``size``: how many images a set really has, where there are no others in place of those that are left out.
    """

    damage: str
    strength: float
    n: int
    metric: str
    draws: int
    mean: float
    sd: float
    size: int | None = None


class Tried(Part):
    """A kind of damage: its strengths from slight to bad, their unit, and one that a person would call slight."""

    unit: str
    strengths: tuple[float, ...]
    slight: float


class Calibration(Part):
    """All of them, the damages by name, and what they were measured with."""

    dataset: str
    classifier: str
    dataset_sha256: str
    panel: dict[str, str]
    code: str
    created: AwareDatetime
    damages: dict[str, Tried]
    points: tuple[Point, ...]

    def at(self, metric: str, damage: str, strength: float, n: int) -> Point | None:
        """A point."""
        return self._index.get((metric, damage, float(strength), n))

    @cached_property
    def _index(self) -> dict[tuple[str, str, float, int], Point]:
        return {(p.metric, p.damage, p.strength, p.n): p for p in self.points}


def better(metric: str) -> int:
    """1 where higher is worse, −1 where lower is."""
    return 1 if metric == COPIES or entries("metric")[metric].better == "lower" else -1


def sd_from_halves(splits: Sequence[tuple[float, float]]) -> float:
    """The standard deviation of a metric over sets of images, from its values on the two halves of one set.

    Halves have no image in common. The mean square of their difference is twice the variance over halves, which is
    twice that over whole sets.

    :param splits: the values on both halves, each time that the set was split.
    """
    return float(np.sqrt(np.mean([(one - other) ** 2 for one, other in splits]) / 4))


def distance(found: Calibration, metric: str, damage: str, strength: float, n: int) -> float | None:
    """How much worse than clean a damage is, in units of the metric's scatter over clean sets; None if not measured."""
    clean, point = found.at(metric, "", 0, n), found.at(metric, damage, strength, n)
    if clean is None or point is None:
        return None
    worse = better(metric) * (point.mean - clean.mean)
    return worse / clean.sd if clean.sd > 0 else float(np.copysign(np.inf, worse)) if worse else 0.0


def smallest(found: Calibration, metric: str, damage: str, n: int) -> float | None:
    """The smallest strength that the metric sees, together with all that are worse; None if there is none."""
    seen = None
    for strength in reversed(found.damages[damage].strengths):
        apart = distance(found, metric, damage, strength, n)
        if apart is None or apart < SEEN:
            break
        seen = strength
    return seen
