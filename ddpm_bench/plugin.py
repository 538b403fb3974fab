"""The pytest plug-in, for whoever wants to gate a sampler of their own: installed with the package, nothing to import.

``assert_quality(samples, baseline=…)`` scores images against MNIST (or another data set) and fails where they are worse
than a baseline. ``bench_epoch`` and ``bench_sampling`` time an epoch and sampling under pytest-benchmark.

Loading the plug-in imports nothing but pytest: the repository under test may have a package ``bench`` of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor, nn


@pytest.fixture(scope="session")
def assert_quality(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``assert_quality(samples, baseline=…, dataset="mnist", metric="fid", margin=0.25, alpha=0.01, labels=None)``.

    ``samples``: an array or tensor (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or floats in [0, 1] or [−1, 1]; or
    the path of a folder of images, an .npy or an .npz. ``baseline``: such samples; or what ``ddpm-bench score --format
    json`` printed, as a file or, better, several of as many training runs. ``labels``: the classes (N,) that samples
    were to be of, for ``class_accuracy``; those of files are read.

    The test fails where the metric is worse by more than the margin and by more than chance explains: the spread of the
    baseline's runs where there are three or more, else that of drawing these samples, by bootstrap. Where it is worse
    by the margin but may be chance, it warns. The reference is worked out once and kept in pytest's cache.
    """
    cache = getattr(request.config, "cache", None)
    folder = Path(cache.mkdir("ddpm-bench")) if cache else Path(".ddpm-bench")

    def check(samples: Any, baseline: Any, *, dataset: str = "mnist", **options: Any) -> None:
        from ddpm_bench.quality import judge

        verdict, note = judge(samples, baseline, dataset, folder, options)
        if verdict in ("FAIL", "could not measure"):
            pytest.fail(note if verdict == "FAIL" else f"{verdict}: {note}", pytrace=False)
        if verdict == "undecided":
            warnings.warn(f"undecided: {note}", stacklevel=2)

    return check


@pytest.fixture
def bench_epoch(benchmark: Any) -> Callable[..., None]:
    """``bench_epoch(net, images, objective="v", schedule="cosine", T=1000, batch_size=64, rounds=3)``: an epoch's time.

    ``images`` are uint8 (N, C, H, W) on the network's device.
    """
    _need_own_packages()

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
    _need_own_packages()

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

        benchmark.extra_info |= {"images": n, "evaluations": way.evaluations}
        benchmark.pedantic(draw, rounds=rounds, warmup_rounds=1)

    return run


def _need_own_packages() -> None:
    """Fail the test in one line where another ``bench`` or ``ddpm`` hides this project's: nothing could be timed."""
    from ddpm_bench.packages import hidden

    if (why := hidden()) is not None:
        pytest.fail(f"could not measure: {why}", pytrace=False)
