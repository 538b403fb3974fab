"""How every metric responds to known damage: real test images, a little worse in one way.

Of each damage and strength there are :data:`DRAWS` sets of 1,000 images and one of 10,000. Whether a metric
sees a damage is told by :func:`bench.score.calibrated.distance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError
from bench.images import datasets
from bench.images.damage import blurred, compressed, moved, noisy
from bench.machine.devices import pick_device
from bench.rows import entries
from bench.score.calibrated import COPIES, FEW, MANY, Calibration, Point, Tried, sd_from_halves
from bench.score.classifier import Features
from bench.score.copies import RARE
from bench.score.distances import nearest
from bench.score.kept import Progress
from bench.score.metrics import possible
from bench.score.reference import in_order
from bench.score.scorer import Scorer, preparing
from bench.score.views import pixels
from bench.store.store import Store

CLEAN_DRAWS, DRAWS = 10, 3
RESAMPLES = 10
"""Clean sets of 10,000 images drawn with replacement: test images are no more than that."""
SPLITS = 5
"""Times that the clean images are split in halves, for metrics that would see an image that is drawn twice."""
MISSING = 3
"""The class that is left out."""

ToImages = Callable[[Tensor, float, torch.Generator], Tensor]
ToRows = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Damage:
    """A kind of damage, at strengths that get worse.

    Either ``images``: (uint8 images, strength, what to draw with) → images; or ``rows``: (labels of all test images,
    rows of a clean set, strength) → rows, those from ``len(labels)`` on being training images. ``slight`` is a strength
    that a person would call slight. ``of``: the class that it is about; where no test image is of it, it is left out.
    """

    unit: str
    strengths: tuple[float, ...]
    slight: float
    images: ToImages | None = None
    rows: ToRows | None = None
    of: int | None = None


def _missing(labels: Tensor, rows: Tensor, share: float) -> Tensor:
    """A share of one class gives way to the next images of other classes, as far as there are any."""
    of_class = rows[labels[rows] == MISSING]
    gone = of_class[: round(share * len(of_class))]
    left = rows[~torch.isin(rows, gone)]
    others = torch.arange(len(labels))[labels != MISSING]
    spare = others[~torch.isin(others, rows)][: len(gone)]
    return torch.cat([left, spare])


def _repeated(labels: Tensor, rows: Tensor, share: float) -> Tensor:
    """A share of the images gives way to second copies of others."""
    n = round(share * len(rows) / 2)
    return torch.cat([rows[n:], rows[n : 2 * n]])


def _copied(labels: Tensor, rows: Tensor, share: float) -> Tensor:
    """A share of the images gives way to training images."""
    n = round(share * len(rows))
    return torch.cat([rows[n:], len(labels) + rows[:n] % (MANY // 2)])


DAMAGES: dict[str, Damage] = {
    "noise": Damage("grey levels, standard deviation", (4, 8, 16), 8, images=noisy),
    "blur": Damage("pixels, standard deviation", (0.3, 0.4, 0.6), 0.4, images=lambda x, s, random: blurred(x, s)),
    "jpeg": Damage("quality", (90, 75, 50), 75, images=lambda x, s, random: compressed(x, int(s))),
    "shift": Damage("pixels, right and down", (1, 2), 1, images=lambda x, s, random: moved(x, int(s))),
    "missing class": Damage(f"share of the {MISSING}s that is left out", (0.5, 1), 0.5, rows=_missing, of=MISSING),
    "repeated images": Damage("share of images that are there twice", (0.02, 0.1), 0.1, rows=_repeated),
    "training images": Damage("share of images that are copies", (0.1, 0.5), 0.1, rows=_copied),
}


def measure(
    dataset: str, store: Store, *, data_dir: Path | None = None, device: str = "auto"
) -> Iterator[Progress | Calibration]:
    """Measure everything for a data set, and say how far it is; the last is the result.

    :raises UserError: for a data set that is unknown or not here, or that has too few test images.
    """
    dataset = datasets.named(dataset)
    images = datasets.load(dataset, data_dir)
    if len(images.test) < CLEAN_DRAWS * FEW:
        raise UserError(f"{dataset} has {len(images.test):,} test images: {CLEAN_DRAWS * FEW:,} are needed")
    scorer = yield from preparing(dataset, images, store, pick_device(device))
    yield from calibrate(scorer, dataset)


def calibrate(scorer: Scorer, dataset: str) -> Iterator[Progress | Calibration]:
    """Measure everything, and say how far it is; the last is the result."""
    clean = _Clean(scorer)
    points = list(clean.points())
    damages = {name: row for name, row in DAMAGES.items() if row.of is None or (clean.labels == row.of).any()}
    every = [(name, damage, strength) for name, damage in damages.items() for strength in damage.strengths]
    for i, (name, damage, strength) in enumerate(every):
        yield Progress(f"{name} {strength:g}", i / len(every))
        points += clean.damaged(name, damage, strength)
    yield Calibration(
        dataset=dataset,
        classifier=scorer.classifier,
        dataset_sha256=scorer.dataset_sha256,
        panel=scorer.panel,
        code=scorer.code,
        created=datetime.now(UTC),
        damages={k: Tried(unit=d.unit, strengths=d.strengths, slight=d.slight) for k, d in damages.items()},
        points=tuple(points),
    )


class _Clean:
    """The test images in a fixed order, what is seen in them, and the same of some training images."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        images = scorer.images
        order = in_order(len(images.test))[:MANY]
        self.test, self.labels = images.test[order], images.test_labels[order]
        self.seen = scorer.see(self.test)
        copied = images.train[in_order(len(images.train))[: MANY // 2]]
        self.pool = _joined(self.seen, scorer.see(copied))
        self.train = pixels(images.train).float()
        self.near = torch.cat([nearest(pixels(self.test).float(), self.train), torch.zeros(len(copied))])
        self.limit = float(self.near[: len(self.test)].double().quantile(RARE))

    def rows(self, i: int) -> Tensor:
        """The rows of clean set i of 1,000."""
        return torch.arange(i * FEW, (i + 1) * FEW)

    def points(self) -> Iterator[Point]:
        """Those of clean sets."""
        few = [self._of(self.pool, self.rows(i)) for i in range(min(CLEAN_DRAWS, len(self.test) // FEW))]
        yield from _summed(few, "", 0, FEW)
        mean, spread = self._of(self.pool, torch.arange(len(self.test))), self._spread()
        for metric, value in mean.items():
            yield _point("", 0, MANY, metric, 1, value, spread[metric])

    def _spread(self) -> dict[str, float]:
        """Metric → its standard deviation over clean sets of 10,000.

        Only the spread of sets drawn with replacement means anything: their bias is larger. A metric that compares all
        pairs would see the second copies, so that halves are taken instead.
        """
        random, n = np.random.default_rng(0), len(self.test)
        draws = [torch.from_numpy(random.integers(n, size=n)) for _ in range(RESAMPLES)]
        of_draws = [_scores(self.seen.rows(rows), self.scorer, pairs=False) for rows in draws]
        found = {metric: float(np.std([scores[metric] for scores in of_draws], ddof=1)) for metric in of_draws[0]}
        orders = [torch.from_numpy(random.permutation(n)) for _ in range(SPLITS)]
        of_halves = [[self._of(self.pool, half) for half in order[: n - n % 2].reshape(2, -1)] for order in orders]
        for metric in of_halves[0][0]:
            found.setdefault(metric, sd_from_halves([(one[metric], other[metric]) for one, other in of_halves]))
        return found

    def damaged(self, name: str, damage: Damage, strength: float) -> Iterator[Point]:
        """Those of one strength of a damage."""
        if damage.images is not None:
            images = damage.images(self.test, strength, torch.Generator().manual_seed(1))
            seen, near = self.scorer.see(images), nearest(pixels(images).float(), self.train)
            few = [self._of(seen, self.rows(i), near) for i in range(DRAWS)]
            size, many = len(images), self._of(seen, torch.arange(len(images)), near)
        elif damage.rows is not None:
            few = [self._of(self.pool, damage.rows(self.labels, self.rows(i), strength)) for i in range(DRAWS)]
            rows = damage.rows(self.labels, torch.arange(len(self.test)), strength)
            size, many = len(rows), self._of(self.pool, rows)
        else:
            raise ValueError(f"{name} has neither images nor rows")
        yield from _summed(few, name, strength, FEW)
        yield from _summed([many], name, strength, MANY, size)

    def _of(self, seen: Features, rows: Tensor, near: Tensor | None = None) -> dict[str, float]:
        copies = float(((self.near if near is None else near)[rows] <= self.limit).double().mean())
        return _scores(seen.rows(rows), self.scorer, pairs=True) | {COPIES: copies}


def _joined(a: Features, b: Features) -> Features:
    beside = {name: torch.cat([a.beside[name], b.beside[name]]) for name in a.beside}
    return Features(torch.cat([a.features, b.features]), torch.cat([a.logits, b.logits]), None, beside)


PAIRS = ("kid", "precision", "recall", "density", "coverage", "repeated")
"""Metrics that compare every image with every other."""
LEFT_OUT = ("fid_infinity",)
"""It is FID without its bias, and takes eight times as long."""


def _scores(seen: Features, scorer: Scorer, *, pairs: bool) -> dict[str, float]:
    """Every metric that has a better way, of what is seen."""
    rows = {name: row for name, row in entries("metric").items() if row.better and possible(name, row, seen)}
    rows = {name: row for name, row in rows.items() if name not in LEFT_OUT}
    return {name: row.of(seen, scorer.reference) for name, row in rows.items() if pairs or name not in PAIRS}


def _summed(
    sets: list[dict[str, float]], damage: str, strength: float, n: int, size: int | None = None
) -> Iterator[Point]:
    """The points of some sets of n images; ``size``: how many there really are, where they are fewer."""
    for metric in sets[0]:
        values = np.array([scores[metric] for scores in sets])
        sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        yield _point(damage, strength, n, metric, len(sets), float(values.mean()), sd, size)


def _point(
    damage: str, strength: float, n: int, metric: str, draws: int, mean: float, sd: float, size: int | None = None
) -> Point:
    return Point(
        damage=damage, strength=float(strength), n=n, metric=metric, draws=draws, mean=mean, sd=sd,
        size=None if size == n else size,
    )  # fmt: skip
