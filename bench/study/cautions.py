"""What a careful reader should know before a study runs: each caution looks at cells and yields lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from bench.study.model import Cell
from bench.text import plural
from ddpm.denoiser import Denoiser
from ddpm.oracle import gaussian
from ddpm.sampler import make_sampler, sample
from ddpm.schedule import RESIDUAL_SIGNAL, Schedule, make_schedule
from ddpm.spacing import space
from ddpm.spec import Variant
from ddpm.teach import Way, make_teach

NAMED = 4
"""Ways to sample that a line names at most."""
DEVIATION = 0.5
"""The standard deviation of the Gaussian data that samplers are tried on."""
BOUNDS = 0.4, 1.5
"""What may become of it, as a share. One that is coarse (``ddim`` in five steps) falls to 0.45."""
TRIED = 50
"""Sampling steps at most that are tried: with more, every sampler here is steady."""


def signal_left(cells: Sequence[Cell]) -> Iterator[str]:
    """Schedules that leave signal in x_T."""
    for name, T in dict.fromkeys((c.job.schedule, c.job.T) for c in cells if c.sampling.start is None):
        left = make_schedule(name, T).alpha[-1].item() ** 2
        if left > RESIDUAL_SIGNAL:
            yield (
                f"schedule '{name}' at T={T} leaves ᾱ_T = {left:.3g} of the signal in x_T: "
                "sampling starts from noise it was never trained on"
            )


def late_start(cells: Sequence[Cell]) -> Iterator[str]:
    """Spacings whose first step is at a time with signal, where x is pure noise all the same."""
    plain = [c for c in cells if c.sampling.start is None]
    asked = [(c.job.schedule, c.job.T, c.sampling.spacing, c.sampling.sample_steps) for c in plain]
    for name, T, spacing, steps in dict.fromkeys(asked):
        schedule = make_schedule(name, T)
        first = space(schedule, steps, spacing)[0]
        alpha = schedule.alpha[first].item()
        if first < T and alpha**2 > RESIDUAL_SIGNAL:
            yield (
                f"spacing '{spacing}' with {steps} of T={T} steps starts at t = {first}, where schedule '{name}' has "
                f"α = {alpha:.3g}: pure noise is fed to a network that expects signal there"
            )


def unstable(cells: Sequence[Cell]) -> Iterator[str]:
    """Samplers of higher order, without noise, that miss even Gaussian data, the network being exact."""
    asked: dict[Any, dict[int, None]] = {}
    for cell in cells:
        way, rule = cell.sampling, make_sampler(cell.sampling.sampler)
        if way.sample_steps <= TRIED and (rule.order > 1 or rule.corrects) and not rule.churn:
            group = (cell.job.schedule, cell.job.T, way.sampler, way.spacing, way.clip, way.start)
            asked.setdefault(group, {})[way.sample_steps] = None
    for (name, T, sampler, spacing, clip, begin), every in asked.items():
        schedule = make_schedule(name, T)
        tried = {steps: deviation(schedule, sampler, steps, spacing, clip, begin) for steps in every}
        bad = {n: s for n, s in tried.items() if s is not None and not BOUNDS[0] <= s / DEVIATION <= BOUNDS[1]}
        if bad:
            where = "" if begin is None else f" from {begin} T"
            yield (
                f"sampler '{sampler}' on schedule '{name}' at T={T}{where} is not steady with "
                f"{', '.join(map(str, bad))} steps: with an exact network and Gaussian data of standard deviation "
                f"{DEVIATION:g}, its samples have {', '.join(f'{found:.3g}' for found in bad.values())}"
            )


def deviation(
    schedule: Schedule,
    sampler: Variant | str,
    steps: int,
    spacing: Variant | str,
    clip: bool | str,
    begin: float | None = None,
) -> float | None:
    """The standard deviation that a sampler gives Gaussian data of :data:`DEVIATION`; None if it draws noise."""
    even = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    x = torch.special.ndtri(even).view(-1, 1, 1, 1)
    start, drawn = x.square().mean(), False  # a little less than 1
    times = space(schedule, steps, spacing, begin)
    if begin is not None:
        x = x * (schedule.alpha[times[0]] ** 2 * DEVIATION**2 + schedule.sigma[times[0]] ** 2).sqrt()

    def noise(_: int) -> torch.Tensor:
        nonlocal drawn
        drawn = True
        return torch.zeros_like(x)

    denoiser = Denoiser(gaussian(schedule, "x0", DEVIATION**2), schedule, "x0")
    for step in sample(denoiser, x, times, sampler, noise, clip=clip):
        if drawn:
            return None
        x = step.x
    return (x.square().mean() / start).sqrt().item()


def not_taught(cells: Sequence[Cell]) -> Iterator[str]:
    """Networks that are taught for one way to sample, and are sampled in another."""
    asked: dict[tuple[Variant, Way], dict[str, None]] = {}
    for cell in cells:
        job, way = cell.job, cell.sampling
        if (only := make_teach(job.teach).only) is None:
            continue
        schedule, steps = make_schedule(job.schedule, job.T), way.sample_steps
        alike = steps == 1 or (way.sampler == only.sampler and not way.eta)  # the last step of each sampler gives x̂₀
        if (
            steps == only.steps
            and alike
            and space(schedule, steps, way.spacing, way.start) == space(schedule, steps, only.spacing)
        ):
            continue
        asked.setdefault((job.teach, only), {})[way.setting] = None
    for (teach, only), labels in asked.items():
        named, more = list(labels)[:NAMED], len(labels) - NAMED
        yield (
            f"teach '{teach}' is for {plural(only.steps, 'step')} of {only.sampler} with spacing {only.spacing}: "
            f"it was not taught for {', '.join(named)}{f' and {more} more' if more > 0 else ''}"
        )


CAUTIONS: tuple[Callable[[Sequence[Cell]], Iterable[str]], ...] = (signal_left, late_start, unstable, not_taught)


def cautions(cells: Sequence[Cell]) -> list[str]:
    """Every line of every caution."""
    different = _different(cells)
    return [line for caution in CAUTIONS for line in caution(different)]


def _different(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each schedule, T, way to teach and to sample: the rest of a large grid tells no caution more."""
    jobs: dict[int, Any] = {}
    found: dict[Any, Cell] = {}
    for cell in cells:
        job = cell.job
        looked_at = jobs.get(id(job)) or jobs.setdefault(id(job), (job.schedule.text, job.T, job.teach.text))
        found.setdefault((looked_at, id(cell.sampling)), cell)
    return list(found.values())
