"""The same folder of images scored by four libraries with the same extractor: ``python -m perf.parity``.

It needs the peers (``pip install -e '.[peers]'``). The numbers are kept in ``results/perf/parity.json``, and the page
``docs/parity.md`` is written from them.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.images import datasets, files
from bench.images.grids import png
from bench.paths import ROOT
from bench.score import classifier, distances, eyes, metrics
from bench.score.classifier import BATCH
from bench.score.judges import judges_of
from bench.score.reference import Reference
from perf import scoring
from perf.record import save

N, REFERENCE_N = 1000, 5000
EXACT = 1e-4
"""Numbers of the same definition differ by no more than this share."""
PAGE = ROOT / "docs" / "parity.md"
WRITTEN = "<!-- written by `python -m perf.parity` -->"
WHY = {
    "fid": "All four compute the same distance from the same moments. torchmetrics gives the "
    "result in float32. What is left is rounding.",
    "kid": "This project computes the unbiased MMD² of all pairs, which is one number. The two others average 100 "
    "random subsets, so their numbers depend on the subsets and on the seed.",
    "inception_score": "This project takes all images at once. The two others shuffle them and average 10 parts, each "
    "with a mean of its own. So their numbers are lower, and depend on the order.",
}
"""Metric → why numbers differ."""


class _Logits(nn.Module):
    """For torchmetrics' inception score: uint8 (B, 1, H, W) → logits (B, 10)."""

    def __init__(self, network: classifier.Network) -> None:
        super().__init__()
        self.network = network

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        logits: Tensor = self.network(images)[1]
        return logits


def ours(folder: Path, reference: Tensor, network: classifier.Network) -> dict[str, float]:
    """What ``ddpm-bench score`` makes of the folder, against a smaller reference."""
    images = files.take(folder, 1, 28).whole()
    kept = Reference(classifier.extract(network, reference).features, subset=len(reference))
    found = metrics.score(classifier.extract(network, images), kept)
    return {name: found[name] for name in WHY}


def torch_fidelity(folder: Path, reference: Tensor, network: classifier.Network) -> dict[str, float]:
    """By torch-fidelity, at its defaults but for the extractor and the size of KID's subsets."""
    from torch_fidelity import calculate_metrics

    from bench.score import fidelity

    name = fidelity.register("mnist", judges_of("mnist")["classifier"].sha256, network)
    images = files.take(folder, 1, 28).whole()
    found = calculate_metrics(
        input1=scoring.Images(images), input2=scoring.Images(reference), fid=True, kid=True, isc=True,
        feature_extractor=name, batch_size=BATCH, cuda=False, save_cpu_ram=True, verbose=False, cache=False,
        kid_subset_size=min(1000, len(images)),
    )  # fmt: skip
    return {
        "fid": found["frechet_inception_distance"],
        "kid": found["kernel_inception_distance_mean"],
        "inception_score": found["inception_score_mean"],
    }


def torchmetrics(folder: Path, reference: Tensor, network: classifier.Network) -> dict[str, float]:
    """By torchmetrics, at its defaults but for the extractor and the size of KID's subsets."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import KernelInceptionDistance

    images = files.take(folder, 1, 28).whole()
    torch.manual_seed(0)
    flat = scoring.Flat(network)
    fid = FrechetInceptionDistance(flat)
    kid = KernelInceptionDistance(flat, subset_size=min(1000, len(images)) - 1)
    score = InceptionScore(_Logits(network))
    for batch in reference.split(BATCH):
        fid.update(batch, real=True)
        kid.update(batch, real=True)
    for batch in images.split(BATCH):
        fid.update(batch, real=False)
        kid.update(batch, real=False)
        score.update(batch)
    return {
        "fid": float(fid.compute()),
        "kid": float(kid.compute()[0]),
        "inception_score": float(score.compute()[0]),
    }


def pytorch_fid(folder: Path, reference: Tensor, network: classifier.Network) -> dict[str, float]:
    """By pytorch-fid, which reads the folder itself and has no other metric."""
    from pytorch_fid import fid_score

    model = scoring.Pooled(network)
    mean, covariance, *_ = fid_score.compute_statistics_of_path(
        str(folder), model, batch_size=BATCH, dims=classifier.FEATURES, device="cpu", num_workers=0
    )
    real = distances.Moments.of(classifier.extract(network, reference).features)
    return {"fid": float(fid_score.calculate_frechet_distance(mean, covariance, real.mean, real.covariance))}


LIBRARIES: dict[str, Callable[[Path, Tensor, classifier.Network], dict[str, float]]] = {
    "ddpm-bench": ours,
    "torch-fidelity": torch_fidelity,
    "torchmetrics": torchmetrics,
    "pytorch-fid": pytorch_fid,
}


def sets(n: int) -> Iterator[tuple[str, Tensor]]:
    """Name → n images, uint8 (n, 1, 28, 28): near the reference, further off, and far."""
    test = datasets.load("mnist").test[:n]
    noise = torch.randint(-60, 61, test.shape, generator=torch.Generator().manual_seed(0))
    yield "test images", test
    yield "test images with noise", (test + noise).clamp(0, 255).to(torch.uint8)
    yield "test images, inverted", 255 - test


def measured(
    n: int = N, reference_n: int = REFERENCE_N, only: tuple[str, ...] = tuple(LIBRARIES)
) -> list[dict[str, Any]]:
    """A row a set and library."""
    images = datasets.load("mnist")
    reference, rows = images.train[:reference_n], []
    network = eyes.load(judges_of("mnist")["classifier"])
    for what, given in sets(n):
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            for i, image in enumerate(given):
                Path(scratch, f"{i:05}.png").write_bytes(png(image))
            for library in only:
                with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                    scores = LIBRARIES[library](Path(scratch), reference, network)
                print(f"{what}, {library}: {scores}", flush=True)
                rows.append({"set": what, "library": library, "scores": scores})
    return rows


def page(record: dict[str, Any]) -> str:
    """``docs/parity.md``."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    parts = [
        "# The same images, other libraries",
        WRITTEN,
        f"Four libraries scored the same {record['n']:,} PNG files against the first {record['reference_n']:,} "
        "training images of MNIST. All of them got the features of this project's classifier. Their own Inception "
        "network would give other numbers. So never compare FIDs that use different networks.",
        f"Versions: {versions}. `python -m perf.parity` writes this page.",
    ]
    for metric, why in WHY.items():
        held = [row for row in record["rows"] if metric in row["scores"]]
        names = list(dict.fromkeys(row["set"] for row in held))
        lines = [["library", *names], ["---", *["---:"] * len(names)]]
        for library in dict.fromkeys(row["library"] for row in held):
            values = {row["set"]: row["scores"][metric] for row in held if row["library"] == library}
            lines.append([library, *[f"{values[name]:.6g}" for name in names]])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts += [f"## `{metric}`", table, why]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Measure, keep the numbers, and write the page."""
    names = ("torch-fidelity", "torchmetrics", "pytorch-fid")
    content = {
        "n": N,
        "reference_n": REFERENCE_N,
        "versions": {name: version(name) for name in names},
        "rows": measured(),
    }
    path = save("parity", content)
    PAGE.write_text(page(json.loads(path.read_text())), encoding="utf-8")
    print(f"{path}, {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
