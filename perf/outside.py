"""The judges against two that are not in the repository: ``python -m perf.outside``.

A residual network with batch norm, and one as LeNet, are trained on the training images. They score sets of images
beside the panel: real ones with damage, and those of the gate's frozen network with several samplers. The record
``results/perf/outside.json`` has the rank correlation (Spearman) of each judge with either. It also has how far noise
of 16 grey levels is from clean images, in each judge's own scatter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from bench.gate import change
from bench.images import datasets
from bench.images.damage import blurred, compressed, moved, noisy
from bench.images.datasets import Images, to_float
from bench.job.generate import generate
from bench.paths import baseline
from bench.score.classifier import extract
from bench.score.distances import Moments, frechet_distance
from bench.score.judges import panel
from bench.score.learning import Fitted, JudgeNetwork, fit
from bench.score.reference import in_order
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study.model import Sampling
from ddpm.schedule import make_schedule
from perf.record import save

CPU = torch.device("cpu")
DRAWN = (
    ("ddim", 10), ("ancestral", 10), ("ddim", 4), ("ancestral_beta", 20), ("ancestral", 5), ("euler", 8),
    ("dpmpp_2m", 12),
)  # fmt: skip
CLEAN = 10


class Residual(nn.Module):
    """x + two convolutions with batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def conv() -> list[nn.Module]:
            return [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]

        self.inner = nn.Sequential(*conv(), nn.ReLU(), *conv())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        return (x + self.inner(x)).relu()


class ResNet(JudgeNetwork):
    """Three stages of 16, 32 and 64 channels; the features are the last one's averages."""

    parts = (64,)

    def __init__(self) -> None:
        super().__init__()

        def down(i: int, o: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

        first = [*down(1, 16, 1), nn.MaxPool2d(2), Residual(16)]
        self.body = nn.Sequential(*first, *down(16, 32, 2), Residual(32), *down(32, 64, 2), Residual(64))
        self.digit = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 1, H, W) → features (B, 64), logits (B, 10)."""
        features = self.body(to_float(images)).mean((2, 3))
        return features, self.digit(features)


class LeNet(JudgeNetwork):
    """Two 5×5 convolutions and a layer of 84, which are the features: they know where things are."""

    parts = (84,)

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv2d(1, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
        second = [nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*first, *second, nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 84), nn.ReLU())
        self.digit = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 1, 28, 28) → features (B, 84), logits (B, 10)."""
        features = self.body(to_float(images))
        return features, self.digit(features)


OUTSIDE: dict[str, tuple[Callable[[], JudgeNetwork], int, int]] = {"resnet": (ResNet, 11, 2), "lenet": (LeNet, 12, 4)}
"""Name → network, seed, epochs."""


def trained(build: Callable[[], JudgeNetwork], images: Images, epochs: int, seed: int) -> JudgeNetwork:
    """An outside judge: weights averaged as the others' are, then the norms' statistics found for those weights."""
    torch.manual_seed(seed)
    network = build()

    def loss(net: JudgeNetwork, x: Tensor, y: Tensor, random: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(net(x)[1], y)

    for event in fit(network, images.train, images.train_labels, loss, epochs=epochs, seed=seed):
        if isinstance(event, Fitted):
            network = event.network
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
        layer.train(isinstance(layer, nn.BatchNorm2d))
    with torch.no_grad():
        for part in images.train[in_order(len(images.train))[:4000]].split(200):
            network(part)
    return network.eval()


def sets(images: Images, n: int) -> Iterator[tuple[str, Tensor]]:
    """Sets of n images by name: the clean one first."""
    random = torch.Generator().manual_seed(5)
    order = torch.randperm(len(images.test), generator=random)
    real = images.test[order[:n]]
    yield "clean", real
    yield from ((f"noise {level}", noisy(real, level, random)) for level in (8, 16, 32, 64))
    yield from ((f"blur {level}", blurred(real, level)) for level in (0.4, 0.6, 1.0))
    yield "JPEG 50", compressed(real, 50)
    yield "shifted by 2", moved(real, 2)
    yield "no 3", images.test[order[images.test_labels[order] != 3][:n]]
    _, weights = change.read(baseline("frozen.json").with_suffix(""))
    net = change.make_net("unet", *images.shape).eval()
    net.load_state_dict(weights)
    for sampler, steps in DRAWN:
        how = Sampling(sampler=sampler, sample_steps=steps)
        parts = generate(net, make_schedule("cosine", 1000), "v", how, shape=images.shape, n=n, device=CPU)
        drawn = torch.cat([part.images for part in parts])
        yield f"{sampler} {steps}", drawn
        if (sampler, steps) == DRAWN[0]:
            yield f"{sampler} {steps}, noise 8", noisy(drawn, 8, random)


def measure(images: Images, n: int, store: Store) -> dict[str, Any]:
    """A row a set, and what follows for each judge."""
    scorer = Scorer("mnist", images, store, CPU)
    networks = {name: trained(build, images, epochs, seed) for name, (build, seed, epochs) in OUTSIDE.items()}
    names = ["fid", *panel("fid", scorer.classifier)]
    some = images.train[in_order(len(images.train))[:10_000]]
    own = {name: Moments.of(extract(network, some).features) for name, network in networks.items()}

    def scores(x: Tensor) -> dict[str, float]:
        seen = scorer.see(x)
        beside = {k: frechet_distance(Moments.of(seen.beside[k]), scorer.reference.beside[k]) for k in names[1:]}
        return {"fid": frechet_distance(Moments.of(seen.features), scorer.reference.moments)} | beside

    rows = []
    for name, x in sets(images, n):
        outside = {
            k: frechet_distance(Moments.of(extract(network, x).features), own[k]) for k, network in networks.items()
        }
        rows.append({"set": name, **outside, **scores(x)})
        print(rows[-1], file=sys.stderr, flush=True)
    order = torch.randperm(len(images.test), generator=torch.Generator().manual_seed(0))
    clean = [scores(images.test[order[i * n : (i + 1) * n]]) for i in range(min(CLEAN, len(order) // n))]
    noise = next(row for row in rows if row["set"] == "noise 16")
    found: dict[str, Any] = {"rows": rows, "n": n, "correlation": {}, "noise_16": {}}
    for name in names:
        values = torch.tensor([one[name] for one in clean], dtype=torch.float64)
        found["correlation"][name] = {k: _rank_correlation(rows, k, name) for k in networks}
        found["noise_16"][name] = float((noise[name] - values.mean()) / values.std())
    found["correlation"]["of the two outside"] = _rank_correlation(rows, *networks)
    return found


def _rank_correlation(rows: Sequence[dict[str, Any]], one: str, other: str) -> float:
    return float(spearmanr([row[one] for row in rows], [row[other] for row in rows])[0])


def main(argv: list[str] | None = None) -> int:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(prog="python -m perf.outside", description=__doc__)
    parser.add_argument("-n", type=int, default=1000)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(datasets.load("mnist"), args.n, Store(Path(folder)))
    print(found["correlation"], found["noise_16"])
    save("outside", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
