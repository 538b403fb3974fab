"""One job: train a network, then sample and score each of its cells, skipping whatever the store holds already."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.errors import UserError
from bench.images import datasets
from bench.job import work
from bench.job.checkpoints import trained
from bench.job.engine import Wish
from bench.job.events import CellDone, Entered, Event, JobDone, Kept, Preparing
from bench.job.failures import origin
from bench.job.network import network_of
from bench.job.sampling import Sampling, sample_and_score
from bench.job.setting import Setting
from bench.job.stages import Stages
from bench.job.training import make_record, train
from bench.machine import memory
from bench.rows import needed, outdated
from bench.score.heldout import likelihood
from bench.score.scorer import Scorer, preparing
from bench.store.records import CellRecord, EngineChoice, FailedCell, HarnessRun, JobRecord, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.model import ORACLE, Cell, Job
from ddpm.denoiser import Denoiser
from ddpm.oracle import Mixture
from ddpm.schedule import Schedule, make_schedule


def run(
    cells: list[Cell],
    store: Store,
    *,
    device: torch.device,
    data_dir: Path | None = None,
    exclusive: bool = True,
    began: float | None = None,
    sample_batch: int | None = None,
    estimate: float | None = None,
    wish: Wish = Wish(),  # noqa: B008 (it is frozen)
    likelihood_of: int = 0,
    only_train: bool = False,
    images: datasets.Images | None = None,
) -> Iterator[Event]:
    """Do whatever is missing of one job's cells, yielding events as it goes.

    :param exclusive: whether the device is this job's alone; if not, durations are kept out of timing tables.
    :param estimate: the seconds expected of it, recorded beside those it took.
    :param wish: the engine to evaluate the network with.
    :param likelihood_of: of how many test images the likelihood is wanted.
    :param only_train: whether to stop once the network is trained.
    :param images: the data set, where it is at hand (the gate's is a part of it).
    :raises FloatingPointError: if training diverges.
    :raises UserError: for bad data or a results folder that cannot be written.
    """
    job = cells[0].job
    stages = Stages(began or time.time())
    if began:
        stages.add("start", began)
    yield Entered(job=job.key, label=job.label, stage="loading data")
    since = time.time()
    needed(name for cell in cells for name in cell.packages)
    images = _load(job, max(cell.n for cell in cells), data_dir) if images is None else images
    schedule = make_schedule(job.schedule, job.T)
    net = _make_net(job, images, schedule, device)
    wish = Wish() if job.net == ORACLE else wish
    stages.add("load", since)

    setting = Setting(job, images, schedule, store, device, exclusive, stages, wish)
    record = yield from _trained(setting, net)
    if not only_train:
        if lacks_likelihood(job, record, likelihood_of):
            record = yield from _with_likelihood(record, setting, net, likelihood_of)
        yield from _cells(cells, Sampling(setting, net.eval()), sample_batch)
    yield _finish(record, stages.summary(estimate), store)


def _with_likelihood(
    record: TrainedJob, setting: Setting, net: nn.Module, n: int
) -> Generator[Event, None, TrainedJob]:
    """The record with the likelihood of ``n`` test images, once it is worked out."""
    job, since = setting.job, time.time()
    yield Entered(job=job.key, label=job.label, stage="working out the likelihood")
    found = likelihood(Denoiser(net.eval(), setting.schedule, job.objective), setting.images.test, n, setting.device)
    record = record.model_copy(update={"likelihood": found})
    setting.store.write(job.key, record)
    setting.stages.add("validate", since)
    return record


def _finish(record: TrainedJob, used: HarnessRun, store: Store) -> JobDone:
    """Add what the harness took to the job's record."""
    job, peak = record.config, max(record.peak_rss_mb or 0.0, memory.peak_rss_mb())
    store.write(job.key, record.model_copy(update={"harness": (*record.harness, used), "peak_rss_mb": peak}))
    return JobDone(job=job.key, label=job.label, overhead=used.overhead)


def _load(job: Job, n: int, data_dir: Path | None) -> datasets.Images:
    images = datasets.load(job.dataset, data_dir)
    if n > len(images.test):
        raise UserError(f"n={n} is more than the {len(images.test)} test images the floor is drawn from")
    return images


def _make_net(job: Job, images: datasets.Images, schedule: Schedule, device: torch.device) -> nn.Module:
    """The job's network as its training begins, which its seed decides."""
    torch.manual_seed(job.seed)
    if job.net == ORACLE:
        return Mixture(schedule, job.objective, images.train[: job.train.images]).to(device)
    return network_of(job, *images.shape).to(device)


def _trained(setting: Setting, net: nn.Module) -> Generator[Event, None, TrainedJob]:
    """Give ``net`` its trained weights, whether they are kept or still to be found; the job's record."""
    job = setting.job
    weights, record = trained(job, setting.store)
    if job.net == ORACLE:
        engine = EngineChoice(engine=setting.wish.name)
        return record or make_record(job, net, work.oracle_flops(job), [], engine, setting.device)
    if record is None:
        return (yield from train(setting, net))
    net.load_state_dict(weights)
    yield Kept(job=job.key, label=job.label, what="training")
    return record


def _cells(cells: list[Cell], sampling: Sampling, batch: int | None) -> Iterator[Event]:
    """Sample and score whatever cells are left, and record them."""
    job, store, device, stages = sampling.job, sampling.store, sampling.device, sampling.stages
    yield Entered(job=job.key, label=job.label, stage="preparing the scores")
    since = time.time()
    scorer = yield from _scorer(job, sampling.images, store, device)
    bounds = {n: scorer.bounds(n) for n in {cell.n for cell in cells}}
    stages.add("reference", since)
    left = [cell for cell in cells if _unscored(cell, store, scorer)]
    unsampled = [cell for cell in left if store.load_samples(cell.key) is None]
    if unsampled:
        yield Entered(job=job.key, label=job.label, stage="choosing an engine")
        sampling.prepare(unsampled)
    for cell in left:
        floor, ceiling = bounds[cell.n]
        about: dict[str, Any] = {"config": cell, "job": job.key, "provenance": scorer.provenance}
        about |= {"floor": floor, "ceiling": ceiling}
        said: dict[str, Any] = {"job": job.key, "label": job.label, "cell": cell.key, "way": cell.label}
        try:
            scores, sampled = yield from sample_and_score(cell, sampling, scorer, batch)
        except FloatingPointError as error:
            store.write(cell.key, FailedCell(status="failed", reason=str(error), **about, **origin(device)))
            yield CellDone(**said, status="failed", reason=str(error))
        else:
            own = {"accuracy": scorer.accuracy, "chance": scorer.chance}
            about |= {"panel": scorer.panel} if scorer.panel else own
            result = ScoredCell(status="done", metrics=scores, sampling=sampled, **about, **origin(device))
            store.write(cell.key, result)
            yield CellDone(**said, status="done", metrics=result.metrics)


def _scorer(job: Job, images: datasets.Images, store: Store, device: torch.device) -> Generator[Event, None, Scorer]:
    """What scores the job's samples, made while its progress is told."""
    making = preparing(job.dataset, images, store, device)
    while True:
        try:
            progress = next(making)
        except StopIteration as end:
            scorer: Scorer = end.value
            return scorer
        yield Preparing(job=job.key, label=job.label, what=progress.what, share=progress.share)


def lacks_likelihood(job: Job, record: JobRecord | None, n: int) -> bool:
    """Whether the likelihood of ``n`` test images is still to be worked out; of the oracle there is none."""
    known = record.likelihood if isinstance(record, TrainedJob) else None
    return n > 0 and job.net != ORACLE and (known is None or known.n != n)


def _unscored(cell: Cell, store: Store, scorer: Scorer) -> bool:
    """Whether there is anything to do for a cell."""
    kept = store.read(CellRecord, cell.key)
    scored = isinstance(kept, ScoredCell) and kept.provenance.classifier == scorer.classifier
    scored = scored and isinstance(kept, ScoredCell) and kept.panel == scorer.panel
    if isinstance(kept, ScoredCell) and outdated(kept.metrics, kept.environment.packages):
        scored = False
    return not scored or store.cut_short("samples", cell.key)
