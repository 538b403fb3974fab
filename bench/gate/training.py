"""Tiny training runs in float64: every row of what training chooses, from several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bench.gate.kinds import Check, fingerprint
from bench.gate.numbers import small_bases
from bench.gate.subject import Subject
from bench.images import datasets
from ddpm.base import BASES, Based, make_based
from ddpm.nets import NETS, classes_of
from ddpm.objective import OBJECTIVES, WEIGHTS, default_weight
from ddpm.schedule import Schedule, make_schedule
from ddpm.teach import TEACH, make_teach
from ddpm.timestep import TIMESTEPS
from ddpm.train import OPTIMISERS, Loss, Recipe, Trainer

SMALL = "unet(blocks=1,inner=32,middle=1,width=8{})"
IMAGES, BATCH, SIDE, FULL_SIDE = 48, 16, 8, 28


@dataclass(frozen=True)
class Run:
    """What is trained: two epochs of three steps."""

    net: str = SMALL.format("")
    objective: str = "v"
    weight: str | None = None
    timesteps: str = "uniform"
    teach: str = "data"
    base: str = "none"
    optimiser: str = "adamw"
    weight_decay: float = 0.0
    snapshots: int = 0
    seed: int = 3
    T: int = 50


def runs() -> dict[str, Run]:
    """Name → run."""
    return (
        {f"optimiser {name}": Run(optimiser=name, weight_decay=0.1) for name in OPTIMISERS}
        | {f"objective {name}": Run(objective=name) for name in OBJECTIVES}
        | {f"weight {name}": Run(weight=name) for name in WEIGHTS}
        | {f"timesteps {name}": Run(timesteps=name, T=2) for name in TIMESTEPS}
        | {f"teach {name}": Run(teach=name, net=_told(name)) for name in TEACH}
        | {f"base {name}": Run(base=str(small_bases(name)[name])) for name in BASES}
        | {f"net {name}": Run(net=name) for name in NETS}
        | {
            "with snapshots": Run(snapshots=2),
            "with classes": Run(net=SMALL.format(",classes=10")),
            "with learned variance": Run(net=SMALL.format(",variance=true")),
            "from another seed": Run(seed=0),
        }
    )


def _told(teach: str) -> str:
    """A small network that the row can teach."""
    return SMALL.format(",second_time=true" if make_teach(teach).second else "")


def rows() -> Iterable[tuple[str, Check]]:
    """A check for each run."""
    for name, run in runs().items():
        yield f"training {name}", Check("training", partial(trained, run))


def trained(run: Run, subject: Subject) -> np.ndarray:
    """Losses; and fingerprints of how far averaged and raw weights came, and of the averages kept for snapshots."""
    schedule = make_schedule("cosine", run.T)
    net, prepare = _made(run, schedule)
    images, labels = subject.images.train[:IMAGES], subject.images.train_labels[:IMAGES]
    if isinstance(net, Based):
        net.fit(images, prepare, torch.Generator().manual_seed(run.seed))
    start = {name: value.clone() for name, value in net.state_dict().items()}
    loss = Loss(schedule, run.objective, run.weight or default_weight(run.objective), run.teach)
    recipe = Recipe(
        epochs=2,
        batch_size=BATCH,
        ema=0.7,
        weight_decay=run.weight_decay,
        optimiser=run.optimiser,
        timesteps=run.timesteps,
        snapshots=run.snapshots,
    )
    teacher = _made(replace(run, seed=run.seed + 1), schedule)[0] if loss.teach.teacher else None
    if teacher is not None:
        start = {name: value.clone() for name, value in teacher.state_dict().items()}
    trainer = Trainer(net, loss, recipe, run.seed, teacher)
    none = classes_of(run.net)
    steps = list(trainer.steps(images, prepare, None, labels if none else None, none))
    found = [torch.stack([step.loss for step in steps] + [torch.zeros(())] * (16 - len(steps))).numpy()]
    for weights in (trainer.ema.weights, net.state_dict()):
        found.append(fingerprint(*[(weights[name] - value).numpy() for name, value in start.items()]))
    if run.snapshots:
        found.append(fingerprint(*[value.numpy() for value in trainer.snapshot().values()]))
        found.append(np.array([float(step.snapshot) for step in steps] + [1.0] * (16 - len(steps))))
    return np.concatenate(found)


def _made(run: Run, schedule: Schedule) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The network before training, and what makes its images: small ones, if it takes them."""
    torch.manual_seed(run.seed)
    side = SIDE
    try:
        net = make_based(run.net, run.base, schedule, run.objective, 1, side)
    except ValueError:
        side = FULL_SIDE
        net = make_based(run.net, run.base, schedule, run.objective, 1, side)

    def prepare(batch: Tensor) -> Tensor:
        whole = datasets.to_float(batch).double()
        return whole if side == FULL_SIDE else nn.functional.adaptive_avg_pool2d(whole, side)

    return net.double(), prepare
