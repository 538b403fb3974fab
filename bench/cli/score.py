"""``ddpm-bench score``: score images, whoever made them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.cli import arguments, output

if TYPE_CHECKING:
    from bench.images.source import Reading

HELP = "score images, whoever made them"
MORE = (
    "PATH is a folder of image files (PNG, JPEG and others), or an .npy or .npz file. An array is (N, H, W), "
    "(N, H, W, C) or (N, C, H, W). It holds uint8, or floats in [0, 1], [-1, 1] or [0, 255]. See docs/files.md."
)
SHADES = {"black": 0, "white": 255}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=arguments.path)
    parser.add_argument("--dataset", default="mnist", help="the data set to compare them with (default mnist)")
    parser.add_argument("--format", choices=("md", "json"), default="md", help="default md")
    parser.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="the values of black and white (default: found from all values)",
    )
    parser.add_argument(
        "--array", metavar="NAME", help="which array of an .npz (default images, arr_0, or the only one)"
    )
    parser.add_argument(
        "--background",
        type=_shade,
        default=0,
        metavar="SHADE",
        help="the grey level behind transparency: black (default), white, or 0 to 255",
    )
    parser.add_argument(
        "--apply",
        action="append",
        default=[],
        metavar="CHANGE",
        help="change every image first: invert, transpose, crop, …",
    )
    parser.add_argument("--leave-out", action="store_true", help="go on without files that cannot be read")
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="also look for copies of training images, at each class alone, and at pixels (it takes longer)",
    )
    arguments.results(parser)
    arguments.data_dir(parser)
    arguments.device(parser)


def _shade(text: str) -> int:
    if text in SHADES:
        return SHADES[text]
    if not text.isdecimal() or int(text) > 255:
        raise argparse.ArgumentTypeError(f"must be black, white, or a number from 0 to 255, not '{text}'")
    return int(text)


def reading(args: argparse.Namespace) -> Reading:
    """What the user says about the files.

    :raises UserError: for a range that is none.
    """
    from bench.errors import UserError
    from bench.images.source import Reading, is_range

    bounds = None if args.range is None else (args.range[0], args.range[1])
    if bounds is not None and not is_range(bounds):
        raise UserError(f"--range must be two numbers, the lower first, not {bounds[0]:g} {bounds[1]:g}")
    return Reading(bounds, args.array, args.background, tuple(args.apply), args.leave_out)


def run(args: argparse.Namespace) -> int:
    """Print the scores."""
    from bench.paths import LOCAL
    from bench.score.report import scoring, to_text
    from bench.store import seals
    from bench.store.lookup import open_store

    store = open_store(args.results or LOCAL)
    seals.mend(store)
    scored = output.watched(
        scoring(
            args.path,
            store,
            dataset=args.dataset,
            data_dir=args.data_dir,
            device=args.device,
            thorough=args.thorough,
            reading=reading(args),
        )
    )
    seals.seal(store)
    print(scored.report.text() if args.format == "json" else to_text(scored))
    return 0
