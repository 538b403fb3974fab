"""What the gate of every change measures: two frozen networks on a device, by an engine, a few images and a judge."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.images.datasets import Images
from bench.job import engine
from bench.job.engine import Chosen, Wish, Work
from bench.job.generate import generate
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study.model import Sampling
from ddpm.nets import classes_of, make_net
from ddpm.schedule import make_schedule

CPU = torch.device("cpu")
FULL_T, SHORT_T = 1000, 50
DRAWN = 16
"""Images of each way to sample: enough, since a change moves each of them by far more than rounding does."""
REFERENCE, HELD_OUT = 1000, 200
"""Training and test images that the gate uses. The features of all 60,000 would take a minute."""
FROZEN = {"net": "unet", "classes": "unet(blocks=1,classes=10,inner=32,middle=1,variance=true,width=8)"}
"""The frozen networks: the default one, trained, and a small one that knows classes and has learned its variance."""


def few(images: Images) -> Images:
    """The first images of a data set, under a hash of their own: what is kept of the whole set is not of these."""
    return replace(
        images,
        train=images.train[:REFERENCE],
        train_labels=images.train_labels[:REFERENCE],
        test=images.test[:HELD_OUT],
        test_labels=images.test_labels[:HELD_OUT],
        sha256=hashlib.sha256(f"{images.sha256} {REFERENCE} {HELD_OUT}".encode()).hexdigest(),
    )


@dataclass(frozen=True)
class Way:
    """One way to sample a frozen network. It takes t/T, so that it serves a schedule of any T."""

    sampling: Sampling
    T: int = FULL_T
    net: str = "net"


@dataclass
class Subject:
    """What is measured, in a ``with``.

    :param weights: name of a frozen network → its tensors, of v under ``cosine``.
    :param images: MNIST, of which a few are used.
    :raises UserError: for weights that are not of the network as it is, or an engine that does not fit the device.
    """

    weights: dict[str, dict[str, Tensor]]
    images: Images
    device: torch.device = CPU
    engine: str = "eager"
    made: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """One thread: what is measured is so small that several would wait for each other, and round differently."""
        self._held.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __post_init__(self) -> None:
        self._held = ExitStack()
        self.images = few(self.images)
        engine.check(self.engine, self.device)
        self._nets = {name: self._load(name) for name in self.weights}

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several checks share, made when the first of them asks for it."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    @property
    def format(self) -> str:
        """The engine's number format."""
        return engine.ENGINES[self.engine].format

    @cached_property
    def folder(self) -> Path:
        """A results folder of this subject alone, gone at the end of its ``with``."""
        return Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="ddpm-bench-gate-")))

    @cached_property
    def scorer(self) -> Scorer:
        """The judge, beside the first images."""
        return Scorer("mnist", self.images, Store(self.folder), self.device)

    def draw(self, way: Way, n: int = DRAWN, tile: int = DRAWN) -> Tensor:
        """The first ``n`` images of one way, uint8 (n, C, H, W), evaluated ``tile`` at a time.

        :raises FloatingPointError: if they are not finite.
        """
        chosen = self.once(f"engine {way.net} {tile}", lambda: self._chosen(way.net, tile))
        batches = generate(
            chosen.net,
            make_schedule("cosine", way.T),
            "v",
            way.sampling,
            shape=self.images.shape,
            n=n,
            device=self.device,
            classes=classes_of(FROZEN[way.net]),
            tile=tile,
        )
        return torch.cat([batch.images for batch in chosen.inside(batches, self.device)])

    def _chosen(self, name: str, tile: int) -> Chosen:
        net = self._nets[name]
        work = Work("sample", net, tile, self.images.shape, self.device, classes_of(FROZEN[name]))
        return engine.choose(work, FROZEN[name], Store(self.folder), Wish(self.engine))

    def also(self, name: str, weights: dict[str, Tensor]) -> None:
        """Have another frozen network."""
        self.weights[name] = weights
        self._nets[name] = self._load(name)

    def _load(self, name: str) -> nn.Module:
        net = make_net(FROZEN[name], *self.images.shape).eval()
        try:
            net.load_state_dict(self.weights[name])
        except RuntimeError as error:
            raise UserError(
                "the frozen network is not of this version: freeze another with `ddpm-bench check --update-baseline "
                "--network KEY --why …`"
            ) from error
        return net.to(self.device)
