"""The classifier that scores samples: a small CNN, trained by the recipe here and pinned by the hash of its weights.

It gives ``features`` (192 numbers) and ``logits``; :mod:`bench.score.fidelity` offers it to torch-fidelity as
``ddpm-bench-<dataset>-<hash>``. torch-fidelity keys its cache by that name alone, so the hash is in it.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from bench import files
from bench.errors import UserError
from bench.images.datasets import Images, to_float

STROKES, SHAPES = 64, 128
FEATURES = STROKES + SHAPES
CLASSES = 10
BATCH = 250

#: data set → (weights in the repo, their sha256). A data set without a row gets a classifier of its own, trained once.
PINNED: dict[str, tuple[Path, str]] = {
    "mnist": (
        Path(__file__).parent / "weights" / "mnist-classifier.safetensors",
        "1bfd7ff5932a8175e6c923dd7563392c17c00769c25aac9bab852162b1baa230",
    ),
}


class Network(nn.Module):
    """Six 3×3 convolutions in three stages. The last stage, averaged over pixels, gives the 10 logits.

    The 192 features are those 128 averages and the 64 of the stage before. Averages are what Inception's ``pool3`` is;
    two depths of them see both strokes and shapes, and neither noise nor blur can hide from both.
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__()

        def conv(i: int, o: int) -> list[nn.Module]:
            return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(inplace=True)]

        self.strokes = nn.Sequential(
            *conv(channels, 32), *conv(32, 32), nn.MaxPool2d(2), *conv(32, STROKES), *conv(STROKES, STROKES)
        )
        self.shapes = nn.Sequential(nn.MaxPool2d(2), *conv(STROKES, SHAPES), *conv(SHAPES, SHAPES))
        self.head = nn.Linear(SHAPES, CLASSES)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 192), logits (B, 10)."""
        x = to_float(images).contiguous(memory_format=torch.channels_last)
        strokes = self.strokes(x)
        shapes = self.shapes(strokes).mean((2, 3))
        return torch.cat([strokes.mean((2, 3)), shapes], 1), self.head(shapes)


class Features(NamedTuple):
    """What the classifier sees in N images: float64 features (N, 192) and logits (N, 10)."""

    features: Tensor
    logits: Tensor
    asked: Tensor | None = None  # the classes the images were to be of, (N,) int64


@torch.inference_mode()
def extract(network: Network, images: Tensor, device: torch.device | str = "cpu") -> Features:
    """Features and logits of uint8 ``images`` (N, C, H, W), on the CPU."""
    network = network.to(device)
    # filled in place: a small tensor kept for each batch would pin the heap that its large intermediates leave behind
    features = torch.empty(len(images), FEATURES, dtype=torch.float64)
    logits = torch.empty(len(images), CLASSES, dtype=torch.float64)
    for start in range(0, len(images), BATCH):
        here = slice(start, start + BATCH)
        seen = network(images[here].to(device))
        features[here], logits[here] = (part.cpu() for part in seen)  # MPS cannot write float64, not even to the CPU's
    return Features(features, logits)


class Epoch(NamedTuple):
    """Progress of :func:`train`."""

    epoch: int
    loss: float
    accuracy: float


def train(
    images: Images, *, epochs: int = 14, seed: int = 0, device: torch.device | str = "cpu"
) -> Iterator[tuple[Epoch, Network]]:
    """The recipe, an epoch at a time: AdamW on a one-cycle rate, images shifted by up to 2 pixels, weights averaged.

    There is no batch norm and no label smoothing on purpose: both pull whatever the network sees towards the classes'
    centres, and a metric needs features in which noise is far from digits.

    Whatever is drawn is drawn on the CPU, so that a device changes rounding alone.

    Yields the averaged network (exponential, decay 0.998), on ``device``, and its accuracy on the test images; the last
    one's features are scaled to a mean square of 1 at both depths.
    """
    batch, decay = 128, 0.998
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    network = Network(images.shape[0]).to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, fused=True)
    train_images, train_labels = images.train.to(device), images.train_labels.to(device)
    steps = len(train_images) // batch
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, epochs * steps, pct_start=0.2)
    for epoch in range(1, epochs + 1):
        network.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(train_images), generator=random)[: steps * batch].view(steps, batch)
        for index in order.to(device):
            x = _shift(train_images[index], random)
            loss = nn.functional.cross_entropy(network(x)[1], train_labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
            total += loss.detach()
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        if epoch == epochs:
            _standardise(average, images.train, device)
        yield Epoch(epoch, total.item() / steps, accuracy(average, images, device)), average


def accuracy(network: Network, images: Images, device: torch.device | str = "cpu") -> float:
    """The share of test images classified correctly."""
    predicted = extract(network, images.test, device).logits.argmax(1)
    return (predicted == images.test_labels).double().mean().item()


@torch.no_grad()
def _standardise(network: Network, images: Tensor, device: torch.device | str = "cpu") -> None:
    """Scale both depths' features to mean square 1 without changing a logit: ReLU(k x) = k ReLU(x) for k > 0."""
    strokes, shapes = (
        part.square().mean().rsqrt().float()
        for part in extract(network, images, device).features.split([STROKES, SHAPES], 1)
    )
    for stage, after, k in (
        (network.strokes, _convolutions(network.shapes)[0], strokes),
        (network.shapes, network.head, shapes),
    ):
        for parameter in _convolutions(stage)[-1].parameters():
            parameter.mul_(k)
        after.weight.div_(k)


def _convolutions(stage: nn.Sequential) -> list[nn.Conv2d]:
    return [layer for layer in stage if isinstance(layer, nn.Conv2d)]


def _shift(images: Tensor, random: torch.Generator, by: int = 2) -> Tensor:
    """Each image moved by up to ``by`` pixels either way, zeros moving in."""
    n, c, h, w = images.shape
    padded = nn.functional.pad(images, (by, by, by, by))
    where = images.device
    dy, dx = torch.randint(0, 2 * by + 1, (2, n), generator=random).to(where)
    rows = (dy[:, None] + torch.arange(h, device=where))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(w, device=where))[:, None, None, :]
    image, channel = torch.arange(n, device=where), torch.arange(c, device=where)
    return padded[image[:, None, None, None], channel[:, None, None], rows, columns]


def save(network: Network, path: Path, about: dict[str, str]) -> str:
    """Write the weights as safetensors, whole or not at all, and return the file's sha256.

    :raises UserError: if the folder cannot be written or the disk is full.
    """
    one = {"about": json.dumps(about, sort_keys=True)}  # safetensors writes several in random order: no hash to go by
    content = to_bytes({k: v.cpu().contiguous() for k, v in network.state_dict().items()}, one)
    files.write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=4)
def load(path: Path, sha256: str | None, channels: int = 1) -> Network:
    """The network in a safetensors file, frozen for inference.

    :raises UserError: if the file is missing or is not the one with this hash.
    """
    if not path.is_file():
        raise UserError(f"missing classifier: no {path} (retrain it with `ddpm-bench classifier`)")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        raise UserError(f"corrupt classifier: {path} has sha256 {found}, expected {sha256}")
    network = Network(channels)
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)


def name_of(dataset: str, sha256: str) -> str:
    """What the classifier with these weights is called; caches that go by name alone can rely on it."""
    return f"ddpm-bench-{dataset}-{sha256[:12]}"
