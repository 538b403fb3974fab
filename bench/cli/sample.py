"""``ddpm-bench sample``: draw from a trained cell."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli import arguments
from bench.paths import shown

HELP = "draw an image grid from a trained cell"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("cell", help="a cell's key, or the start of one (see `ddpm-bench table --format csv`)")
    parser.add_argument("-n", type=arguments.positive, default=64, help="how many images (default 64)")
    parser.add_argument("--seed", type=arguments.natural, default=0, help="the sampling seed (default 0)")
    parser.add_argument(
        "--out",
        type=arguments.path,
        default=Path("samples.png"),
        help="a .png with a grid, or an .npz with all images (default samples.png)",
    )
    arguments.results(parser, reads=True)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Write the images."""
    from bench.job.draw import check_format, trained_network, write_images
    from bench.machine.devices import pick_device
    from bench.store.lookup import find_cell, readable

    check_format(args.out)
    store = readable(args.results)
    cell = find_cell(args.cell, store)
    network = trained_network(cell, store, pick_device(args.device))
    write_images(network.sample(args.n, seed=args.seed), args.out)
    print(f"{args.n} images of {cell.job.label}, {cell.label}: {shown(args.out)}")
    return 0
