"""Whole jobs, as a study runs them: seeds, classes, guidance, averages of any length, likelihood, both networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.gate.kinds import Check, fingerprint
from bench.gate.numbers import small_bases
from bench.gate.subject import FROZEN, Subject
from bench.gate.training import SMALL
from bench.job import run
from bench.job.engine import Wish
from bench.job.network import network_of
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Cell, Job, Sampling

N = 20
"""Samples of each cell, and images of the likelihood: the fewest that can be scored."""

JOBS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "told": (
        {
            "net": FROZEN["classes"], "objective": "v", "weight": "unit", "seed": 3, "timesteps": "importance",
            "train": {
                "epochs": 2, "batch_size": 32, "images": 480, "lr": 6e-3, "optimiser": "muon", "snapshots": 2,
            },
        },
        [
            {"sampler": "ancestral_learned", "sample_steps": 4, "sample_seed": 5, "guidance": 2.0},
            {"sampler": "ddim", "sample_steps": 4, "sample_seed": 6, "ema": 0.15},
        ],
    ),
    "jumping": (
        {
            "net": SMALL.format(",second_time=true"), "objective": "flow", "weight": "unit", "seed": 1,
            "teach": "meanflow", "train": {"epochs": 1, "batch_size": 16, "images": 64},
        },
        [
            {"sampler": "jump", "sample_steps": 2, "sample_seed": 1},
            {"sampler": "ddim", "sample_steps": 2, "sample_seed": 1, "eta": 0.0},
        ],
    ),
    "based": (
        {
            "net": SMALL.format(""), "objective": "eps", "weight": "unit", "seed": 2,
            "base": str(small_bases("mixture")["mixture"]),
            "train": {"epochs": 1, "batch_size": 16, "images": 64},
        },
        [
            {"sampler": "ddim", "sample_steps": 2, "sample_seed": 1, "eta": 0.0},
            {"sampler": "ddim", "sample_steps": 2, "sample_seed": 1, "eta": 0.0, "start": 0.5},
        ],
    ),
    "plain": (
        {
            "net": "scorenet", "objective": "previous", "weight": "demo", "seed": 1,
            "train": {"epochs": 1, "batch_size": 16, "images": 64},
        },
        [{"sampler": "ancestral", "sample_steps": 2, "sample_seed": 1}],
    ),
}  # fmt: skip
"""Name → how a network is trained, and the ways that it is sampled."""


def jobs() -> dict[str, list[Cell]]:
    """Name → the cells of one training run."""
    found = {}
    for name, (fields, ways) in JOBS.items():
        job = Job.model_validate({"schedule": "cosine", "T": 6, **fields})
        found[name] = [Cell(job=job, sampling=Sampling.model_validate(way), n=N) for way in ways]
    return found


def rows() -> Iterable[tuple[str, Check]]:
    """For each job its training, its likelihood and the samples of each cell."""
    for name, cells in jobs().items():
        yield f"job {name}, training", Check("job", partial(_of, training, name))
        yield f"job {name}, likelihood", Check("job", partial(_of, likelihood, name))
        for cell in cells:
            yield f"job {name}, {cell.label}", Check("job images", partial(_of, partial(samples, cell.key), name))


def _of(measured: Callable[[Done], np.ndarray], name: str, subject: Subject) -> np.ndarray:
    return measured(done(subject, name))


class Done:
    """A job that was run: its record, its kept weights (averaged and raw) and its samples by cell."""

    def __init__(self, store: Store, cells: list[Cell]) -> None:
        record, kept = store.read(JobRecord, cells[0].job.key), store.load_tensors(Checkpoint, cells[0].job.key)
        if not isinstance(record, TrainedJob) or kept is None:
            raise RuntimeError("the job was not done")
        self.record, self.weights = record, kept[0]
        self.samples = {cell.key: found[0] for cell in cells if (found := store.load_samples(cell.key)) is not None}


def done(subject: Subject, name: str) -> Done:
    """The job, run once for a subject."""

    def make() -> Done:
        cells, store = jobs()[name], Store(subject.folder)
        for _ in run.run(
            cells,
            store,
            device=subject.device,
            images=subject.images,
            wish=Wish(subject.engine),
            likelihood_of=N,
        ):
            pass
        return Done(store, cells)

    found: Done = subject.once(f"job {name}", make)
    return found


def averaged(found: Done) -> dict[str, Tensor]:
    """The averaged weights."""
    return dict(_part(found, "ema."))


def training(found: Done) -> np.ndarray:
    """Each epoch's loss and held-out errors, and fingerprints of how far averaged and raw weights came."""
    errors = [np.array([epoch.loss, epoch.eps_mse, epoch.x0_mse, epoch.bpd]) for epoch in found.record.epochs]
    job = found.record.config
    torch.manual_seed(job.seed)
    start = network_of(job, 1, 28).state_dict()
    came = (
        fingerprint(*[(value - start[name]).numpy() for name, value in _part(found, prefix)])
        for prefix in ("ema.", "net.")
    )
    return np.concatenate([*(np.resize(part, 16) for part in errors), *came])


def likelihood(found: Done) -> np.ndarray:
    """The bound's parts and the flow's likelihood."""
    known = found.record.likelihood
    if known is None:
        raise RuntimeError("no likelihood was worked out")
    return np.array([known.bound, known.prior, known.decoder, known.flow or 0.0, *known.terms[:4]], dtype=float)


def samples(key: str, found: Done) -> np.ndarray:
    """The samples of a cell, uint8."""
    return found.samples[key]


def _part(found: Done, prefix: str) -> Iterator[tuple[str, Tensor]]:
    return ((k.removeprefix(prefix), v) for k, v in sorted(found.weights.items()) if k.startswith(prefix))
