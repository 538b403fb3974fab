"""Running jobs on a Slurm cluster: job arrays by way of submitit, each job on a node that shares the results folder.

A job in Slurm's queue does not need the command that submitted it. If that is killed or its terminal is closed, the
jobs go on, and the same command follows them again. Where Slurm takes a node away or a time limit comes near, the job
is put back in the queue and goes on from its last whole epoch.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bench.errors import UserError
from bench.execute import processes, settings
from bench.execute.line import Line, failed
from bench.execute.schedule import POLL_S, Options, Stop, outcome
from bench.execute.slurm_queue import Ledger, State, busy, command, name_of, states
from bench.execute.worker import why
from bench.job.events import BUSY, Elsewhere, Event, JobEnd, Started, Stopped, from_json, to_json
from bench.job.parent import end_with_owner
from bench.job.process import work
from bench.job.spec import JobSpec
from bench.paths import cache_dir
from bench.store.store import Store

MOST = 1000
"""Tasks of one array: Slurm's own limit unless a cluster sets another."""
GONE_S = 40.0
"""How long to wait for jobs that were cancelled: Slurm's own patience is half a minute."""
BEGAN = "DDPM_BENCH_BEGAN"
PENDING = State("PENDING")


class Settings(settings.Settings):
    """What Slurm is told; what is not set is left to the cluster, the time limit apart.

    :param time: minutes. A job that needs longer goes on from its last whole epoch in a new turn, ``turns`` at most.
    :param gpus: for each job; one where the device is cuda.
    :param signal_delay_s: how many seconds before the time limit the job is told of it.
    :param poll: seconds between questions to Slurm.
    :param leave: whether an interrupt leaves the jobs in the queue.
    :param folder: for submitit's own files, which all nodes must see.
    :param setup: lines of shell before each job, such as ``module load cuda``.
    :param sbatch: other options of sbatch, by name.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: Annotated[int, Field(ge=1)] = 60
    mem: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    exclusive: bool | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    signal_delay_s: Annotated[int, Field(ge=1)] = 90
    turns: Annotated[int, Field(ge=1)] = 50
    poll: Annotated[float, Field(gt=0)] = 5.0
    leave: bool = False
    folder: Path | None = None
    setup: tuple[str, ...] = ()
    sbatch: Mapping[str, Any] = {}


class OnNode:
    """What a node runs. submitit has it go on after a new start, since it has ``checkpoint``."""

    def __call__(self, spec: str, events: str) -> None:
        """Run the job and write what it says, a line for each event, and last its exit code."""
        wish = JobSpec.model_validate_json(spec)
        began = float(os.environ.get(BEGAN) or time.time())
        whole = has_device_alone(wish.device, os.environ)
        wish = wish.model_copy(update={"exclusive": whole, "began": began})
        log = os.open(Store(wish.results).path("logs", wish.key, ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for stream in (1, 2):
            os.dup2(log, stream)
        signal.signal(signal.SIGTERM, _end)
        end_with_owner()
        with Path(events).open("ab", buffering=0) as out:

            def say(event: Event) -> None:
                if not isinstance(event, Elsewhere):  # the exit code says it
                    out.write(to_json(event) + b"\n")

            say(Started(job=wish.key, label=wish.job.label, node=platform.node(), pid=os.getpid()))
            code = work(wish, say)
            out.write(json.dumps({"code": code}).encode() + b"\n")

    def checkpoint(self, *given: Any) -> Any:
        """What to run when the job's turn comes again: the same, which goes on by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *given)


def has_device_alone(device: str, environment: Mapping[str, str]) -> bool:
    """Whether Slurm gave the job its device alone: a GPU, or every processor of its node."""
    if device == "cuda":
        return bool(environment.get("SLURM_JOB_GPUS") or environment.get("SLURM_STEP_GPUS"))
    return environment.get("SLURM_CPUS_ON_NODE") == str(os.cpu_count())


def _end(number: int, _: object) -> None:
    """SIGTERM: end, tidily, if the job was cancelled; if Slurm takes its node away, back into the queue."""
    told = command("scontrol", "show", "job", os.environ.get("SLURM_JOB_ID", ""), "--oneliner")
    if "JobState=RUNNING" in told:
        name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))  # submitit's handler, which puts it back
        return
    sys.exit(128 + number)


@dataclass
class _Task:
    """A job in Slurm's hands: how much of its events has been read, whether it has ended, and with which code."""

    spec: JobSpec
    job: str
    events: Path
    state: State = PENDING
    read: int = 0
    ended: bool = False
    code: int | None = None
    looks: int = field(default=0)

    def said(self) -> Iterator[Event]:
        """The events since the last look, whole lines only."""
        with suppress(FileNotFoundError), self.events.open("rb") as file:
            file.seek(self.read)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self.read += len(whole)
            for line in whole.splitlines():
                if line.startswith(b'{"code"'):
                    self.code = int(json.loads(line)["code"])
                    continue
                with suppress(ValueError):  # a line that a crash cut short
                    event = from_json(line)
                    if not self.ended:
                        self.ended = isinstance(event, JobEnd)
                        yield event


class Slurm:
    """Job arrays, with no more jobs at once than there are workers."""

    def __init__(self, options: Options, results: Path) -> None:
        self._settings = settings.parse(Settings, options.settings, "slurm")
        settings.need("submitit", "slurm")
        if shutil.which("sbatch") is None:
            raise UserError("executor slurm needs Slurm's own commands, and there is no sbatch on this machine")
        self._options, self._results = options, results.resolve()
        self._ledger = Ledger(self._results)
        self._open: dict[str, _Task] = {}
        self._ready: deque[JobSpec] = deque()
        self._line = Line()
        self._asked = 0.0

    def run(self, specs: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`. Jobs that are in the queue already are followed."""
        if stop.is_set():
            return
        try:
            self._take(specs)
            while not stop.is_set():
                for one in self._line.returning():
                    if isinstance(one, JobSpec):
                        self._ready.append(one)
                    else:
                        yield one
                self._submit()
                if not (self._open or self._ready or self._line):
                    return
                time.sleep(min(POLL_S, self._settings.poll))
                yield from self._look()
            yield from self._stop()
        except (GeneratorExit, KeyboardInterrupt):
            if not self._settings.leave:
                self._cancel()
            raise
        except BaseException:
            self._cancel()
            raise

    def _take(self, specs: Iterable[JobSpec]) -> None:
        """All that is to be done: what Slurm has already, and what it does not."""
        todo = [spec.model_copy(update={"results": self._results}) for spec in specs]
        kept = {spec.key: job for spec in todo if (job := self._ledger.job(spec.key)) is not None}
        known = states(kept.values(), name_of(self._results)) if kept else {}
        for spec in todo:
            job = kept.get(spec.key)
            if job in known and known[job].alive:
                self._open[spec.key] = _Task(spec, job, self._ledger.events(spec.key), known[job])
            else:
                self._ready.append(spec)

    def _submit(self) -> None:
        """Everything that need not wait, as an array, as soon as fewer jobs than may be are under way."""
        room = self._options.workers - len(self._open)
        if room < 1:
            return
        here = {spec.key for spec in self._ready} | self._line.keys | self._open.keys()
        now = [spec for spec in self._ready if spec.job.teacher is None or spec.job.teacher.key not in here][:MOST]
        if not now:
            return
        paths = [self._ledger.events(spec.key) for spec in now]
        for path in paths:
            Store(self._results).write_bytes(path, b"")
        jobs = self._send(now, paths, room)
        for spec, path, job in zip(now, paths, jobs, strict=True):
            self._ledger.keep(spec.key, job)
            self._open[spec.key] = _Task(spec, job, path)
        taken = {spec.key for spec in now}
        self._ready = deque(spec for spec in self._ready if spec.key not in taken)

    def _send(self, specs: list[JobSpec], paths: list[Path], room: int) -> list[str]:
        """Submit an array; Slurm's number of each job."""
        import submitit

        wish = self._settings
        folder = wish.folder or cache_dir() / "slurm"
        told = {
            name: value
            for name in ("partition", "account", "qos", "time", "mem", "constraint", "nodelist", "exclude", "exclusive")
            if (value := getattr(wish, name)) is not None
        }
        gpus = int(self._options.device.startswith("cuda")) if wish.gpus is None else wish.gpus
        executor = submitit.SlurmExecutor(folder=str(folder / "%j"), max_num_timeout=wish.turns)
        executor.update_parameters(
            **told,
            **({"gpus_per_node": gpus} if gpus else {}),
            job_name=name_of(self._results),
            cpus_per_task=self._options.threads_each,
            signal_delay_s=wish.signal_delay_s,
            array_parallelism=room,
            stderr_to_stdout=True,
            setup=[*wish.setup, f"export {BEGAN}=$(date +%s.%N)"],
            additional_parameters={"requeue": True, **wish.sbatch},
        )
        given = [spec.model_dump_json() for spec in specs]
        try:
            with processes.environment():
                jobs = executor.map_array(OnNode(), given, [str(path) for path in paths])
        except submitit.core.utils.FailedJobError as error:
            lines = [line for line in str(error).splitlines() if "error" in line] or [str(error)]
            raise UserError(f"Slurm refuses the jobs: {lines[0].strip()}") from error
        return [str(job.job_id) for job in jobs]

    def _look(self) -> Iterator[Event]:
        """What running jobs have said, and what became of those that have ended."""
        fresh = time.monotonic() - self._asked >= self._settings.poll
        if fresh:
            known = states([task.job for task in self._open.values()], name_of(self._results))
            self._asked = time.monotonic()
            for task in self._open.values():
                task.state = known.get(task.job, State("UNKNOWN"))
        for key, task in list(self._open.items()):
            if task.state.name != "PENDING":
                yield from task.said()
            if task.ended or task.code is not None:
                self._close(key)
                yield from self._busy(task)
            elif fresh and not task.state.alive:
                task.looks += 1
                if task.looks > 1:  # its last words may have to come a long way
                    self._close(key)
                    yield self._verdict(task)

    def _close(self, key: str) -> None:
        del self._open[key]
        self._ledger.forget(key)

    def _busy(self, task: _Task) -> Iterator[Event]:
        """A job that said how it ended needs no word; one that found another process at work comes back."""
        spec = task.spec
        if task.ended:
            return
        if task.code != BUSY:
            yield failed(spec, f"crashed with exit code {task.code}")
            return
        yield from self._line.busy(spec)

    def _verdict(self, task: _Task) -> Event:
        """The end of a job that could not say it itself."""
        spec, state = task.spec, task.state
        match state.name:
            case "CANCELLED" | "PREEMPTED":
                return Stopped(job=spec.key, label=spec.job.label)
            case "UNKNOWN" if (end := outcome(spec)) is not None:
                return end
            case "FAILED":
                log = Store(spec.results).path("logs", spec.key, ".log")
                return failed(spec, why(-state.signal if state.signal else state.code, log))
            case "TIMEOUT":
                return failed(spec, f"over Slurm's time limit in {self._settings.turns} turns")
            case "OUT_OF_MEMORY":
                return failed(spec, "out of memory: over Slurm's limit for the job")
        return failed(spec, f"gone; Slurm says of its job {task.job}: {state.name}")

    def _stop(self) -> Iterator[Event]:
        """End what runs or waits, and say so of each job that did not end by itself in the meantime."""
        if self._settings.leave:
            return
        stopped = list(self._open.values())
        self._cancel()
        for task in stopped:
            yield from task.said()
            if not task.ended and task.read:
                yield Stopped(job=task.spec.key, label=task.spec.job.label)

    def _cancel(self) -> None:
        """Take all jobs out of the queue, and wait until none is left."""
        jobs = [task.job for task in self._open.values()]
        if not jobs:
            return
        command("scancel", *jobs)
        until = time.monotonic() + GONE_S
        while busy(jobs) and time.monotonic() < until:
            time.sleep(POLL_S)
        for key in self._open:
            self._ledger.forget(key)
