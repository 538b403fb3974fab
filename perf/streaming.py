"""Scoring at size: the peak memory of FID of a million images, and what scoring costs beside the classifier.

``python -m perf.streaming`` scores ten thousand and a million images of a scratch folder in processes of their own,
times the scoring of ten thousand against the bare forward passes that it needs, in turn, and keeps all of it in
``results/perf/streaming.json``. With ``--pixels`` it only prints the memory, with pixels in place of the judges'
features: the same reading, sums and scores in a fraction of the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.execute import processes
from bench.images import datasets, files
from bench.images.source import PART
from bench.job.speed import Work, measure
from bench.machine import memory
from bench.score import classifier, taken
from bench.score.classifier import Features
from bench.score.learning import JudgeNetwork
from bench.score.scorer import Scorer
from bench.store.store import Store
from perf.record import claim, save

FEW, MANY = 10_000, 1_000_000
FORMS = {".npy": MANY, ".npz": MANY, "": 100_000}
"""What images are kept in, as the end of a path (none: a folder of PNGs), and how many at most."""
REPEATS = 3
CPU = torch.device("cpu")


def write(path: Path, n: int) -> None:
    """n images: MNIST's test images, over and over, each time with other noise. The path says what they are kept in."""
    parts = _images(n)
    if path.suffix == ".npy":
        out = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 1, 28, 28))
        for start, part in parts:
            out[start : start + len(part)] = part
        out.flush()
    elif path.suffix == ".npz":
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole,
            whole.open("arr_0.npy", "w", force_zip64=True) as file,
        ):
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (n, 1, 28, 28)}
            )
            for _, part in parts:
                file.write(part.tobytes())
    else:
        path.mkdir()
        for start, part in parts:
            for i, image in enumerate(part):
                Image.fromarray(image[0]).save(path / f"{start + i:07}.png", compress_level=1)


def _images(n: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first, uint8 (b, 1, 28, 28)): parts of n images."""
    test, random = datasets.load("mnist").test.numpy(), np.random.default_rng(0)
    for start in range(0, n, len(test)):
        part = test[: n - start]
        yield start, np.clip(part + random.integers(-20, 21, part.shape, np.int16), 0, 255).astype(np.uint8)


def peak_mb() -> float:
    """Peak resident memory of this process alone: what the kernel counts for ``getrusage`` outlives a fork and exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return memory.peak_rss_mb()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


def pixels(network: JudgeNetwork, images: Tensor, device: torch.device | str = CPU) -> Features:
    """Some pixels in place of a judge's features (N, d) and logits, in no time."""
    flat = images.flatten(1).double() / 255
    return Features(flat[:, 100 : 100 + network.features].contiguous(), flat[:, 400:410].contiguous())


def fid_of(path: Path, store: Path, *, by_pixels: bool = False) -> dict[str, Any]:
    """The FID of the images in a file, read and scored in parts; and this process's peak memory."""
    taken.STREAMED = 0  # however few they are
    if by_pixels:
        classifier.extract = pixels
    scorer = Scorer("mnist", datasets.load("mnist"), Store(store), CPU)
    before, since = peak_mb(), time.perf_counter()
    source = files.take(path, 1, 28)
    scores = taken.score(scorer, source).metrics
    seconds = time.perf_counter() - since
    return {
        "n": source.n,
        "form": path.suffix or "folder",
        "fid": scores["fid"],
        "seconds": seconds,
        "before_mb": before,
        "peak_mb": max(before, peak_mb()),  # the kernel counts pages roughly: a later peak can read a little lower
    }


def _alone(path: Path, store: Path, more: Sequence[str] = ()) -> dict[str, float]:
    """:func:`fid_of` in a process of its own."""
    words = [sys.executable, "-m", "perf.streaming", "--score", str(path), "--store", str(store), *more]
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
        yield from few.split(PART)

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
    parser.add_argument("--pixels", action="store_true", help="only the memory, without the judges' networks")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.score is not None:
        print(json.dumps(fid_of(args.score, args.store, by_pixels=args.pixels)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if args.pixels:
            runs = list(in_each_form(folder, folder / "store", args.many, ["--pixels"]))
            for one in claims(runs):
                print(f"{one['claim']}: {one['measured']} (bar {one['bar']})")
            return 0
        content = measured(folder, args.many, args.rounds)
    print(save("streaming", content))
    return 0


def in_each_form(
    folder: Path, store: Path, many: int, more: Sequence[str] = ()
) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """(form, how many, runs): few and many images in each form, each run in a process of its own."""
    for form, most in FORMS.items():
        for n in (FEW, min(many, most)):
            path = folder / f"{n}{form}"
            write(path, n)
            yield form, n, [_alone(path, store, more) for _ in range(REPEATS if n == FEW else 1)]
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def measured(folder: Path, many: int, rounds: int) -> dict[str, Any]:
    """All of it, as ``streaming.json`` has it."""
    store = folder / "store"
    images_per_s = rates(store, rounds)  # it leaves the reference in the store for the others
    runs = list(in_each_form(folder, store, many))
    alone = images_per_s["classifier alone"]
    share = {
        name: statistics.median(a / b for a, b in zip(of, alone, strict=True)) for name, of in images_per_s.items()
    }
    for name, one in share.items():
        print(f"{name}: {statistics.median(images_per_s[name]):,.0f} images/s, {one:.1%} of the classifier alone")
    return {
        "few": FEW,
        "many": many,
        "runs": [run for *_, of in runs for run in of],
        "images_per_s": images_per_s,
        "share": share,
        "claims": [
            *claims(runs),
            claim(f"{FEW:,} images scored by FID: share of the classifier's rate", "≥ 90%", f"{share['FID']:.1%}",
                  share["FID"] >= 0.9),
        ],
    }  # fmt: skip


def claims(runs: list[tuple[str, int, list[dict[str, Any]]]]) -> Iterator[dict[str, Any]]:
    """For each form, that many images take no more memory than few."""
    peak = {(form, n): statistics.median(run["peak_mb"] for run in of) for form, n, of in runs}
    for form, n in peak:
        if n != FEW:
            more = peak[form, n] / peak[form, FEW] - 1
            what = f"memory of FID of {n:,} images over {FEW:,}, {form.lstrip('.') or 'a folder of PNGs'}"
            yield claim(what, "≤ +10%", f"{more:+.1%}", more <= 0.1)


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
