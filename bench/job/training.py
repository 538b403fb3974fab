"""Training one job's network, from its last complete epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn

from bench.images import datasets
from bench.job import engine
from bench.job.checkpoints import snapshots
from bench.job.engine import Wish
from bench.job.events import Event
from bench.job.failures import origin
from bench.job.stages import Stages
from bench.machine import clocks, memory
from bench.machine.flops import flops_per_image
from bench.machine.sources import code_hash
from bench.score.heldout import HeldOut
from bench.store.store import Store
from bench.study.model import Job
from ddpm.denoiser import Denoiser
from ddpm.nets import classes_of, make_net
from ddpm.schedule import Schedule
from ddpm.train import Loss, Recipe, Trainer


def train(
    job: Job,
    net: nn.Module,
    images: datasets.Images,
    schedule: Schedule,
    store: Store,
    device: torch.device,
    exclusive: bool,
    stages: Stages,
    wish: Wish,
) -> Generator[Event, None, dict[str, Any]]:
    """Train from the last complete epoch; leaves the averaged weights in ``net`` and returns the job's record."""
    recipe = Recipe(**job.train.model_dump(exclude={"images"}), timesteps=job.timesteps)
    trainer = Trainer(net, Loss(schedule, job.objective, job.weight), recipe, job.seed)
    since = time.time()
    epochs: list[dict[str, Any]] = []
    kept = store.load_tensors("resume", job.key)
    if kept is not None and kept[1].get("code") == code_hash():
        trainer.load_state(kept[0])
        epochs = kept[1]["epochs"]
        yield {"event": "resumed", "epoch": trainer.epoch}
    elif kept is not None:
        yield {"event": "outdated"}
    train = images.train[: job.train.images].to(device)
    none = classes_of(job.net)
    classes = images.train_labels[: len(train)].to(device) if none else None
    flops = flops_per_image(net, *images.shape)
    held_out = HeldOut(images.test, schedule, device)
    copy = make_net(job.net, *images.shape).to(device).eval()
    denoiser = Denoiser(copy, schedule, job.objective)
    clock = clocks.make_clock(device)
    stages.add("load", since)

    size = min(recipe.batch_size, len(train))
    chosen = choose(engine.Work("train", net.train(), size, images.shape, device, none), job, store, wish, stages)

    since = time.time()
    losses: list[Tensor] = []
    first, spoke, spent = True, 0.0, 0.0
    clock.start()
    for step in chosen.inside(trainer.steps(train, datasets.to_float, chosen.net, classes, none), device):
        losses.append(step.loss)
        if step.snapshot:
            spent += clock.stop()
            stages.add("train", since)
            since = time.time()
            at = {"step": (step.epoch - 1) * step.of + step.index}
            store.save_tensors("snapshots", snapshots(job)[step.snapshot - 1], trainer.snapshot(), at)
            stages.add("store", since)
            since = time.time()
            clock.start()
        if not step.ends_epoch:
            if time.time() - spoke > 1:
                spoke = time.time()
                yield {"event": "step", "epoch": step.epoch, "of": recipe.epochs, "share": step.index / step.of}
            continue
        seconds, spent = spent + clock.stop(), 0.0
        stages.add("train", since)
        since = time.time()
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"diverged: the mean loss of epoch {step.epoch} is {loss}")
        copy.load_state_dict(trainer.ema.weights)
        epochs.append(
            {
                "seconds": seconds,
                "images": step.of * min(recipe.batch_size, len(train)),
                "warm": not first,
                "exclusive": exclusive,
                "loss": loss,
                **held_out(denoiser),
            }
        )
        stages.add("validate", since)
        since = time.time()
        if step.epoch < recipe.epochs:
            store.save_tensors("resume", job.key, trainer.state(), {"epochs": epochs, "code": code_hash()})
        yield {"event": "epoch", "epoch": step.epoch, "of": recipe.epochs, **epochs[-1]}
        losses, first = [], False
        stages.add("store", since)
        since = time.time()
        clock.start()

    since = time.time()
    ema = {f"ema.{k}": v for k, v in trainer.ema.weights.items()}
    raw = {f"net.{k}": v for k, v in net.state_dict().items()}
    store.save_tensors("checkpoints", job.key, ema | raw, {"job": job.model_dump(mode="json")})
    net.load_state_dict(trainer.ema.weights)
    record = make_record(job, net, flops, epochs, chosen.about, device)
    store.write("jobs", job.key, record)
    store.path("resume", job.key, ".safetensors").unlink(missing_ok=True)
    stages.add("store", since)
    return record


def choose(work: engine.Work, job: Job, store: Store, wish: Wish, stages: Stages) -> engine.Chosen:
    """The engine for this work; what trying takes, which one job does for all, is kept apart from warming up."""
    since = time.time()
    if wish.name == engine.AUTO:
        engine.learn(work, str(job.net), store, wish)
    stages.add("trial", since)
    since = time.time()
    chosen = engine.choose(work, str(job.net), store, wish)
    stages.add("compile", since)
    return chosen


def make_record(
    job: Job,
    net: nn.Module,
    flops: dict[str, int],
    epochs: list[dict[str, Any]],
    about: dict[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """What is kept of a training run that is done; ``about`` is its engine."""
    return {
        "status": "done",
        "epochs": epochs,
        "params": sum(p.numel() for p in net.parameters()),
        "trained_params": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "megabytes": megabytes(net),
        "flops_per_image": flops,
        "engine": about,
        "peak_rss_mb": memory.peak_rss_mb(),
        "peak_device_mb": memory.peak_device_mb(device),
        **origin(job.model_dump(mode="json"), device),
    }


def megabytes(net: nn.Module) -> float:
    """The size of the network's weights as saved, in MiB (the seed's "4.3 MB" is 4.255 MiB)."""
    from safetensors.torch import save

    return len(save({k: v.contiguous() for k, v in net.state_dict().items()})) / 2**20
