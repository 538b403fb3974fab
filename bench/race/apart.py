"""Entries with a training loop of their own: each run in a new process, scored as the harness scores."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.job.parent import end_with_owner
from bench.race.jobs import chosen
from bench.race.records import Done, Run
from bench.race.rules import DATASET
from bench.race.task import Task
from bench.text import one_line

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Drawn:
    """What a training loop of somebody's gives.

    :param train_s: seconds from the first batch to the last weight update, in pieces.
    :param apart_s: seconds of whatever else it did, by name.
    :param evaluations: of the network, for each sample, as they were counted.
    :param images: how many were trained on, repeats included.
    :param samples: uint8 (n, 1, 28, 28).
    :param software: package → version.
    """

    train_s: tuple[float, ...]
    apart_s: dict[str, float]
    evaluations: int
    images: int
    samples: Tensor
    software: dict[str, str]


def in_own_process(draw: Callable[[Task], Drawn]) -> Callable[[Task], Done]:
    """The runner whose training loop is ``draw``, a function at the top of its module."""
    return partial(_apart, draw)


def _apart(draw: Callable[[Task], Drawn], task: Task) -> Done:
    """One run in a new process, which starts with the variables that a job's process starts with.

    :raises UserError: if the training loop fails, saying where.
    """
    from bench.execute import processes

    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_owner) as pool:
            with processes.environment():
                future = pool.submit(scored, draw, task)
            return future.result()
    except BrokenProcessPool as error:
        raise UserError("a run failed: its process ended before it was done") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"a run failed: {type(error).__name__}: {one_line(str(error))[:300]}") from error


def scored(draw: Callable[[Task], Drawn], task: Task) -> Done:
    """Train and sample by ``draw``, then score the samples.

    :raises UserError: if it fails or gives other samples than it should.
    """
    import torch

    from bench.images import datasets
    from bench.machine import provenance
    from bench.machine.devices import pick_device
    from bench.score.scorer import last, preparing
    from bench.store.store import Store

    threads = torch.get_num_threads()
    torch.set_num_threads(task.rules.cores)
    device = pick_device(task.rules.device)
    environment = provenance.environment(device).model_copy(update={"threads": torch.get_num_threads()})
    try:
        torch.manual_seed(task.seed)
        drawn = draw(task)
        since, images = time.perf_counter(), datasets.load(DATASET)
        if tuple(drawn.samples.shape) != (task.n, *images.train.shape[1:]) or drawn.samples.dtype != torch.uint8:
            raise UserError(f"a run gave {drawn.samples.dtype} samples of shape {tuple(drawn.samples.shape)}")
        scorer = last(preparing(DATASET, images, Store(task.results), device))
        found = scorer.score(drawn.samples)
    except FloatingPointError as error:
        return Done(run=Run(seed=task.seed, diverged=one_line(str(error)) or "diverged"), environment=environment)
    finally:
        torch.set_num_threads(threads)
    return Done(
        run=Run(
            seed=task.seed,
            train_s=drawn.train_s,
            apart_s=drawn.apart_s | {"score": time.perf_counter() - since},
            evaluations=drawn.evaluations,
            images=drawn.images,
            scores=chosen(found, scorer.classifier),
            samples_sha256=hashlib.sha256(drawn.samples.cpu().numpy().tobytes()).hexdigest(),
        ),
        environment=environment,
        provenance=scorer.provenance,
        software=drawn.software,
    )
