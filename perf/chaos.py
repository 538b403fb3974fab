"""Faults, as a suite: a small study is run while its processes are killed at random moments (Linux only).

Whoever runs it is killed, its job, or the server that jobs are forked from, with SIGKILL, SIGTERM, SIGHUP or SIGINT.
After each round the study is run once more, undisturbed. Its samples and scores must then be those of a run that
nobody disturbed, and no process may be left 10 seconds after the run that started it is gone::

    python -m perf.chaos --kills 100          # make chaos
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import yaml

from bench.paths import ROOT
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store

AXES = {
    "net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"], "schedule": ["cosine"], "T": [50],
    "sampler": ["ddim"], "sample_steps": [2],
}  # fmt: skip
STUDY = {"train": {"epochs": 4, "images": 640, "batch_size": 32}, "axes": AXES, "score": {"n": 20}}
GONE_S = 10.0
"""Seconds after which nothing may be left of a run that is gone."""
TARGETS = ("parent", "job", "server")
SIGNALS = {
    "parent": (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT),
    "job": (signal.SIGKILL, signal.SIGTERM),
    "server": (signal.SIGKILL,),
}


class Process(NamedTuple):
    """A process of a run: the run itself, its job, or the server that jobs are forked from."""

    pid: int
    role: str


class Report(NamedTuple):
    """What was killed how often, rounds that went wrong, and the longest that a process outlived its run."""

    kills: Counter[str]
    rounds: int
    wrong: list[str]
    longest_s: float


def descendants(pid: int) -> Iterator[Process]:
    """The processes that a run has started, as far as they are jobs or their server."""
    for child in _children(pid):
        with suppress(OSError):
            if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield Process(child, "server")
                yield from (Process(job, "job") for job in _children(child))


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    """Whether a process is there and is not only waiting to be asked how it ended."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    return False


def begin(study: Path, results: Path) -> subprocess.Popen[bytes]:
    """A run of the study, as a user starts it."""
    command = [sys.executable, "-m", "bench.cli", "run", str(study), "--results", str(results)]
    options = ["--device", "cpu", "--threads", "1", "--engine", "eager"]
    output = (results.parent / "output").open("ab")
    with output:
        return subprocess.Popen([*command, *options], cwd=ROOT, stdout=output, stderr=output, start_new_session=True)


def leftover_s(seen: set[int]) -> float:
    """Seconds until all of these processes are gone, :data:`GONE_S` at most."""
    since = time.monotonic()
    while any(map(alive, seen)) and time.monotonic() - since < GONE_S:
        time.sleep(0.05)
    return time.monotonic() - since


def made(results: Path) -> dict[str, object]:
    """Samples, metrics and state of each cell."""
    store, found = Store(results), {}
    for key, record in store.records(CellRecord):
        samples = store.load_samples(key)
        scores = record.metrics if isinstance(record, ScoredCell) else record.status
        found[key] = (None if samples is None else samples[0].tobytes(), scores)
    return found


def disturbed(study: Path, results: Path, kills: int, rng: random.Random, counts: Counter[str]) -> float:
    """Run a study until it is done or has lost so many processes; how long one of them outlived its run."""
    longest = 0.0
    run = begin(study, results)
    seen: set[int] = set()
    while kills:
        time.sleep(rng.expovariate(1 / 1.2))
        if run.poll() is not None:
            break
        found = [Process(run.pid, "parent"), *descendants(run.pid)]
        seen |= {process.pid for process in found}
        role = rng.choices(TARGETS, (1, 3, 2))[0]
        victims = [process for process in found if process.role == role]
        if not victims:
            continue
        number = rng.choice(SIGNALS[role])
        with suppress(ProcessLookupError):
            os.kill(rng.choice(victims).pid, number)
        counts[f"{role} {number.name}"] += 1
        kills -= 1
        if role == "parent":
            run.wait()
            longest = max(longest, leftover_s(seen))
            run, seen = begin(study, results), set()
    run.wait()
    return max(longest, leftover_s(seen))


def chaos(kills: int, seed: int, base: Path) -> Report:
    """Rounds until so many processes were killed. ``base`` is an empty folder to work in."""
    rng, counts = random.Random(seed), Counter[str]()
    study = base / "tiny.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    quiet = base / "quiet"
    begin(study, quiet).wait()
    expected, rounds, wrong, longest = made(quiet), 0, list[str](), 0.0
    while counts.total() < kills:
        results = base / f"round-{rounds}"
        shutil.copytree(quiet / "scoring", results / "scoring", copy_function=os.link)
        longest = max(longest, disturbed(study, results, min(12, kills - counts.total()), rng, counts))
        code = begin(study, results).wait()
        if code or made(results) != expected:
            what = "as" if made(results) == expected else "not as"
            wrong.append(f"round {rounds}: exit code {code}, cells {what} expected")
        shutil.rmtree(results)
        rounds += 1
        print(f"round {rounds}: {counts.total()} of {kills} kills, {len(wrong)} wrong", flush=True)
    if b"Traceback" in (base / "output").read_bytes():
        wrong.append(f"a traceback in {base / 'output'}")
    return Report(counts, rounds, wrong, longest)


def main() -> int:
    """Run it and print a table; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description="Kill a run's processes at random and see that nothing is lost.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    report = chaos(options.kills, options.seed, base)
    print("\n| process and signal | times |\n|---|---|")
    print("\n".join(f"| {name} | {count} |" for name, count in sorted(report.kills.items())))
    print(f"\n{report.kills.total()} kills in {report.rounds} rounds, {len(report.wrong)} wrong; ", end="")
    print(f"the last process of a run was gone {report.longest_s:.1f} s after it at most")
    print("\n".join(report.wrong))
    if not report.wrong:
        shutil.rmtree(base)
    return bool(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
