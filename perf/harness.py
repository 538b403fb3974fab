"""What the harness itself costs: ``python -m perf.harness``.

From a study's results: each job's overhead (wall-clock that was not training, validation, sampling or scoring, from the
moment its process was asked for), its start, how long compiled networks took to warm up, and each estimate against the
truth.
Then, timed here: ``ddpm-bench --help``, and the rerun of a finished study of 1,000 synthetic cells beside a process
that only starts and imports the same.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from bench.analysis.estimates import past
from bench.errors import UserError
from bench.execute import processes
from bench.paths import REFERENCE, ROOT
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.study.load import load
from perf.record import claim, in_words, save
from perf.scale import fill, make_study

CELLS = 1000
IMPORTS = (
    "import bench.cli, bench.sinks.console, bench.execute.run, bench.report, bench.score.scorer, "
    "bench.analysis.table, rich.live, torch"
)
"""What a rerun cannot do without."""


START = ("start", "load", "reference")
"""Stages before a job's own work: its process with what it imports, the data, and what scores compare with."""


def jobs(store: Store, keys: Iterable[str]) -> list[dict[str, Any]]:
    """A row for each of those training runs that was done in one go and had its device alone.

    The first of all has no start: it also makes what the others find.
    """
    found = []
    records = [record for key in keys if isinstance(record := store.read(JobRecord, key), TrainedJob)]
    first = min(records, key=lambda record: record.created, default=None)
    for record in records:
        if len(record.harness) != 1 or not record.exclusive:
            continue
        (run,), config = record.harness, record.config
        estimates = past([record])
        found.append(
            {
                "job": f"{config.net} {config.objective} {config.schedule} seed {config.seed}",
                "wall, s": run.wall_s,
                "overhead": run.overhead,
                "start, s": None if record is first else sum(run.stages_s.get(stage, 0.0) for stage in START),
                "warming up, s": run.stages_s.get("compile", 0.0),
                "estimate, s": run.estimate_s,
                "error": estimates[0].error if estimates else None,
            }
        )
    return found


def timed(words: list[str]) -> float:
    """Seconds of a process, which must succeed."""
    since = time.perf_counter()
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - since


def in_turn(commands: dict[str, list[str]], repeats: int) -> dict[str, list[float]]:
    """Raw seconds of each command, a round that is not counted beforehand."""
    raw: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, words in commands.items():
            seconds = timed(words)
            if turn:
                raw[name].append(seconds)
    return raw


def claims(found: list[dict[str, Any]], raw: dict[str, list[float]]) -> list[dict[str, Any]]:
    """The bars, and whether they are met."""
    made = []
    if found:
        most = statistics.median(row["overhead"] for row in found)
        made.append(claim("harness overhead, share of a job (median)", "≤ 1%", f"{most:.1%}", most <= 0.01))
    starts = [row["start, s"] for row in found if row["start, s"] is not None]
    if starts:
        start = statistics.median(starts)
        made.append(claim("a job's start, after the first (median)", "≤ 1 s", f"{start:.2f} s", start <= 1))
    errors = [row["error"] for row in found if row["error"] is not None]
    if errors:
        error = statistics.median(errors)
        made.append(claim("estimates of plan, median error", "≤ 15%", f"{error:.0%}", error <= 0.15))
    extra = statistics.median(a - b for a, b in zip(raw["rerun"], raw["imports"], strict=True))
    made.append(claim(f"rerun of {CELLS:,} finished cells, beyond imports", "≤ 3 s", f"{extra:.2f} s", extra <= 3))
    shown = statistics.median(raw["--help"])
    return [*made, claim("ddpm-bench --help", "≤ 0.3 s", f"{shown:.2f} s", shown <= 0.3)]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.harness", description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=REFERENCE, help="where its jobs are looked for (default %(default)s)"
    )
    parser.add_argument("--study", default="quick", help="whose jobs are looked at (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args(argv)
    try:
        if args.repeats < 1:
            raise UserError(f"--repeats must be at least 1, not {args.repeats}")
        if not args.results.is_dir():
            raise UserError(f"no folder {args.results}")
        keys = list(load(args.study).jobs)
        with tempfile.TemporaryDirectory() as scratch:
            path = make_study(CELLS, Path(scratch), T=(1000,))
            store = Store(Path(scratch) / "results")
            study = load(str(path))
            if len(study.cells) != CELLS:
                raise UserError(f"{len(study.cells)} cells instead of {CELLS}")
            fill(study, store)
            cli = [sys.executable, "-m", "bench.cli"]
            raw = in_turn(
                {
                    "--help": [*cli, "--help"],
                    "imports": [sys.executable, "-c", IMPORTS],
                    "rerun": [*cli, "run", str(path), "--device", "cpu", "--results", str(store.root)],
                },
                args.repeats,
            )
    except UserError as error:
        print(f"perf.harness: {error}", file=sys.stderr)
        return 2
    found = jobs(Store(args.results), keys)
    made = claims(found, raw)
    for bar in made:
        print(in_words(bar))
    print(save("harness", {"seconds": raw, "rows": found, "claims": made}, device=torch.device("cpu")))
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
