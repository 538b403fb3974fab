"""ScoreNet's training against the plain tutorial form: the same network, weights, batches and noise, in turn.

``python -m perf.scorenet`` trains both for an epoch, a chunk of steps at a time. The plain form is what score-SDE
tutorials do: images come from the host through a ``DataLoader`` that converts one at a time, the network is in its
default memory format with x·sigmoid(x) and a transposed last convolution, and Adam steps parameter by parameter with
the loss read on the host after each. Ours also averages the weights, which the plain form is spared.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.execute import processes
from bench.images import datasets
from bench.job import speed
from bench.machine import clocks, devices
from ddpm.nets.scorenet import EMBED, WIDTHS, FourierTime
from ddpm.schedule import Schedule
from ddpm.train import Trainer, random_stream
from perf import convolutions
from perf.record import claim, save

BAR = 0.65
CONVOLUTIONS = "convolutions"
TOLERANCE = 1e-3
"""Largest relative difference of two losses at the same step: rounding, as many steps of Adam amplify it."""


class Swish(nn.Module):
    """x·sigmoid(x), as written."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape → the same."""
        return x * torch.sigmoid(x)


class PlainLevel(nn.Module):
    """A convolution, the time projection added to its output, group norm, swish."""

    def __init__(self, conv: nn.Module, width: int, groups: int) -> None:
        super().__init__()
        self.conv, self.time, self.norm = conv, nn.Linear(EMBED, width), nn.GroupNorm(groups, width)
        self.act = Swish()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 256) → (B, width, H', W')."""
        h = self.conv(x)
        h = h + self.time(embedding)[..., None, None]
        return self.act(self.norm(h))


class PlainScoreNet(nn.Module):
    """The tutorial's network, its tensors named as :class:`ddpm.nets.scorenet.ScoreNet` names them."""

    def __init__(self) -> None:
        super().__init__()
        c1, c2, c3, c4 = WIDTHS
        self.embed = nn.Sequential(FourierTime(), nn.Linear(EMBED, EMBED), Swish())
        self.encoder = nn.ModuleList(
            [
                PlainLevel(nn.Conv2d(1, c1, 3, stride=1, bias=False), c1, 4),
                PlainLevel(nn.Conv2d(c1, c2, 3, stride=2, bias=False), c2, 32),
                PlainLevel(nn.Conv2d(c2, c3, 3, stride=2, bias=False), c3, 32),
                PlainLevel(nn.Conv2d(c3, c4, 3, stride=2, bias=False), c4, 32),
            ]
        )
        up = nn.ConvTranspose2d
        self.decoder = nn.ModuleList(
            [
                PlainLevel(up(c4, c3, 3, stride=2, bias=False), c3, 32),
                PlainLevel(up(2 * c3, c2, 3, stride=2, bias=False, output_padding=1), c2, 32),
                PlainLevel(up(2 * c2, c1, 3, stride=2, bias=False, output_padding=1), c1, 32),
            ]
        )
        self.out = up(2 * c1, 1, 3, stride=1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """x_t (B, 1, 28, 28) and t/T (B,) → (B, 1, 28, 28)."""
        e = self.embed(u)
        h1 = self.encoder[0](x, e)
        h2 = self.encoder[1](h1, e)
        h3 = self.encoder[2](h2, e)
        h4 = self.encoder[3](h3, e)
        h = self.decoder[0](h4, e)
        h = self.decoder[1](torch.cat([h, h3], dim=1), e)
        h = self.decoder[2](torch.cat([h, h2], dim=1), e)
        return self.out(torch.cat([h, h1], dim=1))


class HostImages(Dataset[tuple[Tensor, int]]):
    """Images one at a time, through PIL and ``ToTensor``, as torchvision's MNIST gives them."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index, 0].numpy())), int(self.labels[index])


def plain_steps(
    net: nn.Module, schedule: Schedule, images: datasets.Images, size: int, rates: list[float], device: torch.device
) -> Iterator[float]:
    """The losses of the tutorial's loop over one epoch, given the draws that :class:`ddpm.train.Trainer` makes.

    :param rates: the learning rate of each step, to be there before that step is asked for.
    """
    random = random_stream(device, 0, 0, stream=0)
    order = torch.randperm(len(images.train), generator=random, device=device).tolist()
    loader = DataLoader(
        HostImages(images.train, images.train_labels), size, sampler=order, num_workers=0, drop_last=True
    )
    alpha, sigma = schedule.alpha.float().to(device), schedule.sigma.float().to(device)
    optimiser = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), betas=(0.9, 0.99))
    net.train()
    for i, (x, _) in enumerate(loader):
        x = x.to(device)
        t = torch.randint(1, schedule.T + 1, (len(x),), generator=random, device=device)
        eps = torch.randn(x.shape, generator=random, device=device)
        x_t = alpha[t][:, None, None, None] * x + sigma[t][:, None, None, None] * eps
        loss = torch.mean((net(x_t, t / schedule.T) - eps) ** 2)
        optimiser.param_groups[0]["lr"] = rates[i]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()


def our_steps(trainer: Trainer, images: Tensor, rates: list[float]) -> Iterator[Tensor]:
    """The losses of the trainer, still on the device, and its learning rates into ``rates``."""
    for step in trainer.steps(images, datasets.to_float):
        rates.append(trainer.optimisers[0].param_groups[0]["lr"])
        yield step.loss


def measure(
    images: datasets.Images, *, steps: int, chunk: int, size: int = speed.BATCH, device: torch.device
) -> dict[str, Any]:
    """Train both for ``steps`` steps, ``chunk`` of each in turn: seconds a chunk, and the loss of every step.

    Beside them go the convolutions alone, all but the last: it has one channel, and ours is no convolution. The first
    chunk warms up: its losses count, its durations are kept apart.
    """
    trainer = speed.trainer("scorenet", device, size, epochs=1)
    plain = PlainScoreNet().to(device)
    plain.load_state_dict(trainer.net.state_dict())
    rates: list[float] = []
    ours = our_steps(trainer, images.train.to(device), rates)
    theirs = plain_steps(plain, speed.SCHEDULE, images, size, rates, device)
    alone = convolutions.layers(
        copy.deepcopy(trainer.net), torch.randn(size, 1, 28, 28, device=device), torch.rand(size, device=device)
    )
    clock = clocks.make_clock(device)
    seconds: dict[str, list[float]] = {"ours": [], "plain": [], CONVOLUTIONS: []}
    losses: dict[str, list[float]] = {"ours": [], "plain": []}
    for start in range(0, steps, chunk):
        count = min(chunk, steps - start)
        clock.start()
        device_losses = [next(ours) for _ in range(count)]
        losses["ours"] += torch.stack(device_losses).tolist()
        seconds["ours"].append(clock.stop() / count)
        clock.start()
        losses["plain"] += [next(theirs) for _ in range(count)]
        seconds["plain"].append(clock.stop() / count)
        clock.start()
        for _ in range(count):
            convolutions.there_and_back(alone)
        seconds[CONVOLUTIONS].append(clock.stop() / count)
    return {"batch_size": size, "chunk": chunk, "seconds_a_step": seconds, "losses": losses}


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """Ratio of times (median over chunks after the first), and the largest relative difference of two losses."""
    seconds = {name: values[1:] for name, values in measured["seconds_a_step"].items()}
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["plain"], strict=True)]
    bounds = [a / b for a, b in zip(seconds[CONVOLUTIONS], seconds["plain"], strict=True)]
    pairs = zip(measured["losses"]["ours"], measured["losses"]["plain"], strict=True)
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "convolutions_ratio": statistics.median(bounds),
        "max_relative_difference": max(abs(a - b) / b for a, b in pairs),
    }


def main() -> int:
    """Measure, print, save; 1 if the loss curves are not the same."""
    parser = argparse.ArgumentParser(prog="python -m perf.scorenet", description=__doc__)
    parser.add_argument("--steps", type=int, default=468, help="steps of each (default: an epoch, 468)")
    parser.add_argument("--chunk", type=int, default=26, help="steps of one before the other's turn")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = devices.pick_device(args.device)
    measured = measure(datasets.load("mnist"), steps=args.steps, chunk=args.chunk, device=device)
    found = summary(measured)
    medians = {name: statistics.median(values[1:]) for name, values in measured["seconds_a_step"].items()}
    for name, value in medians.items():
        print(f"{name:12} {1000 * value:7.1f} ms a step")
    print(f"ratio  {found['ratio']:.3f} (bar {BAR}); losses differ by at most {found['max_relative_difference']:.1e}")
    same = found["max_relative_difference"] <= TOLERANCE
    claims = [
        claim(
            "ScoreNet's training step, in the time of the plain tutorial form's",
            f"≤ {BAR}", f"{found['ratio']:.3f}", found["ratio"] <= BAR,
        ),
        claim(
            f"its loss curve over {args.steps} steps, relative difference from the plain form's",
            f"≤ {TOLERANCE:g}", f"{found['max_relative_difference']:.1e}", same,
        ),
    ]  # fmt: skip
    print(save("scorenet", measured | found | {"claims": claims}, device=device))
    return 0 if same else 1


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
