"""``ddpm-bench export``: a cell for other tools."""

from __future__ import annotations

import argparse

from bench.cli import arguments
from bench.paths import shown

HELP = "write a cell's samples and weights for other tools"
MORE = "Samples go to samples.npz (guided-diffusion's form) or to PNGs, weights to weights.safetensors with a card."


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cell", help="a cell's key, or the start of one (see `ddpm-bench table --format csv`)")
    parser.add_argument("--samples", default="npz", metavar="FORM", help="npz (default), png or none")
    parser.add_argument("--no-weights", action="store_true", help="write samples only")
    parser.add_argument("--out", type=arguments.path, metavar="DIR", help="default: a folder named by the cell's key")
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Write the files and name them."""
    from bench.job.export import export
    from bench.store.lookup import readable

    for path in export(args.cell, readable(args.results), args.out, samples=args.samples, weights=not args.no_weights):
        print(f"written: {shown(path)}")
    return 0
