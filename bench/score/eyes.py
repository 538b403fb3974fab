"""Whatever sees features in images, judges and views alike, and the moments of the training images that each needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.images.datasets import Images
from bench.score import classifier, kept
from bench.score.judges import WEIGHTS, Pinned
from bench.score.kept import Progress, Shipped
from bench.score.learning import JudgeNetwork
from bench.score.together import Together
from bench.score.views import VIEWS, nothing
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures


class Eye(NamedTuple):
    """Something that sees features.

    ``sha256`` names it. ``see``: uint8 images and what was fitted → features (N, d). ``fit``: training images → what is
    fitted. ``shipped`` and ``moments``: the file of its moments that comes with the package, and its hash; "" for none.
    """

    sha256: str
    see: Callable[[Tensor, Tensor], Tensor]
    fit: Callable[[Tensor], Tensor]
    shipped: Path
    moments: str


def load(judge: Pinned, channels: int = 1, classes: int = classifier.CLASSES) -> JudgeNetwork:
    """A judge's network.

    :raises UserError: if its weights are missing or altered.
    """
    recipe = judge.judge.recipe
    if recipe is None:
        return Together([(load(member, channels, classes), weight) for member, weight in judge.members]).eval()
    return classifier.load(judge.path, judge.sha256, channels, recipe().network, classes)


def of_network(network: JudgeNetwork, sha256: str, device: torch.device, judge: Pinned | None) -> Eye:
    """A network's; ``judge`` is its row where it has one."""

    def see(images: Tensor, fitted: Tensor) -> Tensor:
        return classifier.extract(network, images, device).features

    return Eye(sha256, see, nothing, judge.moments_path if judge else Path(), judge.moments if judge else "")


def views_of(dataset: str, shape: tuple[int, int]) -> dict[str, Eye]:
    """Those without a network that images of this shape (channels, side) have, by column."""
    channels, side = shape
    return {
        name: Eye(
            hashlib.sha256(name.encode()).hexdigest(),
            view.of,
            view.fit,
            WEIGHTS / f"{dataset}-{name.replace('_', '-')}.moments.safetensors",
            view.moments.get(dataset, ""),
        )
        for name, view in VIEWS.items()
        if channels * side**2 <= view.most
    }


def looked_at(eye: Eye, images: Images) -> Generator[Progress, None, Shipped]:
    """The moments of the training images, worked out."""
    fitted = eye.fit(images.train)
    moments = yield from kept.gathered(
        lambda part: eye.see(part, fitted), images.train, "looking at the training images"
    )
    return Shipped(moments, images.sha256, fitted)


def moments(eye: Eye, images: Images, store: Store, code: str) -> Generator[Progress, None, Shipped]:
    """The moments of the training images: those of the package, or kept in the store, or worked out and kept.

    :param code: that of the metrics; what other code has worked out does not count.
    :raises UserError: if the package's are missing or altered.
    """
    if eye.moments:
        shipped = kept.read(eye.shipped, eye.moments)
        if shipped.dataset_sha256 == images.sha256:
            return shipped
    key, about = key_of(eye.sha256, images, "moments"), ReferenceFeatures(code=code)
    found = store.load_tensors(ReferenceFeatures, key)
    if found is not None and found[1] == about:
        return Shipped(kept.unpacked(found[0]), images.sha256, found[0]["fitted"])
    made = yield from looked_at(eye, images)
    store.save_tensors(key, kept.packed(made.moments, made.fitted), about)
    return made


def key_of(sha256: str, images: Images, what: str) -> str:
    """What names something kept of a judge and a data set."""
    return hashlib.sha256(f"{sha256} {images.sha256} {what}".encode()).hexdigest()[:16]
