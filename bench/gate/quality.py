"""Samples of anybody's against a baseline: what the pytest plug-in's ``assert_quality`` does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
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
from bench.rows import entries, known
from bench.score import classifier, printed
from bench.score.classifier import Features
from bench.score.scorer import Scorer
from bench.store.store import Store

RESAMPLES = 50
"""Bootstrap samples of the images."""


def scorer_of(dataset: str, folder: Path) -> Scorer:
    """What scores this data set, its reference kept in ``folder``.

    :raises UserError: for a data set that is not known or not there.
    """
    known("dataset", dataset)
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
    sign = 1 if ranking[metric] == "lower" else -1
    images, asked = _images(scorer, samples, labels)
    found = _score(scorer, images, asked, metric, "samples")
    before = _baseline(scorer, baseline, metric, len(images))
    if found == 0 and sign < 0:
        return Outcome(metric, FAIL, found, None, f"{metric} is 0, baseline {before[0]:.4g} (N = {len(images)})")
    if not min(found, *before) > 0:
        raise UserError(f"{metric} is {found:g} where the baseline is {before[0]:g}: ratios need positive numbers")
    logs = [math.log(value) for value in before]
    worse = sign * (math.log(found) - sum(logs) / len(logs))
    verdict, reach = PASS, 0.0
    if worse > math.log1p(margin):
        several = len(before) >= baselines.SEEDS
        reach = nightly.prediction_reach(before, 1, alpha) if several else _chance(scorer, images, asked, metric, alpha)
        verdict = FAIL if worse > reach else UNDECIDED
    middle = math.exp(sum(logs) / len(logs))
    limit = middle * math.exp(sign * max(reach, math.log1p(margin)))
    note = f"{metric} {found:.4g}, baseline {middle:.4g} (limit {limit:.4g}, N = {len(images)})"
    return Outcome(metric, verdict, found, limit, note)


def _images(scorer: Scorer, samples: Any, labels: Any = None) -> tuple[Tensor, Tensor | None]:
    """Samples in whatever form → uint8 (N, C, H, W), and their classes (N,) where they or the files say them.

    :raises UserError: for what cannot be read, or labels that are not a class for each image.
    """
    if isinstance(samples, str | Path):
        source = files.take(given(samples), *scorer.images.shape)
    else:
        source = files.of_array(_array(samples), "samples", *scorer.images.shape)
    asked = source.labels if labels is None else _array(labels)
    if asked is None:
        return source.whole(), None
    whole = np.issubdtype(asked.dtype, np.integer) and asked.shape == (source.n,)
    if not whole or not 0 <= int(asked.min()) <= int(asked.max()) < classifier.CLASSES:
        raise UserError(f"labels must be {source.n} whole numbers from 0 to {classifier.CLASSES - 1}, one an image")
    return source.whole(), torch.from_numpy(asked.astype(np.int64))


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _score(scorer: Scorer, images: Tensor, asked: Tensor | None, metric: str, what: str) -> float:
    if entries("metric")[metric].asks and asked is None:
        raise UserError(f"{metric} needs the classes that {what} were to be of: labels=…, or files that hold labels")
    return scorer.score(images, asked, only=metric)[metric]


def _baseline(scorer: Scorer, baseline: Any, metric: str, n: int) -> list[float]:
    """The baseline's scores, of as many images."""
    several = baseline if isinstance(baseline, Sequence) and not isinstance(baseline, str) else [baseline]
    if not all(isinstance(one, str | Path) and str(one).endswith(".json") for one in several):
        images, asked = _images(scorer, baseline)
        if len(images) != n:
            raise UserError(f"{n} samples against a baseline of {len(images)}: {metric} compares at equal N only")
        return [_score(scorer, images, asked, metric, "the baseline's images")]
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


def _chance(scorer: Scorer, images: Tensor, asked: Tensor | None, metric: str, alpha: float) -> float:
    """How far the log of the metric may be above its mean by the drawing of images alone, but for a chance of α."""
    seen, random = classifier.extract(scorer.network, images, scorer.device), np.random.default_rng(0)
    logs = []
    for _ in range(RESAMPLES):
        rows = torch.from_numpy(random.integers(len(images), size=len(images)))
        some = Features(seen.features[rows], seen.logits[rows], None if asked is None else asked[rows])
        logs.append(math.log(entries("metric")[metric].of(some, scorer.reference)))
    # the baseline was drawn as well; and resampled images have a larger bias, so only the spread means anything
    return float(stats.norm.ppf(1 - alpha) * np.std(logs)) * math.sqrt(2)
