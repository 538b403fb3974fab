"""What a node of a Ray cluster does: a job in a process of its own, its events and files sent to the command."""

from __future__ import annotations

import os
import platform
import queue
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.execute.line import failed
from bench.execute.schedule import POLL_S
from bench.execute.worker import Said, Worker
from bench.files import write_bytes
from bench.job.events import BUSY, JobEnd, Refused, Started, Stepped, to_json
from bench.job.spec import JobSpec
from bench.machine.sources import code_hash

OWN = ("locks",)
"""Folders that never travel."""

Item = tuple[str, Any]
"""What a task sends: ``("event", JSON)``, ``("file", (path, content))``, ``("gone", path)``, ``("code", exit code)``,
``("apart", None)`` where it does not see the results folder and was not sent what it needs."""


def on_node(spec: str, token: str, code: str, common: list[Any], own: list[Any]) -> Iterator[Item]:
    """What a task does: the job in a process of its own, whose events and files it passes on.

    :param token: a file in the results folder, which is there only if the folder is shared.
    :param code: the hash of the code that asks for this; another version would give other results.
    :param common: a reference to what all jobs need, if it was sent; ``own`` likewise to what this job needs.
    """
    wish = JobSpec.model_validate_json(spec)
    about: dict[str, Any] = {"job": wish.key, "label": wish.job.label}
    if code_hash() != code:
        where = f"{platform.node()} has another version of the code ({code_hash()}, not {code}): install the same"
        yield "event", to_json(Refused(**about, reason=where))
        return
    shared = Path(token).is_file()
    if not shared and not own:
        yield "apart", None
        return
    wish = wish.model_copy(update={"exclusive": _has_device_alone(wish)})
    if shared:
        yield from _job(wish, None)
        return
    with tempfile.TemporaryDirectory(prefix="ddpm-bench-", ignore_cleanup_errors=True) as folder:
        import ray

        there = Path(folder) / "results"
        for one in (*common, *own):
            for name, content in ray.get(one).items():
                write_bytes(there / name, content, durable=False)
        yield "apart", "at work"
        yield from _job(wish.model_copy(update={"results": there}), Changes(there))


def _has_device_alone(spec: JobSpec) -> bool:
    """Whether Ray gave the job its device alone: a whole GPU, or every processor of its node."""
    import ray

    given = ray.get_runtime_context().get_assigned_resources()
    if spec.device == "cuda":
        return float(given.get("GPU", 0)) >= 1
    return float(given.get("CPU", 0)) >= (os.cpu_count() or 1)


def _job(spec: JobSpec, changes: Changes | None) -> Iterator[Item]:
    """The job's process, from its start to its end. Closing this ends it."""
    said: queue.Queue[Said] = queue.Queue()
    about: dict[str, Any] = {"job": spec.key, "label": spec.job.label}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if spec.device == "cuda" else ""
    worker = Worker(spec.begun(), visible, said)
    ended = False
    try:
        yield "event", to_json(Started(**about, node=platform.node(), pid=worker.pid))
        while True:
            try:
                _, event = said.get(timeout=POLL_S)
            except queue.Empty:
                continue  # where Ray may interrupt
            if changes is not None and not isinstance(event, Stepped):
                yield from changes.since()
            if event is None:
                break
            ended = ended or isinstance(event, JobEnd)
            yield "event", to_json(event)
        code = worker.wait()
        if not ended and code != BUSY:
            reason = worker.reason(code)
            yield "event", to_json(failed(spec, reason))
            if changes is not None:
                yield from changes.since()
        yield "code", code
    finally:
        worker.terminate()
        worker.end()


class Changes:
    """What is new in a folder, a look at a time, oldest first: a record comes after what it tells of."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = dict(self._look())

    def _look(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for path in self._root.rglob("*"):
            name = path.relative_to(self._root).as_posix()
            if name.partition("/")[0] in OWN or path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):
                about = path.stat()
                if path.is_file():
                    yield name, (about.st_mtime_ns, about.st_size)

    def since(self) -> Iterator[Item]:
        """What has changed since the last look."""
        now = dict(self._look())
        for name in sorted((name for name in now if now[name] != self._seen.get(name)), key=now.__getitem__):
            with suppress(FileNotFoundError):
                yield "file", (name, (self._root / name).read_bytes())
        for name in self._seen.keys() - now.keys():
            yield "gone", name
        self._seen = now
