"""How fast processes do a job's work side by side: steps of training and of sampling, without any result."""

from __future__ import annotations

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
from bench.job.parent import end_with_parent
from bench.study.model import Cell
from ddpm.nets import classes_of, make_net

Try = Callable[[Sequence[Cell], int, int], Sequence[float]]
"""(cells of a job, processes, threads of each) → the seconds that each process would take for such a job."""

SECONDS = 0.5
"""How long a process trains, and then samples."""
PATIENCE_S = 120.0
"""A process that has not answered by then counts for nothing."""


def tried(cells: Sequence[Cell], workers: int, threads: int) -> list[float]:
    """Have so many processes work side by side; those that fail say nothing."""
    started = [_start(cells, threads) for _ in range(workers)]
    try:
        pipes = [pipe for _, pipe in started]
        ready = [pipe for pipe in pipes if _hear(pipe) is not None]
        for pipe in ready:
            pipe.send(True)
        return [seconds for pipe in ready if (seconds := _hear(pipe)) is not None]
    finally:
        for process, pipe in started:
            pipe.close()
            process.terminate()
            process.join()


def _start(cells: Sequence[Cell], threads: int) -> tuple[BaseProcess, Connection]:
    ours, theirs = processes.CONTEXT.Pipe()
    process = processes.CONTEXT.Process(target=answer, args=(tuple(cells), threads, theirs), daemon=True)
    processes.warm()
    with processes.environment():
        process.start()
    theirs.close()
    return process, ours


def _hear(pipe: Connection) -> float | None:
    """What a process says: 0 when it is ready, then its seconds; None where it is gone."""
    with suppress(EOFError, OSError):
        if pipe.poll(PATIENCE_S):
            return float(pipe.recv())
    return None


def answer(cells: tuple[Cell, ...], threads: int, pipe: Connection) -> None:
    """Be such a process: get ready, say so, wait for the others, and say the seconds that the job would take."""
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
    net = make_net(job.net, data.channels, data.side).train(task == "train")
    batch = min(job.train.batch_size, data.trained_on(job.train.images)) if task == "train" else TILE["cpu"]
    return engine.Work(task, net, batch, (data.channels, data.side), torch.device("cpu"), classes_of(job.net))


def _seconds(work: engine.Work) -> float:
    """Seconds of a call, over as many as fit."""
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < SECONDS or not count:
        work("eager", work.net)
        count += 1
    return taken / count
