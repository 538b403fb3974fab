"""Running jobs on a Ray cluster: one task a job. Results come back through Ray, so that no folder need be shared.

A node that sees the results folder works in it. One that does not works in a folder of its own: what the job needs is
sent along, and what it makes is sent back before the event that tells of it. A node that is lost costs a job what it
did since its last whole epoch, either way.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from filelock import FileLock, Timeout
from pydantic import Field

from bench.errors import UserError
from bench.execute import settings
from bench.execute.line import Line, failed
from bench.execute.ray_node import on_node
from bench.execute.schedule import POLL_S, Options, Stop
from bench.files import write_text
from bench.job.checkpoints import snapshots
from bench.job.events import (
    BUSY,
    Event,
    JobEnd,
    Stopped,
    from_json,
)
from bench.job.spec import JobSpec
from bench.machine.sources import code_hash
from bench.paths import CHECKOUT
from bench.store.store import Store

SHARED = ("scoring", "references", "engines", "classifiers")
"""Folders that jobs have in common; what else one needs has its own key or its teacher's."""
END_S = 15.0
"""How long to wait for tasks that were asked to end before they are killed."""
ANSWER_S = 10.0
"""How long a cluster may take to answer. Ray itself would try for a quarter of an hour."""

Files = dict[str, bytes]


class Settings(settings.Settings):
    """What Ray is told.

    :param address: of the cluster: ``auto``, ``HOST:PORT``; by default one of this machine alone is started.
    :param gpus: for each job; one where the device is cuda.
    :param retries: how often a job begins again whose node or Ray process was lost.
    :param resources: other resources that a job needs, by name.
    :param shared: whether nodes may work in the results folder where they see it.
    """

    address: str | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 3
    resources: dict[str, float] = Field(default_factory=dict)
    shared: bool = True


def needed(spec: JobSpec, store: Store) -> Files:
    """The files of a job, its cells and its teacher: what it goes on from."""
    jobs = [spec.job] + ([spec.job.teacher] if spec.job.teacher else [])
    keys = {key for job in jobs for key in (job.key, *snapshots(job))} | {cell.key for cell in spec.cells}
    paths = (path for kind in ("jobs", "cells", "checkpoints", "snapshots", "resume", "samples") for path in
             (store.root / kind).glob("*") if path.name.partition(".")[0] in keys)  # fmt: skip
    return _content(paths, store.root)


def _content(paths: Iterable[Path], root: Path) -> Files:
    found: Files = {}
    for path in paths:
        with suppress(FileNotFoundError, IsADirectoryError):
            if not path.name.startswith("."):
                found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


@dataclass
class _Task:
    """A job in Ray's hands. ``lock`` is held here where no node can hold it: its folder is not shared."""

    spec: JobSpec
    items: Any
    tries: int
    started: bool = False
    ended: bool = False
    again: bool = False
    code: int | None = None
    lock: FileLock | None = field(default=None)

    def release(self) -> None:
        """Let go of the job's lock."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None


def must_answer(address: str) -> None:
    """Knock at ``HOST:PORT``. Another kind of address is left to Ray.

    :raises UserError: if nobody answers there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"nothing answers at {address} ({why}): --address is the HOST:PORT that `ray start --head` printed"
        ) from error


class Ray:
    """No more jobs at once than there are workers, nor than the cluster has processors for and one in waiting."""

    def __init__(self, options: Options, results: Path) -> None:
        self._settings = settings.parse(Settings, options.settings, "ray")
        settings.need("ray", "ray")
        self._options, self._store = options, Store(results.resolve())
        self._open: list[_Task] = []
        self._again: deque[tuple[JobSpec, int]] = deque()
        self._line = Line()
        self._send = self._ending = False
        self._common: list[Any] = []
        self._token = self._store.root / "locks" / f"ray-{os.urandom(8).hex()}.token"

    def run(self, specs: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`."""
        if stop.is_set():
            return
        started = self._connect()
        write_text(self._token, "")
        given = (spec.model_copy(update={"results": self._store.root}) for spec in specs)
        try:
            while not stop.is_set():
                yield from self._fill(given)
                if not (self._open or self._line or self._again):
                    return
                yield from self._listen()
            yield from self._stop()
        finally:
            self._end()
            self._token.unlink(missing_ok=True)
            if started:
                import ray

                ray.shutdown()

    def _connect(self) -> bool:
        """Connect to the cluster; whether that was not done before."""
        import ray

        if ray.is_initialized():
            return False
        must_answer(self._settings.address or "")
        own = {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": str(CHECKOUT)} if CHECKOUT is not None else {})
        try:
            ray.init(
                address=self._settings.address or "local",
                log_to_driver=False,
                logging_level="error",
                runtime_env={"env_vars": own},
                **({} if self._settings.address else {"include_dashboard": False}),
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise UserError(f"cannot reach Ray at {self._settings.address or 'this machine'}: {why}") from error
        return True

    def _room(self) -> int:
        import ray

        cpus = ray.cluster_resources().get("CPU", 0.0)
        return min(self._options.workers, int(cpus // self._options.threads_each) + 1) - len(self._open)

    def _fill(self, specs: Iterator[JobSpec]) -> Iterator[Event]:
        """Hand over jobs as long as there is room."""
        room = self._room()
        while room > 0 and self._again:
            self._start(*self._again.popleft())
            room -= 1
        ready = self._line.ready(specs, self._here)
        while room > 0 and (one := next(ready, None)) is not None:
            if isinstance(one, JobSpec):
                self._start(one, 0)
                room -= 1
            else:
                yield one

    def _here(self) -> set[str]:
        """The jobs that are in Ray's hands, or go there again."""
        return {task.spec.key for task in self._open} | {spec.key for spec, _ in self._again}

    def _start(self, spec: JobSpec, tries: int) -> None:
        import ray

        wish = self._settings
        gpus = float(self._options.device.startswith("cuda")) if wish.gpus is None else wish.gpus
        common, own = [], []
        if self._send:
            if not self._common:
                paths = (path for kind in SHARED for path in (self._store.root / kind).rglob("*"))
                self._common = [ray.put(_content(paths, self._store.root))]
            common, own = self._common, [ray.put(needed(spec, self._store))]
        task = ray.remote(on_node).options(
            num_cpus=spec.threads, num_gpus=gpus, resources=wish.resources, num_returns="streaming", max_retries=0
        )
        token = str(self._token) if wish.shared else ""
        items = task.remote(spec.model_dump_json(), token, code_hash(), common, own)
        self._open.append(_Task(spec, items, tries))

    def _listen(self) -> Iterator[Event]:
        """What the tasks have sent, and what follows from their ends."""
        import ray

        if not self._open:
            time.sleep(POLL_S)
            return
        ready, _ = ray.wait([task.items for task in self._open], timeout=POLL_S)
        for task in [task for task in self._open if any(task.items is one for one in ready)]:
            yield from self._read(task)

    def _read(self, task: _Task) -> Iterator[Event]:
        """The next thing that a task has sent, or its end."""
        import ray

        try:
            kind, content = ray.get(next(task.items))
        except StopIteration:
            self._open.remove(task)
            task.release()
            yield from self._ended(task)
        except (ray.exceptions.RayError, OSError) as error:
            self._open.remove(task)
            task.release()
            yield from self._lost(task, error)
        else:
            yield from self._take(task, kind, content)

    def _take(self, task: _Task, kind: str, content: Any) -> Iterator[Event]:
        spec = task.spec
        if kind == "event":
            event = from_json(content)
            if not task.ended:
                task.started, task.ended = True, isinstance(event, JobEnd)
                yield event
        elif kind == "file":
            name, data = content
            self._store.write_bytes(inside(self._store.root, name), data)
        elif kind == "gone":
            inside(self._store.root, content).unlink(missing_ok=True)
        elif kind == "code":
            task.code = content
        elif content is None:  # it sees no results folder: once more, with all that it needs
            self._send, task.again = True, True
        else:
            task.lock = FileLock(self._store.path("locks", spec.key, ".lock"), thread_local=False)
            try:
                task.lock.acquire(timeout=0)
            except Timeout:
                task.lock, task.code = None, BUSY
                self._cancel([task])

    def _ended(self, task: _Task) -> Iterator[Event]:
        """The end of a task that came to its end."""
        spec = task.spec
        if task.ended or (self._ending and task.code is None):  # Ray may end a task so when it is asked to cancel it
            return
        if task.again:
            self._again.appendleft((spec, task.tries))
        elif task.code == BUSY:
            yield from self._line.busy(spec)
        else:
            yield failed(spec, f"ended with exit code {task.code}")

    def _lost(self, task: _Task, error: Exception) -> Iterator[Event]:
        """The end of a task whose node or process is gone, or that Ray could not run."""
        import ray

        gone = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError)
        if task.code == BUSY:
            yield from self._ended(task)
        elif task.ended or self._ending:
            return
        elif isinstance(error, gone) and task.tries < self._settings.retries:
            self._again.append((task.spec, task.tries + 1))
        else:
            lines = str(error).strip().splitlines()
            yield failed(task.spec, f"lost by Ray: {type(error).__name__}: {lines[0] if lines else 'no reason given'}")

    def _stop(self) -> Iterator[Event]:
        """End what runs, and say so of each job that did not end by itself in the meantime."""
        stopped = [task for task in self._open if not task.ended]
        yield from self._end()
        for task in stopped:
            if task.started and not task.ended:
                yield Stopped(job=task.spec.key, label=task.spec.job.label)

    def _end(self) -> list[Event]:
        """Have all tasks end, and wait for them; what they still say."""
        import ray

        self._ending, last = True, list[Event]()
        self._cancel(self._open)
        until = time.monotonic() + END_S
        while self._open and time.monotonic() < until:
            last += self._listen()
        for task in self._open:
            ray.cancel(task.items, force=True)
            task.release()
        self._open.clear()
        return last

    @staticmethod
    def _cancel(tasks: Iterable[_Task]) -> None:
        import ray

        for task in tasks:
            ray.cancel(task.items, force=False)


def inside(root: Path, name: str) -> Path:
    """Where a file that a node sent goes.

    :raises ValueError: if that is not in the results folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ValueError(f"a node sent a file with the name {name!r}")
    return root.joinpath(*parts)
