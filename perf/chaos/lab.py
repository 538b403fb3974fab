"""Where faults are tried: runs of a small study, what they say, and what must be true when all is over."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.paths import ROOT
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store
from bench.study.load import load
from perf.clusters import processes

AXES = {
    "net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"], "schedule": ["cosine"], "T": [50],
    "seed": [0, 1], "sampler": ["ddim"], "sample_steps": [2],
}  # fmt: skip
STUDY = {"train": {"epochs": 4, "images": 320, "batch_size": 32}, "axes": AXES, "score": {"n": 20}}
"""Four jobs of a few seconds."""
ONE = STUDY | {"axes": AXES | {"objective": ["eps"], "seed": [0]}}
"""The first of them."""
GONE_S = 10.0
"""Seconds after which nothing may be left of a run that is gone."""
MOST_S = 600.0
"""Seconds after which an undisturbed run counts as stuck."""
MARK = "DDPM_BENCH_CHAOS"
"""The environment variable that every process of a run has."""
PROGRESS = ("kept", "resumed", "stepped", "epoch", "drawn", "cell", "done")
"""Events that show that work goes on."""


def children(pid: int) -> list[int]:
    """The processes that any thread of a process has started."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += (int(text) for text in path.read_text().split())
    return found


def words(pid: int) -> str:
    """Its command line."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def alive(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be asked how it ended."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False


def marked(text: str) -> set[int]:
    """The processes with that in their environment."""
    return {pid for pid, _, environment in processes() if text in environment and alive(pid)}


def servers(pid: int) -> Iterator[int]:
    """The servers of processes that a process has started."""
    yield from (child for child in children(pid) if "forkserver" in words(child))


def jobs(pid: int) -> Iterator[int]:
    """The jobs that a process has started by way of a server."""
    for server in servers(pid):
        yield from children(server)


@dataclass
class Found:
    """What a scenario has shown.

    ``faults``: what was done how often. ``recovery_s``: seconds from a fault, or from the command that follows it,
    until work went on. ``gone_s``: the longest that a process outlived its run.
    """

    faults: Counter[str] = field(default_factory=Counter)
    recovery_s: list[float] = field(default_factory=list)
    gone_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""


class Run:
    """A run of the study, as a user starts it, in a session of its own.

    :param terminal: whether it has a terminal, which is then ``self.keyboard``.
    """

    def __init__(
        self, command: Sequence[str], log: Path, output: Path, environment: Mapping[str, str], *, terminal: bool
    ) -> None:
        self.mark = f"{MARK}={os.urandom(8).hex()}"
        self.log, self.began, self.keyboard = log, time.monotonic(), -1
        self._heard: list[tuple[float, dict[str, Any]]] = []
        self._read = 0
        name, _, value = self.mark.partition("=")
        about: dict[str, Any] = {"cwd": ROOT, "env": os.environ | dict(environment) | {name: value}}
        with output.open("ab") as file:
            if not terminal:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, **about
                )
                return
        self.keyboard, screen = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=screen, stdout=screen, stderr=screen, **about
        )
        os.close(screen)
        threading.Thread(target=self._show, args=(os.dup(self.keyboard), output), daemon=True).start()

    @staticmethod
    def _show(keyboard: int, output: Path) -> None:
        """Keep what the terminal shows, so that the run need not wait for a reader."""
        with suppress(OSError), output.open("ab") as file:
            while content := os.read(keyboard, 1 << 16):
                file.write(content)

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.process.pid

    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """(when it was heard, event) of all that it has said so far."""
        with suppress(FileNotFoundError), self.log.open("rb") as file:
            file.seek(self._read)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._read += len(whole)
            self._heard += ((time.monotonic(), json.loads(line)) for line in whole.splitlines())
        return self._heard

    def heard(self, kinds: Iterable[str], after: float = 0.0) -> float | None:
        """When it first said one of those after a moment; waits for that, or for the end of the run."""
        until = time.monotonic() + MOST_S
        while time.monotonic() < until:
            over = self.over()
            for at, event in self.events():
                if event["event"] in kinds and at > after:
                    return at
            if over:
                break
            time.sleep(0.05)
        return None

    def wait(self, seconds: float = MOST_S) -> int | None:
        """Its exit code; None if it does not end in time, and is killed."""
        until = time.monotonic() + seconds
        while not self.over() and time.monotonic() < until:
            self.events()
            time.sleep(0.05)
        if self.over():
            self.events()
            return self.process.returncode
        self.process.kill()
        self.process.wait()
        return None

    def leftover_s(self) -> float:
        """Seconds until all of its processes are gone, a bit more than :data:`GONE_S` at most."""
        since = time.monotonic()
        while marked(self.mark) and time.monotonic() - since <= GONE_S:
            time.sleep(0.1)
        return time.monotonic() - since


class Lab:
    """A scenario's folders and runs.

    :param quiet: the results of an undisturbed run, which all scenarios share.
    :param options: what each run is told of its executor.
    :param content: the study, :data:`STUDY` or a part of it.
    """

    def __init__(
        self, base: Path, quiet: Path | None, options: Sequence[str] = (), content: dict[str, Any] | None = None
    ) -> None:
        self.base, self.options = base, [*options]
        base.mkdir(parents=True)
        self.output = base / "output"
        self.study = base / "tiny.yaml"
        self.study.write_text(yaml.safe_dump(content or STUDY))
        self.quiet = quiet
        keys = {cell.key for cell in load(str(self.study)).cells}
        self.expected = {key: one for key, one in made(quiet).items() if key in keys} if quiet else {}
        self._folders = self._logs = 0

    def folder(self, inside: Path | None = None) -> Path:
        """A results folder, with what scoring needs once."""
        self._folders += 1
        results = (inside or self.base) / f"results-{self._folders}"
        if self.quiet:
            shutil.copytree(self.quiet / "scoring", results / "scoring")
        return results

    def begin(
        self,
        results: Path,
        *,
        through: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> Run:
        """Start a run. ``through``: the words of a program that starts it."""
        self._logs += 1
        log = self.base / f"{results.name}.{self._logs}.jsonl"
        command = [sys.executable, "-m", "bench.cli", "run", str(self.study), "--results", str(results)]
        command += ["--device", "cpu", "--threads", "1", "--engine", "eager", "--log", f"jsonl:{log}", *self.options]
        return Run([*through, *command], log, self.output, environment or {}, terminal=terminal)

    def finish(self, results: Path, found: Found, runs: Sequence[Run], *, timed: bool = True) -> None:
        """Run once more, undisturbed, and compare; ``runs`` are those before it."""
        last = self.begin(results)
        code = last.wait()
        at = last.heard(PROGRESS)
        if timed and at is not None:
            found.recovery_s.append(at - last.began)
        found.gone_s = max(found.gone_s, last.leftover_s())
        if code != 0:
            found.wrong.append(f"{results.name}: the last run ended with exit code {code}")
        if made(results) != self.expected:
            found.wrong.append(f"{results.name}: not the cells of an undisturbed run")
        found.wrong += (f"{results.name}: {what}" for what in twice([*runs, last], followed="slurm" in self.options))
        if b"Traceback" in self.output.read_bytes():
            found.wrong.append(f"{results.name}: a traceback in the output of a run")
            self.output.rename(self.base / f"traceback-{results.name}")
            self.output.touch()


def made(results: Path) -> dict[str, object]:
    """Samples, metrics and state of each cell."""
    store, found = Store(results), {}
    for key, record in store.records(CellRecord):
        samples = store.load_samples(key)
        scores = record.metrics if isinstance(record, ScoredCell) else record.status
        found[key] = (None if samples is None else samples[0].tobytes(), scores)
    return found


def twice(runs: Iterable[Run], *, followed: bool) -> Iterator[str]:
    """Epochs that were trained again though they could be gone on from, and cells that were scored again.

    :param followed: whether a run may say again what another has said. Epochs are then told apart by their seconds.
    """
    said = [json.dumps({k: v for k, v in event.items() if k != "at"}) for run in runs for _, event in run.events()]
    done = Counter[str]()
    for event in map(json.loads, {*said} if followed else said):
        if event["event"] == "epoch" and event["epoch"] < event["of"]:
            done[f"epoch {event['epoch']} of {event['label']}"] += 1
        if event["event"] == "cell" and event["status"] == "done":
            done[f"cell {event['cell']}"] += 1
    yield from (f"{what} was done {number} times" for what, number in done.items() if number > 1)
