"""``ddpm-bench score``: score images, whoever made them."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli import arguments

HELP = "score images, whoever made them"
MORE = (
    "PATH is a folder of PNGs, or an .npy or .npz file of\n(N, H, W), (N, H, W, C) or (N, C, H, W): uint8, "
    "floats in [0, 1], or floats in [-1, 1]."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=Path)
    parser.add_argument("--dataset", default="mnist", help="what they should look like (default mnist)")
    parser.add_argument("--format", choices=("md", "json"), default="md", help="default md")
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="also look for copies of training images, at each class by itself, and at pixels (a minute or two)",
    )
    arguments.results(parser)
    arguments.data_dir(parser)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Print the scores."""
    from bench.paths import LOCAL
    from bench.score.report import score_path, to_text
    from bench.store.store import Store

    scored = score_path(
        args.path,
        Store(args.results or LOCAL),
        dataset=args.dataset,
        data_dir=args.data_dir,
        device=args.device,
        thorough=args.thorough,
    )
    print(scored.report.text() if args.format == "json" else to_text(scored))
    return 0
