"""``ddpm-bench classifier``: retrain what scores samples."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.cli import arguments
from bench.paths import shown

HELP = "retrain a judge, which scores samples, or a panel of them"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("judge", nargs="?", help="which judge (default: the judge classifier)")
    parser.add_argument("--dataset", default="mnist", help="default mnist")
    parser.add_argument(
        "--panel",
        type=arguments.path,
        metavar="DIR",
        help="train every judge of a data set into DIR, and write the moments of the training images",
    )
    parser.add_argument("--epochs", type=arguments.positive, help="default: the recipe's")
    parser.add_argument(
        "--out", type=arguments.path, default=Path("classifier.safetensors"), help="default classifier.safetensors"
    )
    arguments.data_dir(parser)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Train, printing a line an epoch, and write the weights and the moments of the training images.

    :raises UserError: for ``--panel`` with what it decides itself.
    """
    from bench.errors import UserError
    from bench.machine.devices import pick_device
    from bench.score.retrain import retrain, retrain_panel

    where: dict[str, Any] = {"data_dir": args.data_dir, "device": pick_device(args.device)}
    if args.panel is None:
        return _told(retrain(args.dataset, args.out, judge=args.judge, epochs=args.epochs, **where), args.out)
    if args.judge or args.epochs:
        raise UserError("--panel trains every judge by its own recipe: leave out the judge and --epochs")
    return _told(retrain_panel(args.dataset, args.panel, **where), args.panel)


def _told(events: Iterable[object], out: Path) -> int:
    from bench.score.classifier import Epoch
    from bench.score.retrain import Member, Retrained

    for event in events:
        if isinstance(event, Epoch):
            print(f"epoch {event.epoch}: loss {event.loss:.4f}, test accuracy {event.accuracy:.4f}", flush=True)
        elif isinstance(event, Retrained):
            print(f"written: {shown(out)}, sha256 {event.sha256}")
            print(f"moments of the training images: sha256 {event.moments}")
            if event.same is not None:
                print(f"its weights are {'' if event.same else 'not '}the same as the pinned judge's")
        elif isinstance(event, Member):
            print(f"{event.name}: {event.sha256 or 'no network'}, moments {event.moments}", flush=True)
    return 0
