"""Samples of anybody's against a baseline: what the pytest plug-in's ``assert_quality`` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from bench.errors import UserError, unknown
from bench.gate import baselines, nightly
from bench.gate.verdicts import FAIL, PASS, UNDECIDED, Outcome
from bench.images import datasets, files
from bench.paths import given
from bench.rows import entries
from bench.score import metrics, printed
from bench.score.classifier import Features
from bench.score.scorer import Scorer
from bench.store.store import Store

RESAMPLES = 50
"""Bootstrap samples of the images."""
DOUBT = 0.05
"""A difference that chance explains with a smaller probability than this is no pass any more."""


@dataclass(frozen=True)
class Sample:
    """Images uint8 (N, C, H, W), the classes (N,) that they were to be of where that is known, and what scores them."""

    scorer: Scorer
    images: Tensor
    asked: Tensor | None
    what: str = "samples"
    _seen: dict[str, Features] = field(default_factory=dict)

    @classmethod
    def of(cls, scorer: Scorer, given_as: Any, labels: Any = None, what: str = "samples") -> Sample:
        """Samples in whatever form.

        :raises UserError: for what cannot be read, or labels that are not a class for each image.
        """
        if isinstance(given_as, str | Path):
            source = files.take(given(given_as), *scorer.images.shape, classes=scorer.images.classes)
        else:
            source = files.of_array(_array(given_as), what, *scorer.images.shape, classes=scorer.images.classes)
        asked = source.labels if labels is None else _array(labels)
        if asked is None:
            return cls(scorer, source.whole(), None, what)
        classes = scorer.images.classes
        whole = np.issubdtype(asked.dtype, np.integer) and asked.shape == (source.n,)
        if not whole or not 0 <= int(asked.min()) <= int(asked.max()) < classes:
            raise UserError(f"labels must be {source.n} whole numbers from 0 to {classes - 1}, one an image")
        return cls(scorer, source.whole(), torch.from_numpy(asked.astype(np.int64)), what)

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.images)

    def score(self, metric: str) -> float:
        """One metric.

        :raises UserError: for a metric that needs classes where none are known.
        """
        if entries("metric")[metric].asks and self.asked is None:
            raise UserError(f"{metric} needs the classes of {self.what}: give labels=…, or files that hold labels")
        return metrics.score(self.seen(metric), self.scorer.reference, metric)[metric]

    def seen(self, metric: str) -> Features:
        """What the metric's judge sees in the images, looked at once."""
        if metric not in self._seen:
            self._seen[metric] = self.scorer.see(self.images, self.asked, only=metric)
        return self._seen[metric]

    def error(self, metric: str) -> float:
        """The metric's standard error over draws of images: its own, or by bootstrap where it has none."""
        stated = entries("metric")[metric].error
        if stated is None:
            return float(np.std(self.resampled(metric)))
        return float(stated(self.seen(metric), self.scorer.reference))

    def resampled(self, metric: str) -> list[float]:
        """The metric of bootstrap samples of the images."""
        seen = self.seen(metric)
        random = np.random.default_rng(0)
        of, found = entries("metric")[metric].of, []
        for _ in range(RESAMPLES):
            rows = torch.from_numpy(random.integers(self.n, size=self.n))
            found.append(of(seen.rows(rows), self.scorer.reference))
        return found


def scorer_of(dataset: str, folder: Path) -> Scorer:
    """What scores this data set, its reference kept in ``folder``.

    :raises UserError: for a data set that is not known or not there.
    """
    dataset = datasets.named(dataset)
    return Scorer(dataset, datasets.load(dataset), Store(folder), torch.device("cpu"))


def judge(
    scorer: Scorer,
    samples: Any,
    baseline: Any,
    *,
    metric: str = "fid",
    margin: float | None = None,
    alpha: float | None = None,
    labels: Any = None,
) -> Outcome:
    """Samples against a baseline, as ``assert_quality`` takes them (:mod:`ddpm_bench.plugin`).

    :raises UserError: for what cannot be scored, or does not compare.
    """
    margin, alpha = nightly.MARGIN if margin is None else margin, nightly.ALPHA if alpha is None else alpha
    ranking = {name: row.better for name, row in entries("metric").items() if row.better}
    if metric not in ranking:
        raise unknown("metric", metric, ranking)
    if entries("metric")[metric].beside and metric not in scorer.reference.beside:
        raise UserError(f"{metric} is by a judge or view that this data set does not have")
    if entries("metric")[metric].classes and not scorer.images.classes:
        raise UserError(f"{metric} needs classes, and this data set has none")
    sign = 1 if ranking[metric] == "lower" else -1
    sample = Sample.of(scorer, samples, labels)
    found = sample.score(metric)
    before = _baseline(scorer, baseline, metric, sample.n)
    if entries("metric")[metric].compared == "difference":
        return _by_difference(sample, found, before, metric, sign, margin, alpha)
    if found == 0 and sign < 0:
        return Outcome(metric, FAIL, found, None, f"{metric} is 0, baseline {before[0]:.4g} (N = {sample.n})")
    if not min(found, *before) > 0:
        raise UserError(f"{metric} is {found:g} where the baseline is {before[0]:g}: ratios need positive numbers")
    logs = [math.log(value) for value in before]
    worse = sign * (math.log(found) - sum(logs) / len(logs))
    verdict, reach = PASS, 0.0
    if worse > math.log1p(margin):
        reach = nightly.prediction_reach(before, 1, alpha) if _tell(before) else _chance(sample, metric, alpha)
        verdict = FAIL if worse > reach else UNDECIDED
    middle = math.exp(sum(logs) / len(logs))
    limit = middle * math.exp(sign * max(reach, math.log1p(margin)))
    note = f"{metric} {found:.4g}, baseline {middle:.4g} (limit {limit:.4g}, N = {sample.n})"
    return Outcome(metric, verdict, found, limit, note)


def _by_difference(
    sample: Sample, found: float, before: list[float], metric: str, sign: int, margin: float, alpha: float
) -> Outcome:
    """The verdict on a metric that may be negative or zero: the difference against its own standard error.

    The margin is a share of the baseline, which may be next to nothing. So samples fail only if they are worse by more
    than chance explains at α too, and are undecided from :data:`DOUBT` on.
    """
    middle = fmean(before)
    least = margin * abs(middle)
    if _tell(before):
        doubt, reach = (nightly.spread_reach(before, 1, level) for level in (DOUBT, alpha))
    else:
        error = sample.error(metric) * math.sqrt(2)  # the baseline was drawn as well
        doubt, reach = (float(stats.norm.ppf(1 - level)) * error for level in (DOUBT, alpha))
    worse = sign * (found - middle)
    verdict = FAIL if worse > max(least, reach) else UNDECIDED if worse > max(least, doubt) else PASS
    limit = middle + sign * max(least, reach)
    note = f"{metric} {found:.4g}, baseline {middle:.4g} (limit {limit:.4g}, N = {sample.n})"
    return Outcome(metric, verdict, found, limit, note)


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _baseline(scorer: Scorer, baseline: Any, metric: str, n: int) -> list[float]:
    """The baseline's scores, of as many images."""
    several = baseline if isinstance(baseline, Sequence) and not isinstance(baseline, str) else [baseline]
    if not all(isinstance(one, str | Path) and str(one).endswith(".json") for one in several):
        other = Sample.of(scorer, baseline, what="the baseline's images")
        if other.n != n:
            raise UserError(f"{n} samples against a baseline of {other.n}: {metric} can be compared only at equal N")
        return [other.score(metric)]
    found = []
    for path in several:
        report = printed.read(Path(path))
        if metric not in report.metrics:
            raise UserError(f"{path} lacks {metric}")
        for what, theirs, ours in (("n", report.n, n), ("classifier", report.classifier, scorer.classifier)):
            if theirs != ours:
                raise UserError(f"{path} has {what} {str(theirs)[:12]}, these samples {str(ours)[:12]}")
        found.append(report.metrics[metric])
    return found


def _tell(before: Sequence[float]) -> bool:
    """Whether a baseline's runs tell what chance does: they are enough, and not all equal, as where each is 0."""
    return len(before) >= baselines.SEEDS and len(set(before)) > 1


def _chance(sample: Sample, metric: str, alpha: float) -> float:
    """How far the log of the metric may be above its mean by the drawing of images alone, but for a chance of α."""
    logs = np.log(sample.resampled(metric))
    # the baseline was drawn as well; and resampled images have a larger bias, so only the spread means anything
    return float(stats.norm.ppf(1 - alpha) * np.std(logs)) * math.sqrt(2)
