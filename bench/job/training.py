"""Training one job's network, from its last complete epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.images import datasets
from bench.job import engine
from bench.job.checkpoints import snapshots, taught_by
from bench.job.events import Entered, EpochDone, Event, Outdated, Resumed, Stepped
from bench.job.failures import origin
from bench.job.network import network_of
from bench.job.setting import Setting
from bench.job.work import taught_flops
from bench.machine import clocks, memory
from bench.machine.flops import flops_per_image
from bench.machine.sources import code_hash
from bench.score.heldout import HeldOut
from bench.store.records import EngineChoice, Epoch, Flops, TrainedJob
from bench.store.tensors import Checkpoint, Resume, Snapshot
from bench.study.model import Job
from ddpm.base import Based
from ddpm.denoiser import Denoiser
from ddpm.nets import classes_of
from ddpm.schedule import Schedule
from ddpm.train import Loss, Recipe, Step, Trainer, random_stream

BASE_STREAM = 4
"""The stream of random numbers that a base is fitted with; a trainer has those before it."""


def train(setting: Setting, net: nn.Module) -> Generator[Event, None, TrainedJob]:
    """Train from the last complete epoch; leaves the averaged weights in ``net`` and returns the job's record."""
    job, images, store, device, stages = (
        setting.job, setting.images, setting.store, setting.device, setting.stages,
    )  # fmt: skip
    weights, taught = taught_by(job, store)
    teacher = network_of(job, *images.shape).to(device) if taught else None
    if teacher is not None:
        teacher.load_state_dict(weights)
    train = images.train[: job.train.images].to(device)
    clock, since = clocks.make_clock(device), time.time()
    fitted = _fitted(net, train, job.seed, clock) if teacher is None else 0.0  # a student has its teacher's base
    stages.add("train", since)
    trainer = trainer_of(job, net, setting.schedule, teacher)
    since = time.time()
    training = _Training(setting, trainer, clock, fitted)
    yield from training.resume()
    none = classes_of(job.net)
    classes = images.train_labels[: len(train)].to(device) if none else None
    flops = taught_flops(Flops(**flops_per_image(net, *images.shape)), job)
    validate = _Validation(setting)
    stages.add("load", since)

    yield Entered(job=job.key, label=job.label, stage="choosing an engine")
    size = min(job.train.batch_size, len(train))
    chosen = choose(engine.Work("train", net.train(), size, images.shape, device, none), setting)
    steps = trainer.steps(train, datasets.to_float, chosen.net, classes, none)
    memory.reset_peak(device)
    yield from training.run(chosen.inside(steps, device), size, validate)

    since = time.time()
    ema = {f"ema.{k}": v for k, v in trainer.ema.weights.items()}
    raw = {f"net.{k}": v for k, v in net.state_dict().items()}
    store.save_tensors(job.key, ema | raw, Checkpoint(job=job))
    net.load_state_dict(trainer.ema.weights)
    record = make_record(job, net, flops, training.epochs, chosen.about, device)
    if taught:
        record = record.model_copy(update=_cost_of(taught))
    store.write(job.key, record)
    store.path(Resume.kind, job.key, ".safetensors").unlink(missing_ok=True)
    stages.add("store", since)
    return record


def trainer_of(job: Job, net: nn.Module, schedule: Schedule, teacher: nn.Module | None = None) -> Trainer:
    """What trains a network as the job says, at its first step."""
    recipe = Recipe(**job.train.model_dump(exclude={"images", "epochs"}), epochs=job.epochs, timesteps=job.timesteps)
    return Trainer(net, Loss(schedule, job.objective, job.weight, job.teach), recipe, job.seed, teacher)


def _fitted(net: nn.Module, images: Tensor, seed: int, clock: clocks.Clock) -> float:
    """Fit a network's base to the training images; the seconds that it took, which are training."""
    if not isinstance(net, Based):
        return 0.0
    clock.start()
    net.fit(images, datasets.to_float, random_stream(torch.device("cpu"), seed, 0, stream=BASE_STREAM))
    return clock.stop()


def _cost_of(teacher: TrainedJob) -> dict[str, Any]:
    """What a teacher adds to its student's record."""
    seconds = {"teacher_s": sum(epoch.seconds for epoch in teacher.epochs)} if teacher.exclusive else {}
    return {"teacher_images": sum(epoch.images for epoch in teacher.epochs), **seconds}


class _Validation:
    """The errors of weights on held-out images, by a copy of the network."""

    def __init__(self, setting: Setting) -> None:
        job, images = setting.job, setting.images
        self._held_out = HeldOut(images.test, setting.schedule, setting.device)
        self._copy = network_of(job, *images.shape).to(setting.device).eval()
        self._denoiser = Denoiser(self._copy, setting.schedule, job.objective)

    def __call__(self, weights: dict[str, Tensor]) -> dict[str, float]:
        self._copy.load_state_dict(weights)
        return self._held_out(self._denoiser)


@dataclass
class _Training:
    """The loop over steps: what is timed, kept and said of them.

    ``before``: seconds of training before the first step, which are the first epoch's.
    """

    setting: Setting
    trainer: Trainer
    clock: clocks.Clock
    before: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.job, self.store, self.stages = self.setting.job, self.setting.store, self.setting.stages

    def resume(self) -> Iterator[Event]:
        """Go on from the last complete epoch, if there is one of this version of the code."""
        kept = self.store.load_tensors(Resume, self.job.key)
        if kept is None:
            return
        state, done = kept
        if done.code == code_hash():
            self.trainer.load_state(state)
            self.epochs = list(done.epochs)
            yield Resumed(job=self.job.key, label=self.job.label, epoch=self.trainer.epoch)
        else:
            yield Outdated(job=self.job.key, label=self.job.label)

    def run(self, steps: Iterable[Step], size: int, validate: _Validation) -> Iterator[Event]:
        """Take the steps, of ``size`` images each."""
        since, spoke, spent = time.time(), 0.0, 0.0 if self.epochs else self.before
        losses: list[Tensor] = []
        warm = False
        self.clock.start()
        for step in steps:
            losses.append(step.loss)
            if step.snapshot:
                spent += self.clock.stop()
                self.stages.add("train", since)
                self._snapshot(step)
                since = time.time()
                self.clock.start()
            if not step.ends_epoch:
                if time.time() - spoke > 1:
                    spoke = time.time()
                    yield self._progress(step)
                continue
            spent += self.clock.stop()
            self.stages.add("train", since)
            self._validate(step, spent, losses, size, warm, validate)
            since = time.time()
            self._keep(step)
            said = {name: value for name, value in self.epochs[-1].known.items() if name in EpochDone.model_fields}
            of = self.job.epochs
            yield EpochDone(job=self.job.key, label=self.job.label, epoch=step.epoch, of=of, **said)
            losses, spent, warm = [], 0.0, True
            self.stages.add("store", since)
            since = time.time()
            self.clock.start()

    def _snapshot(self, step: Step) -> None:
        since = time.time()
        at = Snapshot(step=(step.epoch - 1) * step.of + step.index)
        self.store.save_tensors(snapshots(self.job)[step.snapshot - 1], self.trainer.snapshot(), at)
        self.stages.add("store", since)

    def _progress(self, step: Step) -> Stepped:
        return Stepped(
            job=self.job.key,
            label=self.job.label,
            epoch=step.epoch,
            of=self.job.epochs,
            share=step.index / step.of,
            loss=float(step.loss),  # waits for the device, and so is not asked for at every step
        )

    def _validate(
        self, step: Step, seconds: float, losses: list[Tensor], size: int, warm: bool, validate: _Validation
    ) -> None:
        """Add the epoch that has just ended."""
        since = time.time()
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"diverged: the mean loss of epoch {step.epoch} is {loss}")
        self.epochs.append(
            Epoch(
                seconds=seconds,
                images=step.of * size,
                warm=warm,
                exclusive=self.setting.exclusive,
                loss=loss,
                **validate(self.trainer.ema.weights),
            )
        )
        self.stages.add("validate", since)

    def _keep(self, step: Step) -> None:
        """Make it possible to go on from here."""
        if step.epoch < self.job.epochs:
            so_far = Resume(code=code_hash(), epochs=tuple(self.epochs))
            self.store.save_tensors(self.job.key, self.trainer.state(), so_far)


def choose(work: engine.Work, setting: Setting) -> engine.Chosen:
    """The engine for this work; what trying takes, which one job does for all, is kept apart from warming up."""
    net, store, wish = setting.job.network, setting.store, setting.wish
    since = time.time()
    if wish.name == engine.AUTO:
        engine.learn(work, net, store, wish)
    setting.stages.add("trial", since)
    since = time.time()
    chosen = engine.choose(work, net, store, wish)
    setting.stages.add("compile", since)
    return chosen


def make_record(
    job: Job,
    net: nn.Module,
    flops: Flops,
    epochs: list[Epoch],
    engine: EngineChoice,
    device: torch.device,
) -> TrainedJob:
    """What is kept of a training run that is done."""
    return TrainedJob(
        status="done",
        config=job,
        epochs=tuple(epochs),
        params=sum(p.numel() for p in net.parameters()),
        trained_params=sum(p.numel() for p in net.parameters() if p.requires_grad),
        megabytes=megabytes(net),
        flops_per_image=flops,
        engine=engine,
        peak_rss_mb=memory.peak_rss_mb(),
        peak_device_mb=memory.peak_device_mb(device),
        **origin(device),
    )


def megabytes(net: nn.Module) -> float:
    """The size of the network's weights as saved, in MiB (the demo's "4.3 MB" is 4.255 MiB)."""
    from safetensors.torch import save

    return len(save({k: v.contiguous() for k, v in net.state_dict().items()})) / 2**20
