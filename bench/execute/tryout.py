"""How fast processes do a job's work side by side: steps of training and of sampling, without any result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from bench.execute import processes
from bench.images import datasets
from bench.job import engine
from bench.job.generate import TILE
from bench.job.network import network_of
from bench.job.parent import end_with_parent
from bench.study.model import Cell
from ddpm.nets import classes_of

Try = Callable[[Sequence[Cell], int, int], Sequence[float]]
"""(cells of a job, processes, threads of each) → the seconds that each process would take for such a job."""

SECONDS = 0.5
"""How long a process trains, and then samples."""
PATIENCE_S = 120.0
"""A process that has not answered so long after the first was asked for counts for nothing."""


def tried(cells: Sequence[Cell], workers: int, threads: int) -> list[float]:
    """Have so many processes work side by side; those that fail say nothing.

    If not all can be started, none says anything: fewer would have more of the machine for each.
    """
    until = time.monotonic() + PATIENCE_S
    started: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(workers):
            started.append(_start(cells, threads))
        ready = [pipe for _, pipe in started if _hear(pipe, until) is not None]
        for pipe in ready:
            with suppress(OSError):  # its process has died since
                pipe.send(True)
        return [seconds for pipe in ready if (seconds := _hear(pipe, until)) is not None]
    except (EOFError, OSError):  # the server of processes is gone, or there is no room for one more process
        return []
    finally:
        for process, pipe in started:
            pipe.close()
            process.kill()  # it has nothing to tidy up
        for process, _ in started:
            process.join()


def _start(cells: Sequence[Cell], threads: int) -> tuple[BaseProcess, Connection]:
    ours, theirs = processes.CONTEXT.Pipe()
    process = processes.CONTEXT.Process(target=answer, args=(tuple(cells), threads, theirs), daemon=True)
    try:
        processes.warm()
        with processes.environment():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _hear(pipe: Connection, until: float) -> float | None:
    """What a process says: 0 when it is ready, then its seconds; None where it is gone, or says nothing in time."""
    with suppress(EOFError, OSError):
        if pipe.poll(max(0.0, until - time.monotonic())):
            return float(pipe.recv())
    return None


def answer(cells: tuple[Cell, ...], threads: int, pipe: Connection) -> None:
    """Be such a process: get ready, say so, wait for the others, and say the seconds that the job would take.

    Whatever goes wrong in it is not printed: a trial that fails is no fault of the user's.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    end_with_parent()
    torch.set_num_threads(threads)
    works = [_work(task, cells[0]) for task in ("train", "sample")]
    for work in works:
        work("eager", work.net)
    pipe.send(0.0)
    pipe.recv()
    calls = engine.calls(cells, TILE["cpu"])
    pipe.send(sum(calls[work.task] * _seconds(work) for work in works))


def _work(task: engine.Task, cell: Cell) -> engine.Work:
    """One evaluation of the cell's network in training or in sampling."""
    job, data = cell.job, datasets.row(cell.job.dataset)
    net = network_of(job, data.channels, data.side).train(task == "train")
    batch = min(job.train.batch_size, data.trained_on(job.train.images)) if task == "train" else TILE["cpu"]
    return engine.Work(task, net, batch, (data.channels, data.side), torch.device("cpu"), classes_of(job.net))


def _seconds(work: engine.Work) -> float:
    """Seconds of a call, over as many as fit."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < SECONDS or not count:
        work("eager", work.net)
        count += 1
    return taken / count
