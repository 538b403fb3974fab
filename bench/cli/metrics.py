"""``ddpm-bench metrics``: what each metric sees of known damage."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cli import arguments
from bench.paths import ROOT, shown

HELP = "measure what each metric sees of known damage, and write the page"
MORE = "It takes many minutes on one core. The page that comes with the project is reports/metrics, of MNIST."
DATASET = "mnist"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dataset", default=DATASET, help=f"default {DATASET}")
    parser.add_argument("--page", action="store_true", help="write the page again from its record, and measure nothing")
    parser.add_argument(
        "--out",
        type=arguments.path,
        metavar="DIR",
        help="default reports/metrics, or reports/metrics-NAME for --dataset NAME",
    )
    arguments.results(parser)
    arguments.data_dir(parser)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, saying how far it is, and write the page."""
    from bench.paths import LOCAL
    from bench.report import calibration as page
    from bench.report.write import ready
    from bench.score.calibration import measure
    from bench.score.kept import Progress
    from bench.store.lookup import open_store

    out = args.out or _folder(args.dataset)
    if args.page:
        page.write(page.read(out), out)
    else:
        ready(out)
        events = measure(args.dataset, open_store(args.results or LOCAL), data_dir=args.data_dir, device=args.device)
        for event in events:
            if isinstance(event, Progress):
                print(f"{event.what}, {event.share:.0%}", file=sys.stderr, flush=True)
            else:
                page.write(event, out)
    print(f"written: {shown(out / 'report.md')} and {shown(out / 'report.pdf')}")
    return 0


def _folder(dataset: str) -> Path:
    """Where a data set's page goes: what is said in README and docs is read from the page of MNIST."""
    from bench.images import datasets
    from bench.score.own import file_of

    name = file_of(datasets.named(dataset))
    return ROOT / "reports" / ("metrics" if name == DATASET else f"metrics-{name}")
