"""``ddpm-bench classifier``: retrain what scores samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli import arguments
from bench.paths import shown

HELP = "retrain a judge, which scores samples"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("judge", nargs="?", help="which judge (default: the one that fid is by)")
    parser.add_argument("--dataset", default="mnist", help="default mnist")
    parser.add_argument("--epochs", type=arguments.positive, help="default: the recipe's")
    parser.add_argument(
        "--out", type=arguments.path, default=Path("classifier.safetensors"), help="default classifier.safetensors"
    )
    arguments.data_dir(parser)
    arguments.device(parser)


def run(args: argparse.Namespace) -> int:
    """Train, printing a line an epoch, and write the weights and the moments of the training images."""
    from bench.machine.devices import pick_device
    from bench.score.classifier import Epoch
    from bench.score.retrain import Retrained, retrain

    events = retrain(
        args.dataset,
        args.out,
        judge=args.judge,
        data_dir=args.data_dir,
        device=pick_device(args.device),
        epochs=args.epochs,
    )
    for event in events:
        if isinstance(event, Epoch):
            print(f"epoch {event.epoch}: loss {event.loss:.4f}, test accuracy {event.accuracy:.4f}", flush=True)
        elif isinstance(event, Retrained):
            print(f"written: {shown(args.out)}, sha256 {event.sha256}")
            print(f"moments of the training images: sha256 {event.moments}")
            if event.same is not None:
                print(f"its weights are {'' if event.same else 'not '}the same as the pinned judge's")
    return 0
