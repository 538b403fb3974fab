"""``ddpm-bench metrics``: what each metric sees of known damage."""

from __future__ import annotations

import argparse
import sys

from bench.cli import arguments
from bench.paths import ROOT, shown

HELP = "measure what each metric sees of known damage, and write the page"
MORE = "It takes many minutes on one core. The page that comes with the project is reports/metrics."


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dataset", default="mnist", help="default mnist")
    parser.add_argument("--page", action="store_true", help="write the page again from its record, and measure nothing")
    parser.add_argument(
        "--out",
        type=arguments.path,
        metavar="DIR",
        default=ROOT / "reports" / "metrics",
        help="default reports/metrics",
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

    if args.page:
        page.write(page.read(args.out), args.out)
    else:
        ready(args.out)
        events = measure(args.dataset, open_store(args.results or LOCAL), data_dir=args.data_dir, device=args.device)
        for event in events:
            if isinstance(event, Progress):
                print(f"{event.what}, {event.share:.0%}", file=sys.stderr, flush=True)
            else:
                page.write(event, args.out)
    print(f"written: {shown(args.out / 'report.md')} and {shown(args.out / 'report.pdf')}")
    return 0
