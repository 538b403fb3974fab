"""``ddpm-bench status``: how far studies are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import arguments, output
from bench.paths import LOCAL, shown

if TYPE_CHECKING:
    from bench.analysis.progress import Progress

HELP = "count which cells of a study are done, failed or missing"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser, default=None)
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Print a line or more for each study."""
    from bench.analysis.progress import progress
    from bench.store.lookup import with_results

    pairs = list(with_results(args.study, args.results))
    if not pairs:
        _queues(args.results or LOCAL)
        print("no results yet; `ddpm-bench run` makes some")
    folders: dict[Path, None] = {}
    for study, store in pairs:
        folders[store.root] = None
        _print(study.name, shown(store.root), progress(study, store))
        output.damaged(store)
    for root in folders:
        _queues(root)
    return 0


def _queues(root: Path) -> None:
    """What clusters are still to do for a results folder."""
    from bench.execute.executor import EXECUTORS

    for place in EXECUTORS.values():
        if place.queue is not None and (text := place.queue(root)) is not None:
            print(text)


def _print(name: str, folder: str, found: Progress) -> None:
    from bench.text import duration, plural

    states = ("done", "failed", "stale", "missing")
    text = ", ".join(f"{found.counts[state]} {state}" for state in states if found.counts[state])
    more = f"; made by {len(found.codes)} versions of the code" if len(found.codes) > 1 else ""
    print(f"{name}: {plural(found.cells, 'cell')}: {text} ({folder}){more}")
    if found.runs:
        expected, truth = sum(run.estimate_s for run in found.runs), sum(run.wall_s for run in found.runs)
        print(
            f"  estimates of {len(found.runs)} runs of jobs: off by {found.median_error:.0%} in the median; "
            f"{duration(expected)} expected, {duration(truth)} taken"
        )
    for job, reason in found.failed:
        print(f"  failed: job {job}: {reason}")
