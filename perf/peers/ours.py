"""Our side: the default network and recipe of the ``quick`` study, with what the study ``recipes`` found best.

That is objective ``x0``, cosine schedule, ancestral sampling.

Training is eager, as in any study this short; sampling goes through the engine that a trial finds fastest, unless
both are to go through a named one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from bench.images.datasets import to_float
from bench.job import engine, speed
from bench.job.engine import evaluator
from bench.job.generate import TILE, generate
from bench.study.load import load
from bench.study.model import Sampling
from ddpm.denoiser import Net
from ddpm.nets import make_net
from ddpm.schedule import make_schedule
from ddpm.spec import Variant
from ddpm.train import Loss, Recipe, Trainer
from perf.peers.contender import CPU, SAMPLE_BATCH, Setting, batches, placed

OBJECTIVE = "x0"
SCHEDULE = make_schedule("cosine", 1000)


def setting() -> Setting:
    """What ``ddpm-bench run quick`` trains, for as many steps as are wanted instead of its epochs."""
    recipe = load("quick").cells[0].job.train.model_dump(exclude={"epochs", "images"})
    network = {"net": "unet", "objective": OBJECTIVE, "schedule": "cosine", "T": SCHEDULE.T, "sampler": "ancestral"}
    return Setting("ours", f"unet, {OBJECTIVE}, cosine", network, recipe)


def training(
    net: nn.Module, recipe: Recipe, images: Tensor, planned: int, seed: int, evaluate: Net | None = None
) -> tuple[dict[str, Tensor], Iterator[object]]:
    """The averaged weights (live), and the steps that train them: ``planned`` of them, the rate ending at zero.

    The trainer counts in epochs, so it gets one of exactly that length, made of random passes through ``images``.

    :param recipe: of one epoch.
    :param evaluate: the network, done another way.
    """
    passes = torch.cat(list(islice(batches(images, recipe.batch_size, seed), planned)))
    trainer = Trainer(net, Loss(SCHEDULE, OBJECTIVE, "unit"), recipe, seed)
    return trainer.ema.weights, trainer.steps(passes, to_float, evaluate)


def prepared(net: nn.Module, device: torch.device = CPU) -> Net:
    """The network as its samples are drawn with it, its weights where they were."""
    return speed.tuned("unet", engine.Work("sample", net.eval(), TILE[device.type], (1, 28), device)).net


def sampling(evaluate: Net, n: int, evaluations: int, seed: int, device: torch.device = CPU) -> Tensor:
    """n images, uint8 (n, 1, 28, 28), by the ancestral sampler."""
    drawn = generate(
        evaluate,
        SCHEDULE,
        OBJECTIVE,
        Sampling(sampler=Variant("ancestral"), sample_steps=evaluations, sample_seed=seed),
        shape=(1, 28),
        n=n,
        device=device,
    )
    return torch.cat([batch.images for batch in drawn])


class Ours:
    """Our side as a contender.

    :param engine: what trains and samples; None is eager training, and sampling by what a trial finds fastest.
    """

    def __init__(self, setting: Setting, seed: int, device: torch.device = CPU, engine: str | None = None) -> None:
        self.net = placed(make_net(setting.settings["net"], 1, 28), device)
        self._recipe, self._seed, self._device = Recipe(epochs=1, **setting.recipe), seed, device
        self._weights: dict[str, Tensor] = self.net.state_dict()
        self._evaluate: Net | None = evaluator(engine, self.net, device) if engine else None

    def steps(self, images: Tensor, planned: int) -> Iterator[None]:
        """Exactly ``planned`` steps."""
        self._weights, steps = training(self.net, self._recipe, images, planned, self._seed, self._evaluate)
        for _ in steps:
            yield

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""
        return {name: value.clone() for name, value in self._weights.items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Sample from these."""
        self.net.load_state_dict(weights)

    def sample(self, n: int, evaluations: int, seed: int, batch: int = SAMPLE_BATCH) -> Tensor:  # noqa: ARG002
        """uint8 (n, 1, 28, 28)."""
        if self._evaluate is None:
            self._evaluate = prepared(self.net, self._device)
        self.net.eval()
        return sampling(self._evaluate, n, evaluations, seed, self._device)
