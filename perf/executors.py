"""What executors add to a job, and what a second worker brings: ``python -m perf.executors``.

A study of eight small jobs (eager, one thread each) runs with one worker and with two, by each executor, on two cores
that should have nothing else to do. Ray and Slurm are real, with two nodes on this machine. The time of a run is from
the start of its first job to the end of its last one, so that Slurm's first wait in the queue is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.execute import processes
from bench.job.stages import WORK
from bench.paths import REFERENCE, ROOT
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.study.load import load
from perf import clusters, harness
from perf.record import claim, in_words, save

STUDY = {
    "train": {"epochs": 2, "images": 3200, "batch_size": 32},
    "axes": {
        "net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"], "schedule": ["cosine"], "T": [50],
        "seed": [0, 1, 2, 3], "sampler": ["ddim"], "sample_steps": [10],
    },
    "score": {"n": 100},
}  # fmt: skip
JOBS = 8
EXECUTORS = ("local", "ray", "slurm")


def run(study: Path, results: Path, executor: str, workers: int, more: Sequence[str]) -> float:
    """Run the study; seconds from the start of its first job to the end of its last.

    :raises RuntimeError: if not all of it was done.
    """
    log = results.with_suffix(".jsonl")
    command = [sys.executable, "-m", "bench.cli", "run", str(study), "--results", str(results), "--log", f"jsonl:{log}"]
    command += ["--device", "cpu", "--threads", "1", "--engine", "eager", "--executor", executor]
    done = subprocess.run([*command, "--workers", str(workers), *more], cwd=ROOT, capture_output=True, text=True)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    starts, ends = ([event["at"] for event in events if event["event"] == kind] for kind in ("started", "done"))
    if done.returncode or len(ends) != JOBS:
        raise RuntimeError(f"{executor}, {workers} workers: {done.stdout}{done.stderr}")
    return float(max(ends) - min(starts))


def own_s(results: Path) -> list[float]:
    """Seconds of each job that were not its work, from the moment its process was asked for."""
    found = []
    for _, record in Store(results).records(JobRecord):
        if isinstance(record, TrainedJob):
            (took,) = record.harness
            found.append(took.wall_s - sum(took.stages_s.get(stage, 0.0) for stage in WORK))
    return found


def measure(study: Path, base: Path, quiet: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each executor and number of workers, in turn."""
    with ExitStack() as stack:
        slurm = stack.enter_context(clusters.slurm(base / "slurm"))
        ray = stack.enter_context(clusters.ray())
        more = {
            "local": [],
            "ray": ["--address", ray.address],
            "slurm": ["--with", "poll=0.2", "--with", f"folder={slurm.root / 'submitit'}"],
        }
        for turn in range(repeats):
            for executor in EXECUTORS:
                for workers in (1, 2):
                    results = base / f"{executor}-{workers}-{turn}"
                    shutil.copytree(quiet / "scoring", results / "scoring")
                    seconds = run(study, results, executor, workers, more[executor])
                    row = {"executor": executor, "workers": workers, "seconds": seconds, "own, s": own_s(results)}
                    print(row, flush=True)
                    yield row


def realistic_s() -> float:
    """The median duration of a job of the study ``quick``."""
    return statistics.median(row["wall, s"] for row in harness.jobs(Store(REFERENCE), load("quick").jobs))


def summary(raw: Sequence[dict[str, Any]], job_s: float) -> dict[str, Any]:
    """Rows and bars. What is added to a job is the median of what their processes took beside their work."""
    rows, made = [], []
    for executor in EXECUTORS:
        one, two = (
            statistics.median(row["seconds"] for row in raw if (row["executor"], row["workers"]) == (executor, workers))
            for workers in (1, 2)
        )
        own = statistics.median(
            value for row in raw if (row["executor"], row["workers"]) == (executor, 1) for value in row["own, s"]
        )
        share = own / job_s
        rows.append(
            {
                "executor": executor,
                "one worker, s": round(one, 1),
                "two workers, s": round(two, 1),
                "throughput": round(one / two, 2),
                "added to a job, s": round(own, 2),
                "share of a job of quick": round(share, 4),
            }
        )
        made.append(
            claim(f"{executor}: two workers against one, eight jobs", "≥ 1.8×", f"{one / two:.2f}×", one / two >= 1.8)
        )
        made.append(
            claim(f"{executor}: added to a job, share of a job of quick", "≤ 2%", f"{share:.1%}", share <= 0.02)
        )
    return {"job_s": job_s, "runs": list(raw), "rows": rows, "claims": made}


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m perf.executors", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="executors-"))
    study = base / "eight.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    run(study, base / "quiet", "local", 1, [])  # what scoring needs once
    content = summary(list(measure(study, base, base / "quiet", options.repeats)), realistic_s())
    note = (
        f"Eight jobs, one thread each, on two cores. A job of `quick` takes {content['job_s']:.0f} s in the median. "
        "What is added to a job is what its process takes beside training, sampling and scoring. On Slurm that counts "
        "from the start of the batch script, so that waiting in the queue is left out."
    )
    for bar in content["claims"]:
        print(in_words(bar))
    print(save("executors", {"note": note} | content, device=torch.device("cpu")))
    shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
