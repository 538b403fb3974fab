"""Scoring at size: the peak memory of FID of a million images, and what scoring costs beside the classifier.

``python -m perf.streaming`` scores ten thousand and a million images of a scratch folder in processes of their own,
times the scoring of ten thousand against the bare forward passes that it needs, in turn, and keeps all of it in
``results/perf/streaming.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.execute import processes
from bench.images import datasets, files
from bench.job.speed import Work, measure
from bench.machine import memory
from bench.score import classifier
from bench.score.scorer import Scorer
from bench.store.store import Store
from perf.record import claim, save

FEW, MANY = 10_000, 1_000_000
REPEATS = 3
CPU = torch.device("cpu")


def write(path: Path, n: int) -> None:
    """An .npy of n images: MNIST's test images, over and over, each time with other noise."""
    test = datasets.load("mnist").test.numpy()
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 1, 28, 28))
    random = np.random.default_rng(0)
    for start in range(0, n, len(test)):
        part = test[: n - start]
        out[start : start + len(part)] = np.clip(part + random.integers(-20, 21, part.shape, np.int16), 0, 255)
    out.flush()


def peak_mb() -> float:
    """Peak resident memory of this process alone: what the kernel counts for ``getrusage`` outlives a fork and exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return memory.peak_rss_mb()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


def fid_of(path: Path, store: Path) -> dict[str, float]:
    """The FID of the images in a file, read and scored in parts; and this process's peak memory."""
    files.STREAMED = 0  # however few they are
    scorer = Scorer("mnist", datasets.load("mnist"), Store(store), CPU)
    before, since = peak_mb(), time.perf_counter()
    found = files.stream(path, 1, 28)
    assert found is not None
    n, parts, _ = found
    scores = scorer.stream(parts).scores(scorer.reference)
    seconds = time.perf_counter() - since
    return {"n": n, "fid": scores["fid"], "seconds": seconds, "before_mb": before, "peak_mb": peak_mb()}


def _alone(path: Path, store: Path) -> dict[str, float]:
    """:func:`fid_of` in a process of its own."""
    words = [sys.executable, "-m", "perf.streaming", "--score", str(path), "--store", str(store)]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    print(
        f"{found['n']:,} images: FID {found['fid']:.4f}, {found['seconds']:.1f} s, {found['peak_mb']:.0f} MB",
        flush=True,
    )
    return found


def rates(store: Path, rounds: int) -> dict[str, list[float]]:
    """Images a second, a number a round: the classifier alone, with FID, and with every metric."""
    known = datasets.load("mnist")
    scorer, few = Scorer("mnist", known, Store(store), CPU), known.test[:FEW]

    def forward() -> None:
        with torch.inference_mode():
            for part in few.split(classifier.BATCH):
                scorer.network(part)

    def parts() -> Iterator[Tensor]:
        yield from few.split(files.PART)

    works = [
        Work("classifier alone", forward, FEW),
        Work("FID", lambda: scorer.score(few, only="fid"), FEW),
        Work("in parts", lambda: scorer.stream(parts()).scores(scorer.reference), FEW),
        Work("every metric", lambda: scorer.score(few), FEW),
    ]
    raw = measure(works, CPU, rounds)
    return {work.name: [FEW / seconds for seconds in raw[work.name]] for work in works}


def main(argv: list[str] | None = None) -> int:
    """Measure, and write ``streaming.json``."""
    parser = argparse.ArgumentParser(prog="python -m perf.streaming", description=__doc__)
    parser.add_argument("--many", type=int, default=MANY, help="how many images (default a million)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timing (default 7)")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.score is not None:
        print(json.dumps(fid_of(args.score, args.store)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        content = measured(folder, args.many, args.rounds)
    print(save("streaming", content))
    return 0


def measured(folder: Path, many: int, rounds: int) -> dict[str, Any]:
    """All of it, as ``streaming.json`` has it."""
    store, files = folder / "store", {n: folder / f"{n}.npy" for n in (FEW, many)}
    for n, path in files.items():
        write(path, n)
    images_per_s = rates(store, rounds)  # it leaves the reference in the store for the others
    runs = {n: [_alone(path, store) for _ in range(REPEATS if n == FEW else 1)] for n, path in files.items()}
    peak = {n: statistics.median(run["peak_mb"] for run in of) for n, of in runs.items()}
    alone = images_per_s["classifier alone"]
    share = {
        name: statistics.median(a / b for a, b in zip(of, alone, strict=True)) for name, of in images_per_s.items()
    }
    for name, one in share.items():
        print(f"{name}: {statistics.median(images_per_s[name]):,.0f} images/s, {one:.1%} of the classifier alone")
    more = peak[many] / peak[FEW] - 1
    return {
        "few": FEW,
        "many": many,
        "runs": runs[FEW] + runs[many],
        "images_per_s": images_per_s,
        "share": share,
        "claims": [
            claim(f"memory of FID of {many:,} images over {FEW:,}", "≤ +10%", f"{more:+.1%}", more <= 0.1),
            claim(f"{FEW:,} images scored by FID: share of the classifier's rate", "≥ 90%", f"{share['FID']:.1%}",
                  share["FID"] >= 0.9),
        ],
    }  # fmt: skip


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
