"""The command line of what is measured round after round: how many rounds, and on which device."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence

import torch

from bench.errors import UserError
from bench.machine import devices


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The median over rounds of one time over another of the same round."""
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


def command(
    name: str, about: str | None, rounds: int, run: Callable[[torch.device, int], None], argv: Sequence[str] | None
) -> int:
    """Parse, then ``run(device, rounds)``: 0, or 2 for a user's mistake, said in a line.

    :param name: of the module in ``perf``.
    :param rounds: how many unless the user says.
    """
    parser = argparse.ArgumentParser(prog=f"python -m perf.{name}", description=about)
    usual = f"times everything is measured in turn (default {rounds})"
    parser.add_argument("--rounds", type=int, default=rounds, help=usual)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    try:
        if args.rounds < 1:
            raise UserError(f"--rounds must be at least 1, not {args.rounds}")
        run(devices.pick_device(args.device), args.rounds)
    except UserError as error:
        print(f"perf.{name}: {error}", file=sys.stderr)
        return 2
    return 0
