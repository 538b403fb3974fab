"""How long each part of a training step takes: part of :mod:`perf.roofline`.

The step is that of our entry in the race, which has the default network at its recipe. It is the trainer's own: its
methods tell a stopwatch when they begin and end. Operators' shares are of the self times that torch's profiler counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity

from bench.images import datasets
from bench.job.speed import SIDE
from bench.job.training import trainer_of
from bench.machine import clocks
from bench.race.entries import ENTRIES
from bench.race.jobs import cell_of
from bench.study.model import Job
from ddpm.nets import make_net
from ddpm.schedule import make_schedule
from ddpm.train import Step, Trainer

ENTRY = "unet-v"
WARM_UP, PROFILED = 3, 5
"""Steps that do not count, and steps under the profiler."""
REST = "the rest"
OPERATORS = {"convolutions": "conv", "group norm": "group_norm"}
"""Group of operators → what is in the name of each."""


def measure(device: torch.device, steps: int, entry: str = ENTRY) -> dict[str, Any]:
    """Seconds of each part of an entry's steps, a number a step; and the share of each group of operators."""
    trainer = make_trainer(cell_of(ENTRIES[entry].settings, 20, 0)[1].job, device)
    size = trainer.recipe.batch_size
    images = torch.randint(
        0, 256, ((WARM_UP + steps + PROFILED) * size, 1, SIDE, SIDE), dtype=torch.uint8, device=device
    )
    going = trainer.steps(images, datasets.to_float)
    clock = clocks.make_clock(device)
    each: list[dict[str, float]] = []

    def mark(part: str) -> None:
        each[-1][part] = each[-1].get(part, 0.0) + clock.stop()
        clock.start()

    watch(trainer, mark)
    for _ in range(WARM_UP + steps):
        each.append({})
        clock.start()
        next(going)
        mark(REST)
    parts = sorted(each[0], key=lambda part: part == REST)
    return {
        "entry": entry,
        "batch_size": size,
        "seconds": {part: [one[part] for one in each[WARM_UP:]] for part in parts},
        "operators": operators(going, device),
    }


def make_trainer(job: Job, device: torch.device) -> Trainer:
    """The job's trainer at its first step."""
    torch.manual_seed(job.seed)
    net = make_net(job.net, 1, SIDE).to(device)
    return trainer_of(job, net, make_schedule(job.schedule, job.T))


def watch(trainer: Trainer, mark: Callable[[str], None]) -> None:
    """Have the trainer call ``mark`` with the name of what has just ended."""

    def between(owner: object, method: str, before: str, after: str) -> None:
        run = getattr(owner, method)

        def marked(*given: Any, **named: Any) -> Any:
            mark(before)
            found = run(*given, **named)
            mark(after)
            return found

        setattr(owner, method, marked)

    between(trainer, "_renew", "drawing the batch", REST)
    between(trainer, "_loss", REST, "forward")
    between(trainer, "_set_rate", "backward", REST)
    for optimiser in trainer.optimisers:
        between(optimiser, "step", REST, type(optimiser).__name__)
    between(trainer.ema, "update", REST, "average")


def operators(going: Iterator[Step], device: torch.device) -> dict[str, float]:
    """The share of each group of :data:`OPERATORS` in what all operators of some more steps take themselves."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        for _ in range(PROFILED):
            next(going)
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    took = {one.key: float(getattr(one, own)) for one in profiler.key_averages() if one.key.startswith("aten::")}
    total = sum(took.values())
    return {
        group: sum(seconds for name, seconds in took.items() if part in name) / total
        for group, part in OPERATORS.items()
    }
