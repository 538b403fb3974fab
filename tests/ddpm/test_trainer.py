"""The trainer's parts, one at a time: what the loss is given, how it is averaged, where and by which seed it draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ddpm import train
from ddpm.batch import Around
from ddpm.nets import make_net
from ddpm.schedule import make_schedule
from ddpm.train import Loss, Recipe, Trainer, random_stream

SMALL = "unet(width=8,inner=8,blocks=1,middle=1{})"


class Told(nn.Module):
    """A network that keeps the classes it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, u: Tensor, y: Tensor) -> Tensor:
        """(B, 1, H, W), (B,), (B,) → (B, 1, H, W)."""
        self.seen.append(y.clone())
        return self.scale * x


class Known(Loss):
    """A loss that keeps what it is given. Its error of a pixel is the pixel."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seen: list[tuple[Tensor, Tensor, Tensor | None, Around]] = []

    def errors(self, net: Any, x0: Tensor, t: Tensor, eps: Tensor, z: Any = None, around: Any = None) -> Tensor:
        """(B, 1, H, W)."""
        self.seen.append((x0, t, z, around))
        return x0 + 0 * net(x0, t)


def pictures(count: int = 8, side: int = 8) -> Tensor:
    """Images that differ, (count, 1, side, side) in 0 … 1."""
    return torch.linspace(0.1, 1, count).view(-1, 1, 1, 1).expand(count, 1, side, side)


def run(trainer: Trainer, steps: int = 2, **more: Any) -> list[train.Step]:
    """The first steps on eight pictures."""
    return list(itertools.islice(trainer.steps(pictures(), lambda x: x, **more), steps))


def trainer_of(net: nn.Module, loss: Loss, **recipe: Any) -> Trainer:
    return Trainer(net, loss, Recipe(**{"epochs": 4, "batch_size": 4} | recipe), seed=3)


@pytest.mark.parametrize("timesteps", ["uniform", "importance"])
def test_what_the_loss_is_given(timesteps: str) -> None:
    """z where the target draws one, else none; the classes that the network was told, and how much is done."""
    for objective, draws in (("previous", True), ("eps", False)):
        loss, net = Known(make_schedule("linear", 50), objective, "unit"), Told()
        trainer = trainer_of(net, loss, timesteps=timesteps)
        run(trainer, 3, classes=torch.arange(8) % 4, none=4)
        for (x0, _, z, around), told, done in zip(loss.seen, net.seen, (0, 1 / 8, 2 / 8), strict=True):
            assert (z is not None) == draws
            assert z is None or z.shape == x0.shape
            assert around.classes is not None
            assert torch.equal(around.classes, told)
            assert around.done == done
            assert around.plain is net


def test_the_mean_over_uniform_t() -> None:
    """Each image's error times its factor, of t drawn by importance; the errors are what is learnt from."""
    loss = Known(make_schedule("linear", 50), "eps", "unit")
    trainer = trainer_of(make_net(SMALL.format(""), 1, 8), loss, timesteps="importance")
    seen: list[tuple[Tensor, Tensor]] = []
    trainer.times.factor = lambda t: 1.0 + t / 10  # type: ignore[method-assign]
    trainer.times.observe = lambda t, each: seen.append((t, each))  # type: ignore[method-assign]
    for step, (x0, t, _, _), observed in zip(run(trainer), loss.seen, seen, strict=True):
        each = x0.mean((1, 2, 3))
        torch.testing.assert_close(step.loss, ((1.0 + t / 10) * each).mean())
        torch.testing.assert_close(observed, (t, each))


def test_the_class_for_none_is_the_first_unless_said() -> None:
    """Left out by the seed alone, whatever the global generator does."""
    told = []
    for outside in (1, 2):
        net = Told()
        torch.manual_seed(outside)
        trainer = trainer_of(net, Loss(make_schedule("linear", 50), "eps", "unit"), epochs=10)
        run(trainer, 20, classes=torch.full((8,), 7))
        told.append(torch.cat(net.seen))
    assert torch.equal(*told)
    assert set(told[0].tolist()) == {0, 7}


@pytest.mark.parametrize("objective", ["eps", "previous"])
@pytest.mark.parametrize("teach", ["data", "shortcut"])
def test_all_is_drawn_where_the_images_are(objective: str, teach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device by default is not used: here it would be one that holds no numbers."""
    asked: list[torch.device] = []

    def noted(device: torch.device, seed: int, epoch: int, stream: int) -> torch.Generator:
        asked.append(device)
        return random_stream(device, seed, epoch, stream)

    monkeypatch.setattr(train, "random_stream", noted)
    net = make_net(SMALL.format(",second_time=true"), 1, 8)
    trainer = trainer_of(net, Loss(make_schedule("linear", 50), objective, "demo", teach))
    images = pictures()
    with torch.device("meta"):
        steps = list(itertools.islice(trainer.steps(images, lambda x: x), 3))
    assert all(step.loss.device == images.device for step in steps)
    assert asked == [images.device] * len(asked)


def test_the_seed_of_a_stream() -> None:
    """By numpy's SeedSequence: 63 bits of its first word. Another rule would be another result for every seed."""
    word = int(np.random.SeedSequence((5, 2, 1)).generate_state(1, np.uint64)[0])
    assert random_stream(torch.device("cpu"), 5, 2, 1).initial_seed() == word >> 1


def test_a_new_trainer_is_before_all() -> None:
    trainer = trainer_of(make_net(SMALL.format(""), 1, 8), Loss(make_schedule("linear", 50), "eps", "unit"))
    assert (trainer.epoch, trainer.stage) == (0, 0)
    assert "stage" not in trainer.state()


@pytest.mark.parametrize("make", [train.adamw, train.muon])
def test_the_settings_of_adamw(make: Callable[[nn.Module, Recipe], list[torch.optim.Optimizer]]) -> None:
    """β as said, and fused, which is faster."""
    found = make(make_net(SMALL.format(""), 1, 8), Recipe(1, lr=0.5, weight_decay=0.25))[-1]
    assert isinstance(found, torch.optim.AdamW)
    for name, value in (("lr", 0.5), ("betas", (0.9, 0.99)), ("weight_decay", 0.25), ("fused", True)):
        assert found.param_groups[0][name] == value
