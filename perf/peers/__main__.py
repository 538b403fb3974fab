"""``python -m perf.peers``: the comparison from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch

from bench.errors import UserError
from bench.execute import processes
from bench.paths import LOCAL
from perf import record

MODULES = ("diffusers", "denoising_diffusion_pytorch")


def main(argv: list[str] | None = None) -> int:
    """Run what is missing and write ``peers.json``; a user's mistake is one line and exit code 2."""
    try:
        _run(argv)
    except UserError as error:
        print(f"perf.peers: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nperf.peers: interrupted; run the same command again to finish what is missing", file=sys.stderr)
        return 130
    return 0


def _run(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.peers",
        description="Measure ddpm-bench against diffusers and denoising-diffusion-pytorch: rates, quality after equal "
        "time, and time to a target. Finished stages are kept, so that the same command goes on where it was "
        "interrupted.",
    )
    parser.add_argument("--seconds", type=float, help="training time of everybody (default 300)")
    parser.add_argument("--search-seconds", type=float, help="training time of each size of the search (default 60)")
    parser.add_argument(
        "--ours-seconds", type=float, nargs="+", help="our runs to the target (default 30 45 60 90 120)"
    )
    parser.add_argument("--sampling-seconds", type=float, help="most time for one set of samples (default 90)")
    parser.add_argument("--n", type=int, help="samples a score, where they can be drawn in that time (default 1000)")
    parser.add_argument("--search-n", type=int, help="samples a score in the search (default 300)")
    parser.add_argument(
        "--no-longer", action="store_true", help="no run beyond --seconds for peers that miss the target"
    )
    parser.add_argument("--seed", type=int, help="of weights, batches and samples (default 0)")
    parser.add_argument(
        "--quick", action="store_true", help="a try of everything, in a minute or two: its numbers mean nothing"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default: all)")
    parser.add_argument("--data-dir", type=Path, help="where data sets lie (default data)")
    parser.add_argument(
        "--scratch", type=Path, default=LOCAL / "peers", help="where stages are kept (default %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, help="where peers.json goes (default results/perf; with --quick, the scratch)"
    )
    args = parser.parse_args(argv)
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}; `make peers` installs them (pip install -e '.[peers]')")

    from perf.peers.options import QUICK, Options
    from perf.peers.race import open_race

    given = {
        name: getattr(args, name) for name in ("seconds", "search_seconds", "sampling_seconds", "n", "search_n", "seed")
    }
    given["ours_seconds"] = tuple(args.ours_seconds) if args.ours_seconds else None
    options = replace(QUICK if args.quick else Options(), **{k: v for k, v in given.items() if v is not None})
    if args.no_longer:
        options = replace(options, longer=False)
    options.check()
    torch.set_num_threads(args.threads)
    race = open_race(options, args.scratch, args.data_dir, lambda line: print(line, flush=True))
    path = record.save("peers", race.all(), folder=args.out or (args.scratch if args.quick else record.FOLDER))
    print(path)


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
