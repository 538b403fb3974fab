"""The search behind the default network and the recipe of ``quick``: one change at a time, equal FLOPs of training.

``python -m perf.search`` runs every trial as a study of its own (``--flops`` says how long each trains; interrupt and
repeat at will) and keeps what came of it in ``results/perf/search.json``. The images a trial trains on are whatever its
network's FLOPs allow, so that the outcome does not hang on how busy the machine is; seconds are recorded beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.analysis.table import iter_rows
from bench.errors import UserError
from bench.execute import processes
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.images.datasets import DATASETS
from bench.job.work import count_flops
from bench.machine import devices
from bench.paths import LOCAL
from bench.sinks.console import show
from bench.store.store import Store
from bench.study import load
from bench.study.study import Study
from perf.record import save

BASE: dict[str, Any] = {
    "net": "unet",
    "objective": "v",
    "schedule": "cosine",
    **load.load("quick").train.model_dump(exclude={"epochs", "images"}),
}
#: what differs from the base, one trial each
TRIALS: dict[str, dict[str, Any]] = {
    "base": {},
    "batch 32": {"batch_size": 32},
    "batch 128": {"batch_size": 128},
    "rate 3e-3": {"lr": 3e-3},
    "rate 1.2e-2": {"lr": 1.2e-2},
    "AdamW": {"optimiser": "adamw", "lr": 2e-3},
    "EMA 0.99": {"ema": 0.99},
    "EMA 0.998": {"ema": 0.998},
    "eps": {"objective": "eps"},
    "linear": {"schedule": "linear"},
    "width 24": {"net": "unet(inner=48,width=24)"},
    "width 48": {"net": "unet(inner=96,width=48)"},
    "one block": {"net": "unet(blocks=1)"},
    "three blocks": {"net": "unet(blocks=3)"},
    "middle 4": {"net": "unet(middle=4)"},
    "inner 96": {"net": "unet(inner=96)"},
}
STEPS, N = 25, 2000
NETWORK = ("net", "objective", "schedule")


def make_study(name: str, change: dict[str, Any], flops: float, seeds: int) -> Study:
    """A trial as a study of one cell a seed."""
    about = BASE | change
    recipe = {k: v for k, v in about.items() if k not in NETWORK}
    batches = int(flops / count_flops(about["net"], "mnist").train / recipe["batch_size"])
    if not batches:
        raise UserError(f"--flops {flops:g} is not enough for one batch")
    epochs = -(-batches * recipe["batch_size"] // DATASETS["mnist"].train)
    images = batches // epochs * recipe["batch_size"]
    axes = {k: [about[k]] for k in NETWORK} | {"seed": list(range(seeds))}
    axes |= {"sampler": ["ancestral"], "sample_steps": [STEPS]}
    train = recipe | {"epochs": epochs, "images": images}
    return Study.model_validate({"name": f"search {name}", "train": train, "axes": axes, "score": {"n": N}})


def rows(trials: dict[str, Study], store: Store) -> Iterator[dict[str, Any]]:
    """What came of each trial and seed."""
    for name, trial in trials.items():
        for row in iter_rows(trial, store):
            yield {
                "trial": name,
                "seed": row["seed"],
                "fid": row["fid"],
                "parameters": row["params"],
                "MFLOP an image": (row["train_flops_per_image"] or 0) / 1e6,
                "images": trial.train.epochs * (trial.train.images or 0),
                "training, s": row["train_s"],
                "commit": row["commit"],
                "key": row["key"],
            }


def main(argv: list[str] | None = None) -> int:
    """Run whatever is missing, print a line a trial, save; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.search", description=__doc__)
    parser.add_argument("--flops", type=float, default=8e12, help="of training, each trial (default 8e12)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=TRIALS, metavar="TRIAL", help=f"of: {', '.join(TRIALS)}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=LOCAL / "search")
    args = parser.parse_args(argv)
    store = Store(args.results)
    try:
        if args.seeds < 1:
            raise UserError(f"--seeds must be at least 1, not {args.seeds}")
        device = devices.pick_device(args.device)
        chosen = args.only or list(TRIALS)
        trials = {name: make_study(name, TRIALS[name], args.flops, args.seeds) for name in chosen}
        for trial in trials.values():
            for _ in show(run_study(trial, store, Options(device=str(device))), Console()):
                pass
    except UserError as error:
        print(f"perf.search: {error}", file=sys.stderr)
        return 2
    found = sorted(rows(trials, store), key=lambda row: (row["fid"] is None, row["fid"]))
    for row in found:
        print(f"{row['trial']:14} seed {row['seed']}: FID {row['fid']}")
    about = {"flops": args.flops, "base": BASE, "sampler": "ancestral", "steps": STEPS, "n": N}
    print(save("search", about | {"rows": found}, device=device))
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
