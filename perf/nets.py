"""How long each network takes beside the default one: ``python -m perf.nets``.

Training steps of all networks are timed in turn, round after round, and so are batches of samples. Each network runs
with the engine that a long study would choose. Ratios are taken within a round.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from bench.execute import processes
from bench.job import speed
from ddpm.nets import NETS
from perf.record import save
from perf.roofline import tuned
from perf.rounds import command, ratio

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
            "training, of unet's time": ratio(raw[f"{net} training"], raw[f"{DEFAULT} training"]),
            "sampling, of unet's time": ratio(raw[f"{net} sampling"], raw[f"{DEFAULT} sampling"]),
        }
        for net in nets
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; 2 for a user's mistake."""
    return command("nets", __doc__, 15, _run, argv)


def _run(device: torch.device, rounds: int) -> None:
    engines: dict[str, Any] = {}
    works = []
    for net in NETS:
        prepare = partial(tuned, net, engines)
        works += [speed.training(net, device, prepare), speed.sampling(net, device, prepare)[0]]
    raw = speed.measure(works, device, rounds)
    found = rows(list(NETS), raw, speed.BATCH)
    for row in found:
        print("  ".join(f"{name} {value:.3g}" if name != "net" else f"{value:9}" for name, value in row.items()))
    chosen = {name: about["engine"] for name, about in engines.items()}
    print(save("nets", {"engines": chosen, "seconds": raw, "rows": found}, device=device))


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
