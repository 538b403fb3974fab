"""What reading costs at scale: a study of synthetic cells in exactly the form real ones have, and each command timed.

``python -m perf.scale`` writes the cells to a scratch folder, runs every command that reads results on them in a
process of its own, and keeps wall-clock seconds and peak memory of each in ``results/perf/scale.json``. With ``--base
REV`` the code of that revision does the same in turn, from a git worktree, and ratios are kept too.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from bench.errors import UserError
from bench.execute import processes
from bench.machine import provenance
from bench.machine.memory import peak_rss_mb
from bench.paths import REFERENCE, ROOT
from bench.race import rules
from bench.store.records import CellRecord, JobRecord, Record, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.load import load
from bench.study.model import Cell, Job
from bench.study.study import Study
from bench.text import one_line
from perf.compare import worktree
from perf.record import claim, save

CELLS = 100_000
MODEL = "quick"
"""The study whose results these are like: its records are by today's judges, so that these count as done too."""
A_JOB = 50  # cells: 5 numbers of steps × (2 samplers without η + DDIM with 8)
MODELS = 20  # 5 objectives × 4 schedules
PICTURES = 60_000  # hard links that file systems allow to one file, with some room

COMMANDS = {
    "plan": ("plan", "{study}"),
    "status": ("status", "{study}"),
    "run, finished": ("run", "{study}", "--device", "cpu"),
    "table csv": ("table", "{study}", "--format", "csv"),
    "table json": ("table", "{study}", "--format", "json"),
    "table md": ("table", "{study}"),
    "query": ("query", "SELECT objective, schedule, count(*), min(fid) FROM cells GROUP BY ALL ORDER BY 4"),
    "report": ("report", "{study}", "--out", "{fresh}"),
    "report, unchanged": ("report", "{study}", "--out", "{out}"),
}
"""Name → words. ``{fresh}`` is the folder ``{out}``, emptied first."""
HALVED, HALF = ("plan", "report"), 0.5
"""Commands that are to take this share of what another revision takes, in time and in memory."""

Measured = dict[str, Any]
Runs = dict[str, list[list[Measured]]]
"""Command → the runs of each tree's code."""

LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
_, status, usage = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:]), 0)
with open(int(sys.argv[1]), "w") as kept:
    json.dump([time.perf_counter() - began, usage.ru_maxrss, status], kept)
"""
"""Starts a command from a small process: Linux counts the memory of whoever starts it as the command's own."""


def make_study(cells: int, folder: Path, T: tuple[int, ...] = (500, 1000)) -> Path:
    """A study file of about so many cells: whole jobs of 50, whole seeds of 20 jobs for each T."""
    content = {
        "description": "Synthetic cells, to time the commands that read results.",
        "train": {"epochs": 3, "batch_size": 64, "lr": 3e-3},
        "axes": {
            "objective": ["previous", "mean", "eps", "x0", "v"],
            "schedule": ["linear", "linear_unscaled", "cosine", "sigmoid"],
            "T": list(T),
            "seed": list(range(max(1, round(cells / A_JOB / MODELS / len(T))))),
            "sampler": ["ancestral", "ancestral_beta", "ddim"],
            "sample_steps": [10, 25, 50, 100, 250],
            "eta": [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0],
        },
    }
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def fill(study: Study, store: Store) -> None:
    """Write a record for each job and cell, and a picture of every kind for each cell, modelled on real ones."""
    job, cell = _models(load(MODEL))
    pictures = _pictures(store)
    for cells in study.jobs.values():
        _write(store, cells[0].job.key, _job(cells[0].job, job))
        for one in cells:
            _write(store, one.key, _cell(one, cell))
            for suffix in (".png", ".strip.png"):
                os.link(next(pictures[suffix]), store.path("cells", one.key, suffix))


def _models(study: Study) -> tuple[TrainedJob, ScoredCell]:
    """A real job's record and a real cell's."""
    store = Store(REFERENCE)
    job, cell = store.read(JobRecord, study.cells[0].job.key), store.read_cell(CellRecord, study.cells[0])
    if not isinstance(job, TrainedJob) or not isinstance(cell, ScoredCell):
        raise SystemExit(f"{REFERENCE} has no results of the study {MODEL} to model these on")
    return job, cell


def _job(job: Job, like: TrainedJob) -> TrainedJob:
    draw = random.Random(job.key)
    varied = {"seconds": 0.03, "loss": 0.1, "eps_mse": 0.1}
    epochs = tuple(
        e.model_copy(update={name: getattr(e, name) * draw.uniform(1 - by, 1 + by) for name, by in varied.items()})
        for e in like.epochs
    )
    return like.model_copy(update={"epochs": epochs, "config": job})


def _cell(cell: Cell, like: ScoredCell) -> ScoredCell:
    draw = random.Random(cell.key)
    way = cell.sampling
    fid = (3 + 200 / way.sample_steps * (1 + (way.eta or 0))) * math.exp(draw.gauss(0, 0.1))
    seconds = tuple(s * way.sample_steps / 10 * draw.uniform(0.9, 1.1) for s in like.sampling.batch_s)
    return like.model_copy(
        update={
            "metrics": like.metrics | {"fid": fid, "kid": fid / 3000},
            "sampling": like.sampling.model_copy(update={"batch_s": seconds}),
            "config": cell,
            "job": cell.job.key,
        }
    )


def _write(store: Store, key: str, record: Record) -> None:
    """As the store does, but without waiting for the disk at every file."""
    path = store.path(record.kind, key, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(store.encode(record))


def _pictures(store: Store) -> dict[str, Iterator[Path]]:
    """By suffix, real pictures to link to without end."""
    real = Store(REFERENCE)
    found: dict[str, Iterator[Path]] = {}
    key = next(cell.key for cell in load(MODEL).cells if real.path("cells", cell.key, ".strip.png").is_file())
    for suffix in (".png", ".strip.png"):
        content = real.path("cells", key, suffix).read_bytes()
        found[suffix] = _copies(content, store.root / "pictures", suffix)
    return found


def _copies(content: bytes, folder: Path, suffix: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for i in itertools.count():
        path = folder / f"{i}{suffix}"
        path.write_bytes(content)
        yield from itertools.repeat(path, PICTURES)


def measure(argv: list[str], tree: Path = ROOT) -> Measured:
    """Run the command in a process of its own, by the code in ``tree``.

    Seconds, peak MB, exit code, and what it printed (size and hash).
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile("w+") as kept:
        command = [sys.executable, "-ISc", LAUNCHER, str(kept.fileno()), sys.executable, "-m", "bench.cli", *argv]
        subprocess.run(command, stdout=printed, pass_fds=[kept.fileno()], cwd=tree, check=True)
        kept.seek(0)
        seconds, peak, status = json.load(kept)
        printed.seek(0)
        text = printed.read()
    return {
        "seconds": seconds,
        "peak_rss_mb": peak_rss_mb(lambda _: SimpleNamespace(ru_maxrss=peak)),
        "exit_code": os.waitstatus_to_exitcode(status),
        "bytes": len(text),
        "sha256": hashlib.sha256(text).hexdigest()[:12],
    }


def in_turn(
    trees: Sequence[Path], study: Path, folder: Path, repeats: int, only: str = ""
) -> Iterator[tuple[str, list[list[Measured]]]]:
    """(command, the runs of each tree's code), the trees alternating. A tree has reports of its own in ``folder``."""
    for name, words in COMMANDS.items():
        if not name.startswith(only):
            continue
        runs: list[list[Measured]] = [[] for _ in trees]
        for place, _ in rules.in_turn(len(trees), repeats):
            out = folder / f"reports-{place}"
            if "{fresh}" in words:
                shutil.rmtree(out, ignore_errors=True)
            argv = [word.format(study=study, out=out, fresh=out) for word in words]
            runs[place].append(measure([*argv, "--results", str(folder / "results")], trees[place]))
        said = (f"{run['seconds']:6.1f} s {run['peak_rss_mb']:6.0f} MB" for of in runs for run in of)
        print(f"{name:18}", "; ".join(said), flush=True)
        yield name, runs


def check_done(revision: str, tree: Path, study: Path, folder: Path) -> None:
    """Refuse a revision that does not take the cells for done: it would train them, and report nothing.

    :raises UserError: with what it says of them.
    """
    words = [sys.executable, "-m", "bench.cli", "status", str(study), "--results", str(folder / "results")]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    counted = set(re.findall(r"\d (done|failed|stale|missing)\b", done.stdout))
    if counted != {"done"}:
        said = (done.stdout or done.stderr).strip()
        raise UserError(f"revision '{revision}' does not take these cells for done: {one_line(said)[:200]}")


def rows(runs: Runs) -> list[dict[str, Any]]:
    """A row for each command: what the present code takes, and what that is of another revision's, if there is one."""
    found = []
    for name, (own, *others) in runs.items():
        row = {
            "command": name,
            "seconds": statistics.median(run["seconds"] for run in own),
            "peak memory, MB": max(run["peak_rss_mb"] for run in own),
            "exit code": max(run["exit_code"] for run in own),
        }
        found.append(row | (ratios(own, others[0]) if others else {}))
    return found


SECONDS, MEMORY = "of the other's seconds", "of the other's memory"


def ratios(own: Sequence[Measured], other: Sequence[Measured]) -> dict[str, float | None]:
    """Medians over runs in turn. A command that fails has taken nothing to compare."""
    if any(run["exit_code"] for run in (*own, *other)):
        return {SECONDS: None, MEMORY: None}
    return {
        name: statistics.median(a[what] / b[what] for a, b in zip(own, other, strict=True))
        for name, what in ((SECONDS, "seconds"), (MEMORY, "peak_rss_mb"))
    }


def claims(found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The bars for what is read most: half of what the other revision takes."""
    for row in found:
        for name in (SECONDS, MEMORY):
            if row["command"] in HALVED and (share := row[name]) is not None:
                yield claim(f"{row['command']}: share {name}", f"≤ {HALF:.0%}", f"{share:.0%}", share <= HALF)


def content(study: Study, runs: Runs, revision: str, commit: str) -> dict[str, Any]:
    """What is kept: raw runs and rows, and the other revision's beside them if there is one."""
    found = rows(runs)
    kept = {
        "jobs": len(study.jobs), "cells": len(study.cells),
        "commands": {name: own for name, (own, *_) in runs.items()}, "rows": found,
    }  # fmt: skip
    if not revision:
        return kept
    note = f"The other revision is {revision} ({commit[:12]}). Each command ran by its code and by this one in turn."
    base = {"revision": revision, "commit": commit, "commands": {name: of[1] for name, of in runs.items()}}
    return kept | {"note": note, "base": base, "claims": list(claims(found))}


def _run(args: argparse.Namespace, trees: Sequence[Path], folder: Path) -> None:
    """Fill the folder if it is empty, measure, and keep what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scale.yaml"
    if not path.is_file():
        began = time.perf_counter()
        fill(load(str(make_study(args.cells, folder))), Store(folder / "results"))
        print(f"made in {time.perf_counter() - began:.0f} s")
    study = load(str(path))
    print(f"{len(study.jobs):,} jobs, {len(study.cells):,} cells")
    for tree in trees[1:]:
        check_done(args.base, tree, path, folder)
    runs = dict(in_turn(trees, path, folder, args.repeats, args.only))
    for row in rows(runs) if args.base else ():
        print(f"{row['command']:18}", "; ".join(f"{row[name] or math.nan:.0%} {name}" for name in (SECONDS, MEMORY)))
    if not args.only:
        commit = provenance.git("-C", str(trees[-1]), "rev-parse", "HEAD") or ""
        print(f"kept in {save('scale', content(study, runs, args.base, commit))}")


def main(argv: list[str] | None = None) -> int:
    """Parse, fill, measure, print and keep; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m perf.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=CELLS, help=f"how many, about (default {CELLS:,})")
    parser.add_argument("--repeats", type=int, default=1, help="of each command (default 1)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only commands whose name starts so; keeps nothing")
    parser.add_argument("--folder", type=Path, help="make the cells here and leave them; use those already there")
    parser.add_argument("--base", metavar="REV", default="", help="a git revision to run in turn with the present code")
    args = parser.parse_args(argv)
    try:
        if args.repeats < 1:
            raise UserError(f"--repeats must be at least 1, not {args.repeats}")
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            trees = [ROOT]
            if args.base:
                trees.append(stack.enter_context(worktree(args.base, Path(scratch) / "base")))
            folder = (args.folder or Path(scratch) / "scale").resolve()  # commands run elsewhere
            _run(args, trees, folder)
    except UserError as error:
        print(f"perf.scale: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
