"""The pytest plug-in, for whoever wants to gate a sampler of their own: installed with the package, nothing to import.

``assert_quality(samples, baseline=…)`` scores images against MNIST (or another data set) and fails where they are worse
than a baseline. ``bench_epoch`` and ``bench_sampling`` time an epoch and sampling under pytest-benchmark.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.gate.verdicts import Outcome
    from bench.score.scorer import Scorer


RESAMPLES = 50


@pytest.fixture(scope="session")
def assert_quality(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``assert_quality(samples, baseline=…, dataset="mnist", metric="fid", margin=0.25, alpha=0.01)``.

    ``samples``: an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1] or [−1, 1]; or
    the path of a folder of PNGs, an .npy or an .npz. ``baseline``: such samples; or what ``ddpm-bench score --format
    json`` printed, as a file or, better, several of as many training runs.

    The test fails where the metric is worse by more than the margin and more than chance explains: that of the
    baseline's runs where there are three or more, else that of drawing these samples, by bootstrap. Where it is worse
    by the margin but may be chance, it warns. The reference is extracted once and kept in pytest's cache.
    """
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir("ddpm-bench")) if cache else Path(".ddpm-bench")

    def check(samples: Any, baseline: Any, *, dataset: str = "mnist", **options: Any) -> None:
        from bench.errors import UserError
        from bench.gate.verdicts import FAIL, UNDECIDED

        try:
            outcome = judge(scorer_of(dataset, folder), samples, baseline, **options)
        except UserError as error:
            pytest.fail(f"could not measure: {error}", pytrace=False)
        if outcome.verdict == FAIL:
            pytest.fail(outcome.note, pytrace=False)
        if outcome.verdict == UNDECIDED:
            warnings.warn(f"undecided: {outcome.note}", stacklevel=2)

    return check


def scorer_of(dataset: str, folder: Path) -> Scorer:
    """What scores this data set, its reference kept in ``folder``.

    :raises UserError: for a data set that is not known or not there.
    """
    import torch

    from bench.images import datasets
    from bench.rows import known
    from bench.score.scorer import Scorer
    from bench.store.store import Store

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
    """Samples against a baseline, as :func:`assert_quality` takes them.

    :raises UserError: for what cannot be scored, or does not compare.
    """
    from bench.errors import UserError, unknown
    from bench.gate import nightly
    from bench.gate.verdicts import FAIL, PASS, UNDECIDED, Outcome
    from bench.rows import entries

    margin, alpha = nightly.MARGIN if margin is None else margin, nightly.ALPHA if alpha is None else alpha
    ranking = {name: row.better for name, row in entries("metric").items() if row.better}
    if metric not in ranking:
        raise unknown("metric", metric, ranking)
    sign = 1 if ranking[metric] == "lower" else -1
    images = _images(scorer, samples)
    known = _baseline(scorer, baseline, metric, len(images))
    found = scorer.score(images, only=metric)[metric]
    if found == 0 and sign < 0:
        return Outcome(metric, FAIL, found, None, f"{metric} is 0, baseline {known[0]:.4g} (N = {len(images)})")
    if not min(found, *known) > 0:
        raise UserError(f"{metric} is {found:g} where the baseline is {known[0]:g}: ratios need positive numbers")
    logs = [math.log(value) for value in known]
    worse = sign * (math.log(found) - sum(logs) / len(logs))
    verdict, reach = PASS, 0.0
    if worse > math.log1p(margin):
        several = len(known) >= nightly.SEEDS
        reach = nightly.prediction_reach(known, 1, alpha) if several else _chance(scorer, images, metric, alpha)
        verdict = FAIL if worse > reach else UNDECIDED
    middle = math.exp(sum(logs) / len(logs))
    limit = middle * math.exp(sign * max(reach, math.log1p(margin)))
    note = f"{metric} {found:.4g}, baseline {middle:.4g} (limit {limit:.4g}, N = {len(images)})"
    return Outcome(metric, verdict, found, limit, note)


def _images(scorer: Scorer, samples: Any) -> Tensor:
    """Samples in whatever form → uint8 (N, C, H, W)."""
    import numpy as np

    from bench.images import files

    if isinstance(samples, str | Path):
        return files.read(Path(samples), *scorer.images.shape)[0]
    array = samples.detach().cpu().numpy() if hasattr(samples, "detach") else np.asarray(samples)
    return files.converted(array, "samples", *scorer.images.shape)


def _baseline(scorer: Scorer, baseline: Any, metric: str, n: int) -> list[float]:
    """The baseline's scores, of as many images."""
    from bench.errors import UserError

    several = baseline if isinstance(baseline, Sequence) and not isinstance(baseline, str) else [baseline]
    if not all(isinstance(one, str | Path) and str(one).endswith(".json") for one in several):
        images = _images(scorer, baseline)
        if len(images) != n:
            raise UserError(f"{n} samples against a baseline of {len(images)}: {metric} compares at equal N only")
        return [scorer.score(images, only=metric)[metric]]
    found = []
    for path in several:
        try:
            record = json.loads(Path(path).read_text())
            value, about = float(record["metrics"][metric]), (record["n"], record["classifier"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not what `ddpm-bench score --format json` prints, or lacks {metric}") from error
        for what, theirs, ours in zip(("n", "classifier"), about, (n, scorer.classifier), strict=True):
            if theirs != ours:
                raise UserError(f"{path} has {what} {str(theirs)[:12]}, these samples {str(ours)[:12]}")
        found.append(value)
    return found


def _chance(scorer: Scorer, images: Tensor, metric: str, alpha: float) -> float:
    """How far the log of the metric may be above its mean by the drawing of images alone, but for a chance of α."""
    import numpy as np
    import torch
    from scipy import stats

    from bench.score import classifier
    from bench.score.classifier import Features
    from bench.score.metrics import METRICS

    seen, random = classifier.extract(scorer.network, images, scorer.device), np.random.default_rng(0)
    logs = []
    for _ in range(RESAMPLES):
        rows = torch.from_numpy(random.integers(len(images), size=len(images)))
        logs.append(math.log(METRICS[metric].of(Features(seen.features[rows], seen.logits[rows]), scorer.reference)))
    # the baseline was drawn as well; and resampled images have a larger bias, so only the spread means anything
    return float(stats.norm.ppf(1 - alpha) * np.std(logs)) * math.sqrt(2)


@pytest.fixture
def bench_epoch(benchmark: Any) -> Callable[..., None]:
    """``bench_epoch(net, images, objective="v", schedule="cosine", T=1000, batch_size=64, rounds=3)``: an epoch's time.

    ``images`` are uint8 (N, C, H, W) on the network's device.
    """

    def run(
        net: nn.Module,
        images: Tensor,
        *,
        objective: str = "v",
        schedule: str = "cosine",
        T: int = 1000,
        batch_size: int = 64,
        rounds: int = 3,
    ) -> None:
        from bench.images.datasets import to_float
        from ddpm.objective import default_weight
        from ddpm.schedule import make_schedule
        from ddpm.train import Loss, Recipe, Trainer

        loss = Loss(make_schedule(schedule, T), objective, default_weight(objective))

        def epoch() -> float:
            trainer = Trainer(net, loss, Recipe(epochs=1, batch_size=batch_size), 0)
            *_, last = trainer.steps(images, to_float)
            return last.loss.item()  # waits for the device

        benchmark.extra_info["images"] = len(images)
        benchmark.pedantic(epoch, rounds=rounds, warmup_rounds=1)

    return run


@pytest.fixture
def bench_sampling(benchmark: Any) -> Callable[..., None]:
    """``bench_sampling(net, shape=(1, 28), objective="v", schedule="cosine", T=1000, sampler="ddim", …)``.

    The time of drawing ``n`` (100) images of ``shape`` (channels, side) in ``steps`` (10).
    """

    def run(
        net: nn.Module,
        *,
        shape: tuple[int, int] = (1, 28),
        objective: str = "v",
        schedule: str = "cosine",
        T: int = 1000,
        sampler: str = "ddim",
        steps: int = 10,
        n: int = 100,
        rounds: int = 3,
    ) -> None:
        from bench.job.generate import generate
        from bench.rows import read
        from bench.study.model import Sampling
        from ddpm.schedule import make_schedule

        device = next(net.parameters()).device
        table = make_schedule(schedule, T)
        way = Sampling(sampler=read("sampler", sampler), sample_steps=steps)

        def draw() -> int:
            batches = generate(net, table, objective, way, shape=shape, n=n, device=device)
            return sum(len(batch.images) for batch in batches)

        benchmark.extra_info |= {"images": n, "evaluations": steps}
        benchmark.pedantic(draw, rounds=rounds, warmup_rounds=1)

    return run
