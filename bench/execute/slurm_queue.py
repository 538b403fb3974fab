"""What Slurm knows of jobs, by its own commands. It needs no accounting database. Importing this is cheap."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bench.files import write_text

ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "STOPPED", "SIGNALING", "RESIZING"}
"""States of a job that may still do something."""
TIMEOUT_S = 60


class State(NamedTuple):
    """A job's state by Slurm's name, its exit code, the signal that ended it (0: none), and why it waits."""

    name: str
    code: int = 0
    signal: int = 0
    why: str = ""

    @property
    def alive(self) -> bool:
        """Whether it may still do something."""
        return self.name in ALIVE


def command(*words: str) -> str:
    """What a command of Slurm prints; nothing where it fails, as it does for jobs that Slurm has forgotten."""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        return done.stdout
    return ""


def name_of(results: Path) -> str:
    """The name that all jobs of a results folder have in Slurm's queue."""
    return f"ddpm-bench-{hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:10]}"


def states(ids: Iterable[str], name: str) -> dict[str, State]:
    """The state of each job (``12``, or ``12_3`` of an array) that Slurm knows, if it has that name."""
    found: dict[str, State] = {}
    for one in sorted({job.partition("_")[0] for job in ids}):
        for line in command("scontrol", "show", "job", one, "--oneliner").splitlines():
            found |= _states(line, name)
    return found


def _states(line: str, name: str) -> dict[str, State]:
    """The jobs of one line: all tasks of an array that still wait share one."""
    fields = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
    if fields.get("JobName") != name:
        return {}
    code, _, signal = fields.get("ExitCode", "0:0").partition(":")
    state = State(fields.get("JobState", "UNKNOWN"), int(code), int(signal or 0), fields.get("Reason", ""))
    array = fields.get("ArrayJobId")
    if array is None:
        return {fields["JobId"]: state}
    return {f"{array}_{task}": state for task in _tasks(fields.get("ArrayTaskId", ""))}


def _tasks(text: str) -> list[int]:
    """``0-2,5%4`` → 0, 1, 2, 5."""
    tasks: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            tasks += range(int(first), int(last or first) + 1)
    return tasks


def busy(ids: Iterable[str]) -> bool:
    """Whether any of the jobs is in the queue, those that are being ended too."""
    groups = ",".join(sorted({job.partition("_")[0] for job in ids}))
    if not groups:
        return False
    listed = command("squeue", "--noheader", "--array", "--format=%i", f"--jobs={groups}").split()
    return bool(set(ids) & set(listed))


class Ledger:
    """Which Slurm job is at which of our jobs, in the results folder, so that another command can go on with it."""

    def __init__(self, results: Path) -> None:
        self._folder = results / "logs" / "slurm"

    def events(self, key: str) -> Path:
        """Where a job's events go, a line each."""
        return self._folder / f"{key}.jsonl"

    def keep(self, key: str, job: str) -> None:
        """Remember a job that has been submitted."""
        write_text(self._folder / f"{key}.json", json.dumps({"job": job}))

    def forget(self, key: str) -> None:
        """A job that has ended."""
        (self._folder / f"{key}.json").unlink(missing_ok=True)

    def job(self, key: str) -> str | None:
        """The Slurm job, if there is one."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            job = str(json.loads((self._folder / f"{key}.json").read_text())["job"])
            return job if re.fullmatch(r"\d+(_\d+)?", job) else None
        return None

    def all(self) -> dict[str, str]:
        """Our job's key → Slurm's."""
        keys = sorted(path.stem for path in self._folder.glob("*.json"))
        return {key: job for key in keys if (job := self.job(key)) is not None}


def describe(results: Path) -> str | None:
    """What Slurm has of the jobs of a results folder, in a line; None if there are none."""
    kept = Ledger(results).all()
    if not kept or shutil.which("scontrol") is None:
        return None
    known = states(kept.values(), name_of(results))
    found = [(job, known[job]) for job in kept.values() if job in known and known[job].alive]
    if not found:
        return None
    counts = Counter(state.name.lower() for _, state in found)
    reasons = Counter(state.why for _, state in found if state.name == "PENDING" and state.why not in ("", "None"))
    groups = ", ".join(sorted({job.partition("_")[0] for job, _ in found}))
    text = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    why = f"; waiting for: {', '.join(reasons)}" if reasons else ""
    return f"slurm: {text} (job {groups}{why})"
