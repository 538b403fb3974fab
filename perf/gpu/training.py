"""Training: an epoch of ScoreNet, and a step of the U-Net by every engine and at several batch sizes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.images import datasets
from bench.job import engine
from bench.job.engine import ENGINES, Chosen, evaluator
from bench.job.failures import reason_of
from bench.job.speed import SCHEDULE
from bench.machine import clocks
from bench.machine.flops import flops_per_image
from bench.store.records import EngineChoice
from bench.study import load
from ddpm.nets import make_net
from ddpm.train import Loss, Recipe, Trainer
from perf.gpu import ahead, kernels
from perf.gpu.budget import scale
from perf.gpu.record import Row
from perf.gpu.session import SIDE, Found, Raw, Session

SCORENET_RECIPE: dict[str, Any] = {"lr": 1e-4}
"""The tutorial's learning rate."""
EPOCHS = 1_000_000
"""Planned, so that no loop ends by itself and the learning rate hardly moves."""
WARM_UP = 3
EPOCHS_TIMED = 3


def make_trainer(session: Session, net: str, batch: int, recipe: dict[str, Any]) -> Trainer:
    """A training run of that network at its first step: ε, linear schedule."""
    torch.manual_seed(session.seed)
    made = make_net(net, *session.images.shape).to(session.device)
    planned = Recipe(**({"epochs": EPOCHS} | recipe | {"batch_size": batch}))
    return Trainer(made, Loss(SCHEDULE, "eps", "unit"), planned, session.seed)


def quick_recipe() -> dict[str, Any]:
    """How the study ``quick`` trains, but for how long."""
    return load.load("quick").train.model_dump(exclude={"epochs", "images", "batch_size"})


def stepper(session: Session, trainer: Trainer, name: str) -> tuple[Callable[[], Tensor], Callable[..., Tensor]]:
    """(one training step by that engine, returning its loss on the device; the network as the engine evaluates it)."""
    net = evaluator(name, trainer.net.train(), session.device)
    steps = Chosen(name, net, EngineChoice(engine=name)).inside(
        trainer.steps(session.train_images, datasets.to_float, net), session.device
    )
    return lambda: next(steps).loss, net


def first_step(session: Session, name: str, step: Callable[[], Tensor]) -> float:
    """Seconds of the first step: for an engine that compiles, mostly that.

    :raises NoTimeError: if there is no time to compile.
    """
    session.compiling(name, "train")
    clock = clocks.make_clock(session.device)
    clock.start()
    step()
    seconds = clock.stop()
    session.compiled(name, "train", seconds)
    return seconds


def _finite(loss: Tensor) -> float:
    value = float(loss)
    if value != value or value in (float("inf"), float("-inf")):
        raise FloatingPointError(f"the loss is {value}")
    return value


# ScoreNet's epoch


def scorenet(session: Session) -> Generator[Row]:
    """An epoch of 60,000 images in batches of 128: eagerly, then by every engine; at the end which was the fastest."""
    names, name = session.engines(), session.sizes.demo_net
    eager = [one for one in names if ENGINES[one].mode is None]
    for one in eager:
        yield session.attempt(f"{name}, {one}", _at(session, one), partial(_epoch, session, one))
    yield from ahead.compile_ahead(session, tasks(session))
    for one in names:
        if one not in eager:
            yield session.attempt(f"{name}, {one}", _at(session, one), partial(_epoch, session, one))
    best = session.best("scorenet", "epoch_s")
    if best is not None:
        yield Row(name=f"the fastest: {best.at['engine']}", found={"epoch_s": best.found["epoch_s"]})


def _at(session: Session, name: str) -> Found:
    return {"net": session.sizes.demo_net, "engine": name, "batch": session.sizes.scorenet_batch}


def _epoch(session: Session, name: str) -> tuple[Found, Raw]:
    """Seconds of an epoch: of whole ones where they fit, else of so many steps, scaled to an epoch."""
    batch = session.sizes.scorenet_batch
    trainer = make_trainer(session, session.sizes.demo_net, batch, SCORENET_RECIPE)
    step, _ = stepper(session, trainer, name)
    first = first_step(session, name, step)
    if ENGINES[name].mode is None:
        session.budget.need(first / 2, "a second step")
    clock = clocks.make_clock(session.device)
    warm = []
    for _ in range(WARM_UP):
        clock.start()
        step()
        warm.append(clock.stop())
    whole = len(session.train_images) // batch
    once = min(warm)
    count = scale(once, whole, session.budget.left() / 3 / EPOCHS_TIMED)
    raw: list[float] = []
    while len(raw) < EPOCHS_TIMED and (not raw or session.budget.fits(1.2 * raw[-1])):
        clock.start()
        for _ in range(count):
            loss = step()
        raw.append(clock.stop())
    step_s = statistics.median(raw) / count
    flops = flops_per_image(trainer.net, 1, SIDE)["train"]
    found: Found = {
        "epoch_s": step_s * whole,
        "step_s": step_s,
        "images_per_s": batch / step_s,
        "steps_timed": count,
        "whole": count == whole,
        "first_s": first,
        "loss": _finite(loss),
    }
    return found | session.shares(flops * batch / step_s, name), {"seconds": raw}


# The U-Net's step


def order(session: Session) -> list[tuple[str, int]]:
    """(engine, batch) of every step that is timed, the most telling first."""
    names, batches = session.engines(), session.sizes.batches
    eager = [one for one in names if ENGINES[one].mode is None]
    rare = [one for one in names if one not in eager and ENGINES[one].format == "tf32"]  # two others say most of it
    main = [one for one in names if one not in eager and one not in rare]
    return [
        *((one, batch) for batch in batches for one in eager),
        *((one, batch) for batch in batches for one in main),
        *((one, batch) for batch in batches for one in rare),
    ]


def unet(session: Session) -> Generator[Row]:
    """A training step as ``quick`` takes it, by every engine, at every batch size.

    The first comes again at the end: profiling may slow the host for good, and this tells by how much.
    """
    per_image: dict[str, float] = {}
    again = order(session)[0]
    for i, (name, batch) in enumerate([*order(session), again]):
        at: Found = {"net": session.sizes.net, "engine": name, "batch": batch}

        def measure(name: str = name, batch: int = batch) -> tuple[Found, Raw]:
            if name in per_image:
                session.budget.need(3 * per_image[name] * batch, "three steps")
            return _step(session, name, batch)

        last = ", again" if i == len(order(session)) else ""
        row = session.attempt(f"{session.sizes.net}, batch {batch}, {name}{last}", at | {"again": bool(last)}, measure)
        if isinstance(step_s := row.found.get("step_s"), float):
            per_image[name] = step_s / batch
        yield row


def _step(session: Session, name: str, batch: int) -> tuple[Found, Raw]:
    """A whole step, the network's part of it (there and back), and what the device is doing meanwhile."""
    trainer = make_trainer(session, session.sizes.net, batch, quick_recipe())
    step, net = stepper(session, trainer, name)
    first = first_step(session, name, step)
    timed = session.timed(step, most_calls=session.sizes.most_calls)
    flops = flops_per_image(trainer.net, 1, SIDE)["train"] * batch
    found: Found = {
        "step_s": timed.median,
        "images_per_s": batch / timed.median,
        "first_s": first,
        "loss": _finite(step()),
        **session.shares(flops / timed.median, name),
    }
    raw: Raw = {"seconds": timed.seconds}
    if session.cuda and session.budget.fits(4 * session.sizes.profiled * timed.median):
        found |= _profile(session, step, timed.median)
    if session.budget.fits(4 * timed.median):
        work = engine.Work("train", trainer.net, batch, (1, SIDE), session.device)
        alone = session.timed(lambda: work(name, net), most_calls=session.sizes.most_calls)
        found["network_s"] = alone.median
        raw |= {"network_seconds": alone.seconds}
    return found, raw


def _profile(session: Session, step: Callable[[], Tensor], step_s: float) -> Found:
    """What the device does in a step. A profiler that fails must not cost the row its other figures."""
    try:
        return kernels.profile(step, session.sizes.profiled, session.scratch).found(step_s)
    except Exception as error:
        return {"top": f"no profile: {reason_of(error)[:200]}"}


def tasks(session: Session) -> list[ahead.Task]:
    """What the sections compile, in the order in which they need it."""
    sizes = session.sizes
    train = [ahead.Task("train", sizes.demo_net, sizes.scorenet_batch)]
    train += [ahead.Task("train", sizes.net, batch) for batch in sizes.batches]
    return [*train[:2], ahead.Task("sample", sizes.net, sizes.tiles[0]), *train[2:]]
