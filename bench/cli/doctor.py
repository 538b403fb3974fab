"""``ddpm-bench doctor``: whether this machine can run studies, and how fast."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli import arguments

if TYPE_CHECKING:
    import torch

HELP = "check device, versions, data, classifier and, with --results, every file of a results folder"
MORE = "It names damaged files, and says what happens if you delete one and run its study again."

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pandas", "seaborn", "torch-fidelity", "pydantic", "typst")


class Line(NamedTuple):
    """One check: what was looked at, what was found, and whether that is as it should be."""

    name: str
    text: str
    good: bool = True


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--speed", action="store_true", help="also measure how fast the machine and its networks are")
    arguments.results(parser)
    arguments.data_dir(parser)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checks, one a line; 1 if any fails.

    :raises UserError: if the folder asked for does not exist.
    """
    from bench.errors import UserError

    if args.results is not None and not args.results.exists():  # before what takes long
        raise UserError(f"no results folder {args.results}")
    if args.speed:
        from bench.execute import processes

        processes.start_again()  # to be timed as jobs run
    from bench.machine.devices import pick_device
    from bench.paths import LOCAL

    device, healthy = pick_device(args.device), True
    lines = itertools.chain(
        checks(device, args.results or LOCAL, args.data_dir), files(args.results) if args.results else ()
    )
    for line in lines:
        healthy &= line.good
        print(f"{'ok ' if line.good else 'BAD'}  {line.name:14} {line.text}", flush=True)
    if args.speed:
        from bench.job import speed
        from ddpm.nets import NETS

        print()
        for text in speed.report(device, list(NETS)):
            print(text, flush=True)
    return 0 if healthy else 1


def checks(device: torch.device, results: Path, data_dir: Path | None = None) -> Iterator[Line]:
    """Each thing that a study needs."""
    from bench.machine import provenance

    about = provenance.environment(device)
    what = f"{about.gpu or about.processor}, {about.cores} cores, {about.threads} threads"
    yield Line("device", f"{device}: {what}")
    yield Line("python", f"{about.python} on {about.system}")
    yield from _libraries()
    commit = f"{about.commit or 'no git commit'}{' with changes' if about.dirty else ''}"
    yield Line("code", f"{commit}, {about.code}")
    yield from _data(data_dir)
    yield _results(results)


def files(results: Path) -> Iterator[Line]:
    """Every file of a results folder, read whole: the damaged ones, then how many there are."""
    from bench.paths import shown
    from bench.store.examine import examine
    from bench.store.store import Store

    count = damaged = 0
    for found in examine(Store(results)):
        count += 1
        if found is not None:
            damaged += 1
            yield Line("damaged", f"{found.path}. Delete it and run its study: {found.mended}", good=False)
    yield Line("files", f"{count:,} in {shown(results)}, {damaged or 'none'} damaged", good=not damaged)


def _libraries() -> Iterator[Line]:
    import importlib.metadata

    for name in LIBRARIES:
        try:
            yield Line(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Line(name, "not installed", good=False)


def _data(data_dir: Path | None) -> Iterator[Line]:
    """MNIST, and the classifier on its test images."""
    from bench.errors import UserError
    from bench.images import datasets
    from bench.score import classifier, eyes
    from bench.score.judges import PANELS, judges_of

    images = None
    try:
        images = datasets.load("mnist", data_dir)
        yield Line("mnist", f"{len(images.train):,} + {len(images.test):,} images, {images.sha256[:12]}")
    except UserError as error:
        yield Line("mnist", str(error), good=False)
    try:
        judge = judges_of("mnist")[PANELS["mnist"].headline]
        network = eyes.load(judge)
        accuracy = f"{classifier.accuracy(network, images):.2%} of test images right" if images else ""
        yield Line("classifier", f"{judge.sha256[:12]} {accuracy}")
    except UserError as error:
        yield Line("classifier", str(error), good=False)


def _results(results: Path) -> Line:
    import shutil

    from bench.errors import UserError
    from bench.store.store import Store

    try:
        Store(results).writable()
    except UserError as error:
        return Line("results", str(error), good=False)
    return Line("results", f"{results}, {shutil.disk_usage(results).free / 1e9:.0f} GB free")
