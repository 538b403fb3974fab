"""What reading costs at scale: a study of synthetic cells in exactly the form real ones have, and each command timed.

``python -m perf.scale`` writes the cells to a scratch folder, runs every command that reads results on them in a
process of its own, and keeps wall-clock seconds and peak memory of each in ``results/perf/scale.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from bench.execute import processes
from bench.machine.memory import peak_rss_mb
from bench.paths import REFERENCE, ROOT
from bench.store.records import CellRecord, JobRecord, Record, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.load import load
from bench.study.model import Cell, Job
from bench.study.study import Study
from perf.record import save

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
    "report": ("report", "{study}", "--out", "{out}"),
    "report, unchanged": ("report", "{study}", "--out", "{out}"),
}


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


def measure(argv: list[str]) -> dict[str, Any]:
    """Run the command in a process of its own: seconds, peak MB, exit code, and what it printed (size and hash)."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile("w+") as kept:
        command = [sys.executable, "-ISc", LAUNCHER, str(kept.fileno()), sys.executable, "-m", "bench.cli", *argv]
        subprocess.run(command, stdout=printed, pass_fds=[kept.fileno()], cwd=ROOT, check=True)
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


def rows(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each command."""
    return [
        {
            "command": name,
            "seconds": statistics.median(run["seconds"] for run in of),
            "peak memory, MB": max(run["peak_rss_mb"] for run in of),
            "exit code": max(run["exit_code"] for run in of),
        }
        for name, of in runs.items()
    ]


def main() -> None:
    """Parse, fill, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=CELLS, help=f"how many, about (default {CELLS:,})")
    parser.add_argument("--repeats", type=int, default=1, help="of each command (default 1)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only commands whose name starts so; keeps nothing")
    parser.add_argument("--folder", type=Path, help="make the cells here and leave them; use those already there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        store, path = Store(folder / "results"), folder / "scale.yaml"
        if not path.is_file():
            began = time.perf_counter()
            fill(load(str(make_study(args.cells, folder))), store)
            print(f"made in {time.perf_counter() - began:.0f} s")
        study = load(str(path))
        places = {"study": str(path), "out": str(folder / "reports")}
        runs: dict[str, list[dict[str, Any]]] = {}
        print(f"{len(study.jobs):,} jobs, {len(study.cells):,} cells")
        for name, words in COMMANDS.items():
            if name.startswith(args.only):
                argv = [word.format(**places) for word in words] + ["--results", str(store.root)]
                runs[name] = [measure(argv) for _ in range(args.repeats)]
                print(f"{name:18}", "; ".join(f"{r['seconds']:6.1f} s {r['peak_rss_mb']:6.0f} MB" for r in runs[name]))
        if not args.only:
            content = {"jobs": len(study.jobs), "cells": len(study.cells), "commands": runs, "rows": rows(runs)}
            print(f"kept in {save('scale', content)}")


if __name__ == "__main__":
    processes.start_again()
    main()
