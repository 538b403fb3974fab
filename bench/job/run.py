"""One job: train a network, then sample and score each of its cells, skipping whatever the store holds already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.errors import UserError
from bench.images import datasets
from bench.job import work
from bench.job.checkpoints import trained
from bench.job.engine import Wish
from bench.job.events import Event
from bench.job.failures import origin
from bench.job.sampling import Sampling, sample_and_score
from bench.job.stages import Stages
from bench.job.training import make_record, train
from bench.machine import memory
from bench.rows import needed, outdated
from bench.score.heldout import likelihood
from bench.score.scorer import Scorer, provenance
from bench.store.store import Store
from bench.study.model import ORACLE, Cell, Job
from ddpm.denoiser import Denoiser
from ddpm.nets import make_net
from ddpm.oracle import Mixture
from ddpm.schedule import make_schedule


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
    now: Callable[[], float] = time.time,
) -> Iterator[Event]:
    """Do whatever is missing of one job's cells, yielding events as it goes.

    :param exclusive: whether the device is this job's alone; if not, durations are kept out of timing tables.
    :param estimate: the seconds expected of it, recorded beside those it took.
    :param wish: the engine to evaluate the network with.
    :param likelihood_of: of how many test images the likelihood is wanted.
    :raises FloatingPointError: if training diverges.
    :raises UserError: for bad data or a results folder that cannot be written.
    """
    job = cells[0].job
    stages = Stages(began or now())
    if began:
        stages.add("start", began)
    since = now()
    needed(name for cell in cells for name in cell.packages)
    images = datasets.load(job.dataset, data_dir)
    if (n := max(cell.n for cell in cells)) > len(images.test):
        raise UserError(f"n={n} is more than the {len(images.test)} test images the floor is drawn from")
    schedule = make_schedule(job.schedule, job.T)
    torch.manual_seed(job.seed)
    exact = job.net == ORACLE
    if exact:
        net: nn.Module = Mixture(schedule, job.objective, images.train[: job.train.images]).to(device)
        wish = Wish()
    else:
        net = make_net(job.net, *images.shape).to(device)
    stages.add("load", since)

    weights, record = trained(job, store)
    if exact:
        record = record or make_record(job, net, work.oracle_flops(job), [], {"engine": wish.name}, device)
    elif record is None:
        record = yield from train(job, net, images, schedule, store, device, exclusive, stages, wish)
    else:
        net.load_state_dict(weights)
        yield {"event": "kept", "what": "training"}
    net.eval()
    if lacks_likelihood(job, record, likelihood_of):
        since = now()
        record["likelihood"] = likelihood(Denoiser(net, schedule, job.objective), images.test, likelihood_of, device)
        store.write("jobs", job.key, record)
        stages.add("validate", since)

    since = now()
    scorer = Scorer(job.dataset, images, store, device)
    bounds = {n: scorer.bounds(n) for n in {cell.n for cell in cells}}
    stages.add("reference", since)
    left = [cell for cell in cells if _unscored(cell, store, scorer)]
    sampling = Sampling(job, net, images.shape, schedule, device, stages)
    unsampled = [cell for cell in left if store.load_samples(cell.key) is None]
    if unsampled:
        sampling.prepare(unsampled, store, wish)
    for cell in left:
        try:
            result = yield from sample_and_score(cell, sampling, store, scorer, exclusive, sample_batch)
        except FloatingPointError as error:
            result = {"status": "failed", "reason": str(error)}
        result |= origin(cell.model_dump(mode="json"), device)
        result["job"] = job.key
        result["provenance"] = provenance(scorer)
        result |= bounds[cell.n]
        store.write("cells", cell.key, result)
        yield (
            {"event": "cell", "key": cell.key, "label": cell.label}
            | {k: v for k, v in result.items() if k in ("status", "reason")}
            | {"fid": result.get("metrics", {}).get("fid")}
        )
    record["harness"] = [*record.get("harness", []), stages.summary() | {"estimate_s": estimate}]
    record["peak_rss_mb"] = max(record["peak_rss_mb"], memory.peak_rss_mb())
    store.write("jobs", job.key, record)
    yield {"event": "done", "overhead": record["harness"][-1]["overhead"]}


def lacks_likelihood(job: Job, record: dict[str, Any] | None, n: int) -> bool:
    """Whether the likelihood of ``n`` test images is still to be worked out; of the oracle there is none."""
    return n > 0 and job.net != ORACLE and ((record or {}).get("likelihood") or {"n": 0})["n"] != n


def _unscored(cell: Cell, store: Store, scorer: Scorer) -> bool:
    """Whether there is anything to do for a cell."""
    kept = store.read("cells", cell.key)
    if kept is None or kept["status"] != "done":
        return True
    scored = kept["provenance"]["classifier"] == scorer.classifier
    scored = scored and not outdated(kept["metrics"], kept["environment"].get("packages", ""))
    return not scored or store.cut_short("samples", cell.key)
