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
from bench.rows import entries, known
from bench.score import printed
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
) -> Outcome:
    """Samples against a baseline, as ``assert_quality`` takes them (:mod:`ddpm_bench.plugin`).

    :raises UserError: for what cannot be scored, or does not compare.
    """
    margin, alpha = nightly.MARGIN if margin is None else margin, nightly.ALPHA if alpha is None else alpha
    ranking = {name: row.better for name, row in entries("metric").items() if row.better}
    if metric not in ranking:
        raise unknown("metric", metric, ranking)
    if entries("metric")[metric].beside and metric not in scorer.reference.beside:
        raise UserError(f"{metric} is by a judge that this data set does not have")
    sign = 1 if ranking[metric] == "lower" else -1
    images = _images(scorer, samples)
    before = _baseline(scorer, baseline, metric, len(images))
    found = scorer.score(images, only=metric)[metric]
    if found == 0 and sign < 0:
        return Outcome(metric, FAIL, found, None, f"{metric} is 0, baseline {before[0]:.4g} (N = {len(images)})")
    if not min(found, *before) > 0:
        raise UserError(f"{metric} is {found:g} where the baseline is {before[0]:g}: ratios need positive numbers")
    logs = [math.log(value) for value in before]
    worse = sign * (math.log(found) - sum(logs) / len(logs))
    verdict, reach = PASS, 0.0
    if worse > math.log1p(margin):
        several = len(before) >= baselines.SEEDS
        reach = nightly.prediction_reach(before, 1, alpha) if several else _chance(scorer, images, metric, alpha)
        verdict = FAIL if worse > reach else UNDECIDED
    middle = math.exp(sum(logs) / len(logs))
    limit = middle * math.exp(sign * max(reach, math.log1p(margin)))
    note = f"{metric} {found:.4g}, baseline {middle:.4g} (limit {limit:.4g}, N = {len(images)})"
    return Outcome(metric, verdict, found, limit, note)


def _images(scorer: Scorer, samples: Any) -> Tensor:
    """Samples in whatever form → uint8 (N, C, H, W)."""
    if isinstance(samples, str | Path):
        return files.read(Path(samples), *scorer.images.shape)[0]
    array = samples.detach().cpu().numpy() if hasattr(samples, "detach") else np.asarray(samples)
    return files.converted(array, "samples", *scorer.images.shape)


def _baseline(scorer: Scorer, baseline: Any, metric: str, n: int) -> list[float]:
    """The baseline's scores, of as many images."""
    several = baseline if isinstance(baseline, Sequence) and not isinstance(baseline, str) else [baseline]
    if not all(isinstance(one, str | Path) and str(one).endswith(".json") for one in several):
        images = _images(scorer, baseline)
        if len(images) != n:
            raise UserError(f"{n} samples against a baseline of {len(images)}: {metric} compares at equal N only")
        return [scorer.score(images, only=metric)[metric]]
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


def _chance(scorer: Scorer, images: Tensor, metric: str, alpha: float) -> float:
    """How far the log of the metric may be above its mean by the drawing of images alone, but for a chance of α."""
    seen, random = scorer.see(images, only=metric), np.random.default_rng(0)
    logs = []
    for _ in range(RESAMPLES):
        rows = torch.from_numpy(random.integers(len(images), size=len(images)))
        logs.append(math.log(entries("metric")[metric].of(seen.rows(rows), scorer.reference)))
    # the baseline was drawn as well; and resampled images have a larger bias, so only the spread means anything
    return float(stats.norm.ppf(1 - alpha) * np.std(logs)) * math.sqrt(2)
