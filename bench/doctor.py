"""What ``ddpm-bench doctor`` prints: whether this machine can run studies, and how fast."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from bench.errors import UserError
from bench.images import datasets
from bench.job import speed
from bench.machine import devices, provenance
from bench.score import classifier
from bench.score.scorer import pinned
from bench.store.store import Store
from ddpm.nets import NETS

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pandas", "seaborn", "torch-fidelity", "pydantic", "typst")


def report(device_name: str, results: Path, data_dir: Path | None, measure: bool) -> int:
    """Print the checks, one a line; 1 if any fails."""
    device = devices.pick_device(device_name)
    about = provenance.environment(device)
    healthy = True

    def line(name: str, text: object, good: bool = True) -> None:
        nonlocal healthy
        healthy &= good
        print(f"{'ok ' if good else 'BAD'}  {name:12} {text}", flush=True)

    line("device", f"{device}: {about.gpu or about.processor}, {about.cores} cores, {about.threads} threads")
    line("python", f"{about.python} on {about.system}")
    for name in LIBRARIES:
        try:
            line(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            line(name, "not installed", good=False)
    line("code", f"{about.commit or 'no git commit'}{' with changes' if about.dirty else ''}, {about.code}")
    images = None
    try:
        images = datasets.load("mnist", data_dir)
        line("mnist", f"{len(images.train):,} + {len(images.test):,} images, {images.sha256[:12]}")
    except UserError as error:
        line("mnist", error, good=False)
    try:
        path, sha256 = classifier.PINNED["mnist"]
        network = classifier.load(path, pinned("mnist"))
        accuracy = f"{classifier.accuracy(network, images):.2%} of test images right" if images else ""
        line("classifier", f"{sha256[:12]} {accuracy}")
    except UserError as error:
        line("classifier", error, good=False)
    try:
        Store(results).writable()
        line("results", f"{results}, {shutil.disk_usage(results).free / 1e9:.0f} GB free")
    except UserError as error:
        line("results", error, good=False)
    if measure:
        print()
        for text in speed.report(device, list(NETS)):
            print(text, flush=True)
    return 0 if healthy else 1
