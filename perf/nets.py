"""How long each network takes beside the default one: ``python -m perf.nets``.

Training steps of all networks are timed in turn, round after round, and so are batches of samples. Each network runs
with the engine that a long study would choose. Ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bench.errors import UserError
from bench.execute import processes
from bench.job import engine, speed
from bench.machine import devices
from ddpm.denoiser import Net
from ddpm.nets import NETS
from perf.record import save

DEFAULT = "unet"
"""The network that the others are compared with."""


def rows(nets: Sequence[str], raw: Mapping[str, Sequence[float]], images: int) -> list[dict[str, Any]]:
    """A row a network: medians over rounds, of its times and of their ratio to the default network's.

    :param raw: by ``<network> training`` and ``<network> sampling``, seconds of a step of ``images`` images and of a
        batch of samples, a number a round.
    """
    return [
        {
            "net": net,
            "training, ms an image": 1000 * statistics.median(raw[f"{net} training"]) / images,
            "training, of unet's time": _ratio(raw, net, "training"),
            "sampling, of unet's time": _ratio(raw, net, "sampling"),
        }
        for net in nets
    ]


def _ratio(raw: Mapping[str, Sequence[float]], net: str, task: str) -> float:
    pairs = zip(raw[f"{net} {task}"], raw[f"{DEFAULT} {task}"], strict=True)
    return statistics.median(own / default for own, default in pairs)


def measure(device: torch.device, rounds: int) -> dict[str, Any]:
    """Time every network, and say which engine each had."""
    engines: dict[str, str] = {}
    works = []
    for name in NETS:

        def prepare(work: engine.Work, name: str = name) -> Net:
            chosen = speed.tuned(name, work)
            engines[f"{name} {work.task}"] = chosen.about.engine
            return chosen.net

        works += [speed.training(name, device, prepare), speed.sampling(name, device, prepare)[0]]
    raw = speed.measure(works, device, rounds)
    return {"engines": engines, "seconds": raw, "rows": rows(list(NETS), raw, speed.BATCH)}


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.nets", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="times everything is measured in turn (default 15)")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    try:
        if args.rounds < 1:
            raise UserError(f"--rounds must be at least 1, not {args.rounds}")
        device = devices.pick_device(args.device)
    except UserError as error:
        print(f"perf.nets: {error}", file=sys.stderr)
        return 2
    found = measure(device, args.rounds)
    for row in found["rows"]:
        print("  ".join(f"{name} {value:.3g}" if name != "net" else f"{value:9}" for name, value in row.items()))
    print(save("nets", found, device=device))
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
