"""``ddpm-bench theory``: what follows from the formulas alone."""

from __future__ import annotations

import argparse

from bench.cli import arguments
from bench.paths import ROOT, shown

HELP = "write the page of what follows from the formulas alone"
MORE = (
    "It has SNR curves, loss weights in x₀ space, conditioning, what fewer steps do to a schedule, and each sampler's "
    "own error. Nothing is trained."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "schedules", nargs="*", metavar="SCHEDULE", help="schedules to show, as a study names them (default: all)"
    )
    parser.add_argument("-T", type=arguments.positive, default=1000, help="diffusion steps (default 1000)")
    parser.add_argument("--dataset", default="mnist", help="the data set that the prior term is for (default mnist)")
    parser.add_argument(
        "--out", type=arguments.path, metavar="DIR", default=ROOT / "reports" / "theory", help="default reports/theory"
    )
    arguments.data_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from bench.theory.write import write

    write(args.out, args.schedules, T=args.T, dataset=args.dataset, data_dir=args.data_dir)
    print(f"written: {shown(args.out / 'report.md')} and {shown(args.out / 'report.pdf')}")
    return 0
