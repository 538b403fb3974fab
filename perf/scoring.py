"""The same FID by four libraries, and how fast each gets it: ``python -m perf.scoring``.

It needs the peers (``pip install -e '.[peers]'``). Our classifier is everybody's feature extractor. Each library scores
uint8 images in memory against the same reference, whose statistics it may prepare beforehand (not timed). pytorch-fid
reads files, so it gets PNGs (written beforehand), and images as float RGB, which its extractor turns back. Nobody
starts worker processes: starting them takes longer than all of the scoring.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.images import datasets
from bench.images.grids import png
from bench.score import classifier, metrics
from bench.score.classifier import BATCH
from bench.score.learning import JudgeNetwork
from bench.score.reference import Reference
from bench.score.scorer import Scorer
from bench.store.store import Store
from perf.record import claim, save
from perf.rounds import ratio

TOLERANCE = 1e-3
N, REFERENCE_N = 2000, 10_000
ROUNDS = 11
OURS, ALL = "ours", "ours, all metrics"
MODULES = {"torch-fidelity": "torch_fidelity", "torchmetrics": "torchmetrics", "pytorch-fid": "pytorch_fid"}
"""Other library → its module."""
NOTE = (
    f"{N:,} images were scored against {REFERENCE_N:,}, in turn. All libraries have the same extractor. What can be "
    "prepared of the reference is prepared, and not timed."
)


class Flat(nn.Module):
    """For torchmetrics: uint8 (B, 1, H, W) → features (B, d)."""

    def __init__(self, network: JudgeNetwork) -> None:
        super().__init__()
        self.network, self.num_features = network, network.features

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """The features."""
        features: Tensor = self.network(images)[0]
        return features


class Pooled(nn.Module):
    """For pytorch-fid: float RGB 0 … 1 (B, 3, H, W) → [features (B, d, 1, 1)]."""

    def __init__(self, network: JudgeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        """The features, as its Inception gives them."""
        grey = images[:, :1].mul(255).round().to(torch.uint8)
        return [self.network(grey)[0][:, :, None, None]]


class Images(torch.utils.data.Dataset[Tensor]):
    """For torch-fidelity: bare uint8 images."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def compare(images: Tensor, reference: Tensor, scorer: Scorer, rounds: int) -> dict[str, Any]:
    """Time everybody on uint8 ``images`` (n, 1, H, W) against ``reference``, in turn, after a round not counted.

    Library → its raw ``seconds`` and ``fid``.

    :raises ArithmeticError: if the FIDs differ by more than :data:`TOLERANCE` of ours.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        given = Given(images, reference, scorer, Path(folder))
        ways = {name: way(given) for name, way in LIBRARIES.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        fids: dict[str, float] = {}
        for turn in range(rounds + 1):
            for name, score in ways.items():
                since = time.perf_counter()
                with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                    fids[name] = score()
                if turn:
                    seconds[name].append(time.perf_counter() - since)
    for name, fid in fids.items():
        if abs(fid / fids[OURS] - 1) > TOLERANCE:
            raise ArithmeticError(f"{name} has an FID of {fid}, ours is {fids[OURS]}")
    return {name: {"seconds": seconds[name], "fid": fids[name]} for name in ways}


def rows(libraries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each library. Its ratio is the median of what each round gives."""
    for name, found in libraries.items():
        yield {
            "library": name,
            "seconds": statistics.median(found["seconds"]),
            "shortest": min(found["seconds"]),
            "longest": max(found["seconds"]),
            "time over ours": ratio(found["seconds"], libraries[OURS]["seconds"]),
            "FID": found["fid"],
        }


def claims(libraries: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Ours against the fastest of the others."""
    others = {name: found["seconds"] for name, found in libraries.items() if name not in (OURS, ALL)}
    ratios = {name: ratio(seconds, libraries[OURS]["seconds"]) for name, seconds in others.items()}
    fastest = min(ratios, key=ratios.__getitem__)
    what = f"FID alone, the time of the fastest other library ({fastest}) over ours"
    yield claim(what, "≥ 1×", f"{ratios[fastest]:.2f}×", ratios[fastest] >= 1)


@dataclass(frozen=True)
class Given:
    """What all score: uint8 images (n, 1, H, W), the reference's, whose network, and a folder for files."""

    images: Tensor
    reference: Tensor
    scorer: Scorer
    folder: Path

    @cached_property
    def kept(self) -> Reference:
        """The reference, as the network sees it."""
        return Reference(self.seen(self.reference).features)

    def seen(self, images: Tensor) -> classifier.Features:
        """What the network sees."""
        return classifier.extract(self.scorer.network, images)


def _ours(given: Given) -> Callable[[], float]:
    kept = given.kept
    return lambda: metrics.fid(given.seen(given.images), kept)


def _all_metrics(given: Given) -> Callable[[], float]:
    kept = given.kept
    return lambda: metrics.score(given.seen(given.images), kept)["fid"]


def _torch_fidelity(given: Given) -> Callable[[], float]:
    from torch_fidelity import calculate_metrics

    from bench.score import fidelity

    extractor = fidelity.register("mnist", given.scorer.classifier, given.scorer.network)

    def score() -> float:
        found = calculate_metrics(
            input1=Images(given.images),
            input2=Images(given.reference),
            input2_cache_name="reference",  # its statistics are kept there by the round that is not counted
            cache_root=str(given.folder / "torch-fidelity"),
            fid=True,
            feature_extractor=extractor,
            batch_size=BATCH,
            cuda=False,
            save_cpu_ram=True,  # no worker processes: here they would cost more than they do
            verbose=False,
        )
        return float(found["frechet_inception_distance"])

    return score


def _torchmetrics(given: Given) -> Callable[[], float]:
    from torchmetrics.image.fid import FrechetInceptionDistance

    # in float64, as its documentation recommends; what is kept of the reference outlives a reset
    metric = FrechetInceptionDistance(Flat(given.scorer.network), reset_real_features=False)
    for batch in given.reference.split(BATCH):
        metric.update(batch, real=True)

    def score() -> float:
        metric.reset()
        for batch in given.images.split(BATCH):
            metric.update(batch, real=False)
        return float(metric.compute())

    return score


def _pytorch_fid(given: Given) -> Callable[[], float]:
    from pytorch_fid import fid_score

    moments, network = given.kept.moments, given.scorer.network
    files, statistics_file = given.folder / "png", given.folder / "reference.npz"
    files.mkdir()
    for i, image in enumerate(given.images):
        (files / f"{i:06}.png").write_bytes(png(image))
    np.savez(statistics_file, mu=moments.mean, sigma=moments.covariance)
    arguments = {
        "batch_size": min(BATCH, len(given.images)),
        "dims": network.features,
        "device": "cpu",
        "num_workers": 0,
    }

    def score() -> float:
        model = Pooled(network)
        ours = fid_score.compute_statistics_of_path(str(files), model, **arguments)
        theirs = fid_score.compute_statistics_of_path(str(statistics_file), model, **arguments)
        return float(fid_score.calculate_frechet_distance(*ours, *theirs))

    return score


LIBRARIES: dict[str, Callable[[Given], Callable[[], float]]] = {
    OURS: _ours,
    ALL: _all_metrics,
    "torch-fidelity": _torch_fidelity,
    "torchmetrics": _torchmetrics,
    "pytorch-fid": _pytorch_fid,
}
"""Library → what prepares everything about the reference, and gives the function that is timed."""


def noisy(images: Tensor, n: int = N) -> Tensor:
    """``n`` of the images, uint8, with noise of 20 grey levels."""
    random = torch.Generator().manual_seed(0)
    picked = images[torch.randperm(len(images), generator=random)[:n]]
    return (picked + 20 * torch.randn(picked.shape, generator=random)).round().clamp(0, 255).to(torch.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, save; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.scoring", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that all are measured (default %(default)s)")
    args = parser.parse_args(argv)
    try:
        if args.rounds < 1:
            raise UserError(f"--rounds must be at least 1, not {args.rounds}")
        for module in MODULES.values():
            if find_spec(module) is None:
                raise UserError(f"{module} is not installed: pip install -e '.[peers]'")
    except UserError as error:
        print(f"perf.scoring: {error}", file=sys.stderr)
        return 2
    images = datasets.load("mnist")
    with tempfile.TemporaryDirectory() as scratch:
        scorer = Scorer("mnist", images, Store(Path(scratch)), torch.device("cpu"))
        found = compare(noisy(images.test), images.train[:REFERENCE_N], scorer, args.rounds)
    for name, one in found.items():
        print(f"{name}: {statistics.median(one['seconds']):.3f} s, FID {one['fid']:.4g}")
    made = list(claims(found))
    print(f"{made[0]['claim']}: {made[0]['measured']}")
    print(save("scoring", {"note": NOTE, "rows": list(rows(found)), "claims": made, "libraries": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
