"""What a judge sees in images, how it is trained, kept and read; and the first judge, a classifier of digits.

A judge gives ``features`` and ``logits``; :mod:`bench.score.fidelity` offers it to torch-fidelity as
``ddpm-bench-<dataset>-<hash>``. torch-fidelity keys its cache by that name alone, so the hash is in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from bench import files
from bench.errors import UserError
from bench.images.datasets import Images, to_float
from bench.machine.devices import multiplying
from bench.score.learning import JudgeNetwork, Recipe, Step, fit, shift
from ddpm.spec import parse

STROKES, SHAPES = 64, 128
FEATURES = STROKES + SHAPES
CLASSES = 10
BATCH = 250


class Network(JudgeNetwork):
    """Six 3×3 convolutions in three stages. The last stage, averaged over pixels, gives the 10 logits.

    The 192 features are those 128 averages and the 64 of the stage before. Averages are what Inception's ``pool3`` is;
    two depths of them see both strokes and shapes. They hardly see noise in the pixels.
    """

    parts = (STROKES, SHAPES)

    def __init__(self, channels: int = 1, classes: int = CLASSES) -> None:
        super().__init__()
        self.classes = classes

        def conv(i: int, o: int) -> list[nn.Module]:
            return [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(inplace=True)]

        self.strokes = nn.Sequential(
            *conv(channels, 32), *conv(32, 32), nn.MaxPool2d(2), *conv(32, STROKES), *conv(STROKES, STROKES)
        )
        self.shapes = nn.Sequential(nn.MaxPool2d(2), *conv(STROKES, SHAPES), *conv(SHAPES, SHAPES))
        self.head = nn.Linear(SHAPES, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) → features (B, 192), logits (B, 10)."""
        x = to_float(images).contiguous(memory_format=torch.channels_last)
        strokes = self.strokes(x)
        shapes = self.shapes(strokes).mean((2, 3))
        return torch.cat([strokes.mean((2, 3)), shapes], 1), self.head(shapes)


class Features(NamedTuple):
    """What a judge sees in N images: float64 features (N, d) and logits (N, classes).

    ``asked``: the classes the images were to be of, (N,) int64. ``beside``: what else is seen, features (N, d) by the
    column of the distance in them.
    """

    features: Tensor
    logits: Tensor
    asked: Tensor | None = None
    beside: Mapping[str, Tensor] = {}

    def rows(self, which: Tensor) -> Features:
        """Those of some images, in that order."""
        asked = None if self.asked is None else self.asked[which]
        beside = {name: seen[which] for name, seen in self.beside.items()}
        return Features(self.features[which], self.logits[which], asked, beside)


def extract(network: JudgeNetwork, images: Tensor, device: torch.device | str = "cpu") -> Features:
    """Features and logits of uint8 ``images`` (N, C, H, W), on the CPU. CUDA computes in float32, never in TF32."""
    network = network.to(device)
    # filled in place: a small tensor kept for each batch would pin the heap that its large intermediates leave behind
    features = torch.empty(len(images), network.features, dtype=torch.float64)
    logits = torch.empty(len(images), network.classes, dtype=torch.float64)
    with torch.inference_mode(), multiplying("ieee", torch.device(device)):
        for start in range(0, len(images), BATCH):
            here = slice(start, start + BATCH)
            seen = network(images[here].to(device))
            features[here], logits[here] = (part.cpu() for part in seen)  # MPS cannot write float64, not even here
    return Features(features, logits)


class Epoch(NamedTuple):
    """Progress of :func:`train`."""

    epoch: int
    loss: float
    accuracy: float


def train(
    images: Images,
    *,
    recipe: Recipe | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Step | tuple[Epoch, JudgeNetwork]]:
    """A judge's recipe, by default this module's, an epoch at a time; a step is told of about once a second.

    Yields the averaged network, on ``device``, and its accuracy on the test images; the last one's features are scaled
    to a mean square of 1 in each part. TF32 is not used.
    """
    recipe = recipe or RECIPE
    epochs = epochs or recipe.epochs
    seed = recipe.seed if seed is None else seed
    torch.manual_seed(seed)
    network = recipe.network(images.shape[0], images.classes)
    fitting = fit(network, images.train, images.train_labels, recipe.loss, epochs=epochs, seed=seed, device=device)
    while True:
        with multiplying("ieee", torch.device(device)):
            done = next(fitting, None)
        if done is None:
            return
        if isinstance(done, Step):
            yield done
            continue
        if done.epoch == epochs:
            recipe.standardise(done.network, images.train, device)
        yield Epoch(done.epoch, done.loss, accuracy(done.network, images, device)), done.network


def loss(network: Network, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """Cross-entropy of images that are shifted by up to 2 pixels.

    There is no batch norm and no label smoothing on purpose: both pull whatever the network sees towards the classes'
    centres, and a metric needs features in which noise is far from digits.
    """
    return nn.functional.cross_entropy(network(shift(images, random))[1], labels)


def accuracy(network: JudgeNetwork, images: Images, device: torch.device | str = "cpu") -> float:
    """The share of test images classified correctly; NaN for a judge that knows no classes."""
    if not network.classes:
        return math.nan
    predicted = extract(network, images.test, device).logits.argmax(1)
    return (predicted == images.test_labels).double().mean().item()


@torch.no_grad()
def standardise(network: Network, images: Tensor, device: torch.device | str = "cpu") -> None:
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


def save(network: JudgeNetwork, path: Path, about: dict[str, str]) -> str:
    """Write the weights as safetensors, whole or not at all, and return the file's sha256.

    :raises UserError: if the folder cannot be written or the disk is full.
    """
    one = {"about": json.dumps(about, sort_keys=True)}  # safetensors writes several in random order: no hash to go by
    content = to_bytes({k: v.cpu().contiguous() for k, v in network.state_dict().items()}, one)
    files.write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=8)
def load(
    path: Path,
    sha256: str | None,
    channels: int = 1,
    build: Callable[[int, int], JudgeNetwork] = Network,
    classes: int = CLASSES,
) -> JudgeNetwork:
    """The network in a safetensors file, frozen for inference.

    :param build: the network for (channels, classes), if it is not this module's.
    :raises UserError: if the file is missing or is not the one with this hash.
    """
    if not path.is_file():
        raise UserError(f"missing classifier: no {path} (retrain it with `ddpm-bench classifier`)")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        raise UserError(f"corrupt classifier: {path} has sha256 {found}, expected {sha256}")
    network = build(channels, classes)
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)


def about(path: Path) -> dict[str, str]:
    """What :func:`save` was told to write beside the weights; nothing where the file is none of its own."""
    try:
        with safe_open(path, "pt") as file:
            written = file.metadata() or {}
            found = json.loads(written["about"]) if "about" in written else written  # older files have no "about"
    except (SafetensorError, OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def name_of(dataset: str, sha256: str) -> str:
    """What the classifier with these weights is called; caches that go by name alone can rely on it."""
    return f"ddpm-bench-{parse(dataset).name}-{sha256[:12]}"


RECIPE = Recipe(Network, loss, epochs=14, seed=0, standardise=standardise)
