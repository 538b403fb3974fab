"""Training as a generator of steps, with an exact state to resume from.

Every random number of epoch e comes from generators seeded by (seed, e), so an epoch boundary is a complete resume
point: weights, averaged weights and optimiser state are all there is to keep. Objectives share the draws of images, t
and ε, which pairs their runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ddpm.batch import Around, Batch, Path
from ddpm.denoiser import Denoiser, Net, halves, times
from ddpm.ema import KEPT, Ema, PowerEma
from ddpm.guidance import forget, told
from ddpm.likelihood import Bound
from ddpm.mix import Mix, Table
from ddpm.muon import Muon, split
from ddpm.objective import loss_weight, make_target
from ddpm.schedule import Schedule
from ddpm.spec import Variant
from ddpm.teach import make_teach
from ddpm.timestep import make_timesteps


@dataclass(frozen=True)
class Recipe:
    """How long and how to train. ``lr`` is the peak of a linear warm-up and cosine decay to zero over all epochs.

    ``optimiser`` is a row of :data:`OPTIMISERS`, ``timesteps`` one of :data:`ddpm.timestep.TIMESTEPS`.
    ``snapshots`` is how often, at even distances, the averages are due that any other can be made of (:mod:`ddpm.ema`).
    """

    epochs: int
    batch_size: int = 128
    lr: float = 2e-3
    warmup: float = 0.05
    ema: float = 0.995
    weight_decay: float = 0.0
    optimiser: str = "adamw"
    timesteps: Variant | str = "uniform"
    snapshots: int = 0


def adamw(net: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101) with β = (0.9, 0.99) for every parameter."""
    return [_adamw([p for p in net.parameters() if p.requires_grad], recipe)]


def muon(net: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for the rest, at one learning rate (:mod:`ddpm.muon`)."""
    matrices, rest = split(net)
    found: list[torch.optim.Optimizer] = [Muon(matrices, recipe.lr, recipe.weight_decay)] if matrices else []
    return found + ([_adamw(rest, recipe)] if rest else [])


OPTIMISERS: dict[str, Callable[[nn.Module, Recipe], list[torch.optim.Optimizer]]] = {
    "adamw": adamw,
    "muon": muon,
}


def _adamw(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True)


LEARN = 1e-3
"""The bound's share in the loss of a network that learns its variance: λ of L_hybrid (Improved DDPM, eq. 16)."""


class Loss:
    """The weighted regression loss of one objective under one schedule.

    A network with a second half of outputs learns the variance from the bound, whose mean is held fixed for it:
    L_hybrid = L + λ L_vlb (Improved DDPM, arXiv 2102.09672, eq. 16), in nats a dimension, T L_t standing for the sum.
    ``teach`` is a row of :data:`ddpm.teach.TEACH`: where the x₀ of the target comes from.

    :raises ValueError: if the objective cannot be inverted on this schedule.
    """

    def __init__(
        self, schedule: Schedule, objective: Variant | str, weight: Variant | str, teach: Variant | str = "data"
    ) -> None:
        self._bound = Bound(Denoiser(_no_net, schedule, objective))
        self.T = schedule.T
        self.teach = make_teach(teach)
        self._path = Path(schedule)
        target = make_target(schedule, objective)
        self._table = Table(schedule.noise, target, Mix(loss_weight(schedule, objective, weight), 0.0, 0.0))
        self.draws = bool((target.c != 0).any())

    def __call__(
        self,
        net: Net,
        x0: Tensor,
        t: Tensor,
        eps: Tensor,
        z: Tensor | None = None,
        around: Around = Around(),  # noqa: B008 (it is a tuple)
    ) -> Tensor:
        """Mean over batch and pixels of :meth:`errors`, a scalar."""
        return self.errors(net, x0, t, eps, z, around).mean()

    def errors(
        self,
        net: Net,
        x0: Tensor,
        t: Tensor,
        eps: Tensor,
        z: Tensor | None = None,
        around: Around = Around(),  # noqa: B008 (it is a tuple)
    ) -> Tensor:
        """λ_t (out − target)², (B, C, H, W).

        ``x0`` and ``eps`` are (B, C, H, W), ``t`` is (B,) in 1 … T; ``z`` feeds targets that are drawn (``draws``).
        ``around`` is what a row of :data:`ddpm.teach.TEACH` needs beside them.
        """
        taught = self.teach.answer(Batch(x0, eps, t, self._path, self._bound.denoiser, around))
        t = taught.t
        noise, target, weight = self._table.at(t, x0)
        x0, eps = taught.made_of
        x_t = noise(x0, eps)
        out, v = halves(net(x_t, times(t, taught.second, self.T, x0)), x_t)
        error: Tensor = out - target(taught.x0, taught.eps, z)
        weighted: Tensor = weight.a * error.square()
        if taught.factor is not None:
            weighted = weighted * taught.factor.view(-1, *[1] * (x0.ndim - 1))
        if v is not None:
            found, _ = self._bound.denoiser.recover(x_t, t, out.detach())
            term = self._bound.term_of(x0, t, found, v)
            weighted = weighted + LEARN * self.T * term.view(-1, *[1] * (x0.ndim - 1))
        return weighted


@dataclass
class Step:
    """One step done: ``epoch`` and ``index`` count from 1, and ``loss`` is a detached scalar still on the device.

    ``snapshot`` is the number, from 1, of the one that is due now, else 0.
    """

    epoch: int
    index: int
    of: int
    loss: Tensor
    snapshot: int = 0

    @property
    def ends_epoch(self) -> bool:
        """Whether the trainer's state is a resume point now."""
        return self.index == self.of


class Trainer:
    """One training run: network, its average, optimiser, and the number of epochs done."""

    def __init__(self, net: nn.Module, loss: Loss, recipe: Recipe, seed: int, teacher: nn.Module | None = None) -> None:
        """``teacher`` is for a loss that needs one; it is frozen, and ``net``, of the same kind, becomes its copy."""
        self.net, self.loss, self.recipe, self.seed = net, loss, recipe, seed
        self.epoch, self.stage = 0, 0
        self.teacher = teacher
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            net.load_state_dict(teacher.state_dict())
        self.ema = Ema(net, recipe.ema)
        self.optimisers = OPTIMISERS[recipe.optimiser](net, recipe)
        self.power = [PowerEma(net, length) for length in KEPT] if recipe.snapshots else []
        self.times = make_timesteps(recipe.timesteps, loss.T, next(net.parameters()).device)

    def steps(
        self,
        images: Tensor,
        prepare: Callable[[Tensor], Tensor],
        evaluate: Callable[..., Tensor] | None = None,
        classes: Tensor | None = None,
        none: int = 0,
    ) -> Iterator[Step]:
        """Train from the current epoch to the last, yielding after each step.

        :param images: the training set, (N, C, H, W) of any type, on the network's device. The last partial batch of
            an epoch is dropped.
        :param prepare: a batch of ``images`` → float images in [−1, 1].
        :param evaluate: the same function as the network, done another way (compiled, say); by default the network.
        :param classes: (N,) int64 on that device, for a network that is to know them; now and then it is told ``none``.
        """
        evaluate = self.net if evaluate is None else evaluate
        size = min(self.recipe.batch_size, len(images))
        of = len(images) // size
        self.net.train()
        while self.epoch < self.recipe.epochs:
            random = random_stream(images.device, self.seed, self.epoch, stream=0)
            target_random = random_stream(images.device, self.seed, self.epoch, stream=1)
            class_random = random_stream(images.device, self.seed, self.epoch, stream=2)
            second = self.loss.teach.second
            jump_random = random_stream(images.device, self.seed, self.epoch, stream=3) if second else None
            order = torch.randperm(len(images), generator=random, device=images.device)
            for i in range(of):
                batch = order[i * size : (i + 1) * size]
                x0 = prepare(images[batch])
                t = self.times.draw(size, random)
                eps = torch.randn(x0.shape, generator=random, device=x0.device)
                z = torch.randn(x0.shape, generator=target_random, device=x0.device) if self.loss.draws else None
                known = None if classes is None else forget(classes[batch], none, class_random)
                net = evaluate if known is None else told(evaluate, known)
                done = (self.epoch * of + i) / (self.recipe.epochs * of)
                self._renew(done)
                around = Around(evaluate, self.teacher, known, done, jump_random, self.net)
                loss = self._loss(net, x0, t, eps, z, around)
                loss.backward()
                self._set_rate(self.epoch * of + i, self.recipe.epochs * of)
                for optimiser in self.optimisers:
                    optimiser.step()
                    optimiser.zero_grad()
                for average in (self.ema, *self.power):
                    average.update()
                due = self._due(self.epoch * of + i + 1, self.recipe.epochs * of)
                if i + 1 == of:
                    self.epoch += 1
                yield Step(self.epoch + (i + 1 < of), i + 1, of, loss.detach(), due)

    def _loss(self, net: Net, x0: Tensor, t: Tensor, eps: Tensor, z: Tensor | None, around: Around) -> Tensor:
        """The mean loss over uniform t, as the choice of t allows it to be estimated."""
        if not self.times.reweights:
            return self.loss(net, x0, t, eps, z, around)
        each = self.loss.errors(net, x0, t, eps, z, around).flatten(1).mean(1)
        factor = self.times.factor(t)
        self.times.observe(t, each.detach())
        return (factor * each).mean()

    def _renew(self, done: float) -> None:
        """Where a new stage of teaching begins the average becomes the teacher, and the network its copy."""
        stage = self.loss.teach.stage(done)
        if stage > self.stage and self.teacher is not None:
            for net in (self.teacher, self.net):
                net.load_state_dict(self.ema.weights)
        self.stage = stage

    def _renewed(self) -> dict[str, Tensor]:
        """What is kept of a teacher that changes, live."""
        if self.teacher is None or self.loss.teach.stages == 1:
            return {}
        return self.teacher.state_dict()

    def _due(self, done: int, of: int) -> int:
        """The number of the snapshot that falls on this many steps done, else 0."""
        number = done * self.recipe.snapshots // of
        return number if number > (done - 1) * self.recipe.snapshots // of else 0

    def snapshot(self) -> dict[str, Tensor]:
        """The averages that any other can be made of, live, as one flat dict: ``σ_rel.name``."""
        return {f"{length:g}/{k}": v for length, p in zip(KEPT, self.power, strict=False) for k, v in p.weights.items()}

    def _set_rate(self, step: int, of: int) -> None:
        """Linear warm-up, then a half cosine to zero; anew in each stage of teaching."""
        stages = self.loss.teach.stages
        first = math.ceil(self.stage * of / stages)  # the step that the stage began with
        step, of = step - first, math.ceil((self.stage + 1) * of / stages) - first
        warm = max(1, round(self.recipe.warmup * of))
        share = (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (of - warm))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.lr * share

    def state(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, as one flat dict of tensors, so that it can be kept without pickling.

        The tensors are live: write or clone them before the next step.
        """
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.weights.items()}
        for j, optimiser in enumerate(self.optimisers):
            for i, slot in optimiser.state_dict()["state"].items():
                tensors |= {f"opt.{j}.{i}.{k}": torch.as_tensor(v) for k, v in slot.items()}
        tensors |= {f"times.{k}": v for k, v in self.times.state().items()}
        tensors |= {f"power.{k}": v for k, v in self.snapshot().items()}
        tensors |= {f"teacher.{k}": v for k, v in self._renewed().items()}
        tensors |= {"stage": torch.tensor(self.stage)} if self.stage else {}
        return tensors | {"epoch": torch.tensor(self.epoch), "ema_updates": torch.tensor(self.ema.updates)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state` gave, on any device.

        :raises KeyError, RuntimeError: if the tensors are another network's.
        """
        self.net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        for name, value in self.ema.weights.items():
            value.copy_(tensors[f"ema.{name}"])
        for j, optimiser in enumerate(self.optimisers):
            # a fused optimiser walks weights and moments in memory order, which must therefore be the same
            trained = [p for group in optimiser.param_groups for p in group["params"]]
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"opt.{j}."):
                    _, _, i, name = key.split(".")
                    like = trained[int(i)] if value.ndim else value
                    slots.setdefault(int(i), {})[name] = torch.empty_like(like).copy_(value)
            optimiser.load_state_dict(optimiser.state_dict() | {"state": slots})
        for prefix, learnt in (
            ("times", self.times.state()),
            ("power", self.snapshot()),
            ("teacher", self._renewed()),
        ):
            for name, value in learnt.items():
                value.copy_(tensors[f"{prefix}.{name}"])
        self.epoch, self.stage = int(tensors["epoch"]), int(tensors.get("stage", 0))
        for average in (self.ema, *self.power):
            average.updates = int(tensors["ema_updates"])


def _no_net(x_t: Tensor, u: Tensor) -> Tensor:
    """In place of a network where outputs are there already."""
    raise NotImplementedError


def random_stream(device: torch.device, seed: int, epoch: int, stream: int) -> torch.Generator:
    """An independent stream for each (seed, epoch, stream)."""
    state = np.random.SeedSequence((seed, epoch, stream)).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0]) >> 1)
