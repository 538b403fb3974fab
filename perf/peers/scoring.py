"""The same FID by four libraries, with our classifier as everybody's feature extractor, and how fast each gets it.

Each scores uint8 images in memory against the same reference, whose statistics it may prepare beforehand (not timed).
pytorch-fid reads files, so it gets PNGs (written beforehand), and images as float RGB, which its extractor turns back.
Nobody starts worker processes: starting them takes longer than all of the scoring.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.images.grids import png
from bench.score import classifier, distances, metrics
from bench.score.classifier import BATCH
from bench.score.learning import JudgeNetwork
from bench.score.reference import Reference
from bench.score.scorer import Scorer

TOLERANCE = 1e-3
ALL = "ours, all metrics"


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


def compare(images: Tensor, reference: Tensor, scorer: Scorer, repeats: int) -> dict[str, Any]:
    """Time everybody on uint8 ``images`` (n, 1, H, W) against ``reference``, in turn, after a round not counted.

    :raises ArithmeticError: if the FIDs differ by more than :data:`TOLERANCE` of ours.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        ways = _ways(images, reference, scorer, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        fids: dict[str, float] = {}
        for turn in range(repeats + 1):
            for name, score in ways.items():
                since = time.perf_counter()
                with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                    fids[name] = score()
                if turn:
                    seconds[name].append(time.perf_counter() - since)
    for name, fid in fids.items():
        if abs(fid / fids["ours"] - 1) > TOLERANCE:
            raise ArithmeticError(f"{name} has an FID of {fid}, ours is {fids['ours']}")
    middle = {name: statistics.median(raw) for name, raw in seconds.items()}
    return {
        "n": len(images),
        "reference_n": len(reference),
        "tolerance": TOLERANCE,
        "libraries": [
            {
                "library": name,
                "seconds": seconds[name],
                "images_per_s": len(images) / middle[name],
                "fid": fids[name],
                "ratio": middle[name] / middle["ours"],
            }
            for name in ways
        ],
    }


def _ways(images: Tensor, reference: Tensor, scorer: Scorer, folder: Path) -> dict[str, Callable[[], float]]:
    """Library → a function that scores ``images``, everything about the reference prepared."""
    kept = Reference(classifier.extract(scorer.network, reference).features)
    return {
        "ours": lambda: metrics.fid(classifier.extract(scorer.network, images), kept),
        ALL: lambda: metrics.score(classifier.extract(scorer.network, images), kept)["fid"],
        "torch-fidelity": _torch_fidelity(images, reference, _registered(scorer), folder),
        "torchmetrics": _torchmetrics(images, reference, scorer.network),
        "pytorch-fid": _pytorch_fid(images, kept.moments, scorer.network, folder),
    }


def _registered(scorer: Scorer) -> str:
    """The name under which torch-fidelity knows the scorer's classifier."""
    from bench.score import fidelity

    return fidelity.register("mnist", scorer.classifier, scorer.network)


def _torch_fidelity(images: Tensor, reference: Tensor, extractor: str, folder: Path) -> Callable[[], float]:
    from torch_fidelity import calculate_metrics

    def score() -> float:
        found = calculate_metrics(
            input1=Images(images),
            input2=Images(reference),
            input2_cache_name="reference",  # its statistics are kept there by the round that is not counted
            cache_root=str(folder / "torch-fidelity"),
            fid=True,
            feature_extractor=extractor,
            batch_size=BATCH,
            cuda=False,
            save_cpu_ram=True,  # no worker processes: here they would cost more than they do
            verbose=False,
        )
        return float(found["frechet_inception_distance"])

    return score


def _torchmetrics(images: Tensor, reference: Tensor, network: JudgeNetwork) -> Callable[[], float]:
    from torchmetrics.image.fid import FrechetInceptionDistance

    # in float64, as its documentation recommends; what is kept of the reference outlives a reset
    metric = FrechetInceptionDistance(Flat(network), reset_real_features=False)
    for batch in reference.split(BATCH):
        metric.update(batch, real=True)

    def score() -> float:
        metric.reset()
        for batch in images.split(BATCH):
            metric.update(batch, real=False)
        return float(metric.compute())

    return score


def _pytorch_fid(
    images: Tensor, moments: distances.Moments, network: JudgeNetwork, folder: Path
) -> Callable[[], float]:
    from pytorch_fid import fid_score

    files = folder / "png"
    files.mkdir()
    for i, image in enumerate(images):
        (files / f"{i:06}.png").write_bytes(png(image))
    np.savez(folder / "reference.npz", mu=moments.mean, sigma=moments.covariance)
    arguments = {"batch_size": min(BATCH, len(images)), "dims": network.features, "device": "cpu", "num_workers": 0}

    def score() -> float:
        model = Pooled(network)
        ours = fid_score.compute_statistics_of_path(str(files), model, **arguments)
        theirs = fid_score.compute_statistics_of_path(str(folder / "reference.npz"), model, **arguments)
        return float(fid_score.calculate_frechet_distance(*ours, *theirs))

    return score
