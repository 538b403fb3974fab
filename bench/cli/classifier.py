"""``ddpm-bench classifier``: retrain what scores samples."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cli import arguments
from bench.paths import shown

HELP = "retrain the classifier that scores samples"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--dataset", default="mnist", help="default mnist")
    parser.add_argument("--epochs", type=arguments.positive, help="default: the recipe's")
    parser.add_argument(
        "--out", type=arguments.path, default=Path("classifier.safetensors"), help="default classifier.safetensors"
    )
    arguments.data_dir(parser)


def run(args: argparse.Namespace) -> int:
    """Train, printing a line an epoch, and write the weights."""
    from bench.score.retrain import Retrained, retrain

    for event in retrain(args.dataset, args.out, data_dir=args.data_dir, epochs=args.epochs):
        if not isinstance(event, Retrained):
            print(f"epoch {event.epoch}: loss {event.loss:.4f}, test accuracy {event.accuracy:.4f}", flush=True)
            continue
        print(f"written: {shown(args.out)}, sha256 {event.sha256}")
        if event.same is not None:
            print(f"its weights are {'' if event.same else 'not '}the same as the pinned classifier's")
    return 0
