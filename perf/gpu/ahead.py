"""Compiling ahead, in several processes at once: one after the other it would take longer than all the measuring.

A process compiles what it is told to, into the folder in which the measurements then find it. Nothing is measured
meanwhile. What is not done when the time is over is compiled where it is needed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from subprocess import DEVNULL, PIPE, Popen

import torch

from bench.job import engine
from bench.job.engine import ENGINES, FORMATS
from bench.machine import devices
from bench.paths import ROOT
from ddpm.nets import make_net
from perf.gpu.record import Row
from perf.gpu.session import SIDE, Found, Session, pending

SHARE = 0.8
"""The most of the section's time that it may take."""
LEAST_CORES = 4
POLL_S = 0.2


@dataclass(frozen=True)
class Task:
    """A network and the shape it is compiled for."""

    task: engine.Task
    net: str
    batch: int


def compile_ahead(session: Session, tasks: Sequence[Task]) -> Generator[Row]:
    """Compile all of that for every engine that compiles; where there is no GPU, or no cores to spare, do nothing."""
    cores = os.cpu_count() or 1
    if not session.cuda or cores < LEAST_CORES:
        yield pending("compiling ahead", f"only for a GPU beside {LEAST_CORES} cores or more")
        return
    each = [(task, number) for task in tasks for number in FORMATS]
    allowed = SHARE * session.budget.left()
    yield session.attempt(
        "compiling ahead", {"processes": cores // 2}, lambda: (run(each, cores // 2, session, allowed), {})
    )


def run(each: Sequence[tuple[Task, str]], count: int, session: Session, allowed: float) -> Found:
    """Share the tasks out among so many processes and wait for them, but not for longer than that."""
    since = time.monotonic()
    environment = os.environ | {"TORCHINDUCTOR_COMPILE_THREADS": "2", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    running = []
    for i in range(min(count, len(each))):
        own = [[*astuple(task), number] for task, number in each[i::count]]
        words = [sys.executable, "-m", "perf.gpu.ahead", str(session.device), json.dumps(own)]
        running.append(
            Popen(
                words, stdout=PIPE, stderr=DEVNULL, env=environment, cwd=ROOT,
                start_new_session=True,
            )
        )  # fmt: skip
    try:
        while any(one.poll() is None for one in running) and time.monotonic() - since < allowed:
            time.sleep(POLL_S)
    finally:
        for one in running:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)  # with the compiler's own processes
    done = sum(one.communicate()[0].count(b"\n") for one in running)
    return {"seconds": time.monotonic() - since, "compiled": done, "of": len(each)}


def compile_one(task: Task, number: str, device: torch.device) -> None:
    """Compile it by every engine of that number format, and evaluate it once."""
    net = make_net(task.net, 1, SIDE).to(device).train(task.task == "train")
    work = engine.Work(task.task, net, task.batch, (1, SIDE), device)
    for name, one in ENGINES.items():
        if one.mode is not None and one.format == number and one.fits(device):
            torch.compiler.reset()
            work(name, engine.evaluator(name, net, device))


def main(argv: Sequence[str]) -> int:
    """Compile what the second argument lists, saying a line for each that is done."""
    device = devices.pick_device(argv[0])
    for *about, number in json.loads(argv[1]):
        try:
            compile_one(Task(*about), number, device)
        except Exception as error:  # whoever measures it says so
            print(error, file=sys.stderr)
            continue
        print(number, *about, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
