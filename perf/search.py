"""The search behind our entry in the race: one change at a time, equal FLOPs of training.

``python -m perf.search`` runs every trial as a study of its own (``--share`` says how much of the entry's training each
gets; interrupt and repeat at will) and keeps what came of it in ``results/perf/search.json``. The images a trial trains
on are whatever its network's FLOPs allow, so that the outcome does not hang on how busy the machine is; seconds are
recorded beside it. Seeds are those of ``--seeds``, and none of a race's.
"""

from __future__ import annotations

import argparse
import math
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
from bench.race import jobs
from bench.race.entries import ENTRIES
from bench.race.rules import DATASET, TRACKS
from bench.sinks.console import show
from bench.store.store import Store
from bench.study.model import Training
from bench.study.study import Study
from perf.record import save

ENTRY = ENTRIES["unet-v"].settings
TARGET = TRACKS["cpu2"]
#: what differs from the entry, one trial each: fields of `train`, and axes. None is about the length of the average:
#: in so few steps :class:`ddpm.ema.Ema` never gets to a decay of 0.98, so that all longer ones are the same average.
TRIALS: dict[str, dict[str, Any]] = {
    "base": {},
    "batch 16": {"batch_size": 16},
    "batch 32": {"batch_size": 32},
    "batch 128": {"batch_size": 128},
    "rate 3e-3": {"lr": 3e-3},
    "rate 1.2e-2": {"lr": 1.2e-2},
    "warm-up 20%": {"warmup": 0.2},
    "AdamW": {"optimiser": "adamw", "lr": 2e-3},
    "x0": {"objective": "x0"},
    "eps": {"objective": "eps"},
    "edm": {"objective": "edm"},
    "linear": {"schedule": "linear"},
    "sigmoid": {"schedule": "sigmoid"},
    "flow": {"schedule": "flow", "objective": "flow"},
    "min-SNR": {"weight": "min_snr"},
    "sigmoid weight": {"weight": "sigmoid"},
    "logit-normal t": {"timesteps": "logit_normal"},
    "stratified t": {"timesteps": "stratified"},
    "importance t": {"timesteps": "importance"},
    "width 16": {"net": "unet(inner=32,width=16)"},
    "width 24": {"net": "unet(inner=48,width=24)"},
    "inner 32": {"net": "unet(inner=32)"},
    "inner 96": {"net": "unet(inner=96)"},
    "one block": {"net": "unet(blocks=1)"},
    "three blocks": {"net": "unet(blocks=3)"},
    "middle 1": {"net": "unet(middle=1)"},
    "middle 4": {"net": "unet(middle=4)"},
    "dit": {"net": "dit"},
    "batch 32, logit-normal t": {"batch_size": 32, "timesteps": "logit_normal"},
    "on a Gaussian": {"base": "mixture(components=1)"},
    "on a mixture": {"base": "mixture"},
    "on a mixture, batch 32, logit-normal t": {"base": "mixture", "batch_size": 32, "timesteps": "logit_normal"},
    "on a mixture, batch 16, low-noise t": {
        "base": "mixture(rank=100)", "batch_size": 16, "timesteps": "logit_normal(mean=-1.25)",
    },
}  # fmt: skip
N = 1000


def flops_of(share: float) -> float:
    """FLOPs of so much of the entry's training."""
    train = ENTRY["train"]
    return share * train["epochs"] * train["images"] * count_flops(ENTRY["net"], DATASET).train


def make_study(name: str, change: dict[str, Any], flops: float, seeds: int) -> Study:
    """A trial as a study of one cell a seed."""
    recipe = ENTRY["train"] | {k: v for k, v in change.items() if k in Training.model_fields}
    chosen = {k: v for k, v in ENTRY.items() if k not in ("train", "engine")}
    chosen |= {k: v for k, v in change.items() if k not in recipe}
    of_an_image = count_flops(chosen["net"], DATASET, chosen.get("base", "none")).train
    batches = int(flops / of_an_image / recipe["batch_size"])
    if not batches:
        raise UserError(f"{flops:g} FLOPs are not enough for one batch: use a larger --share")
    epochs = -(-batches * recipe["batch_size"] // DATASETS[DATASET].train)
    train = recipe | {"epochs": epochs, "images": batches // epochs * recipe["batch_size"]}
    axes = {k: [value] for k, value in chosen.items()} | {"seed": list(range(seeds))}
    return Study.model_validate({"name": f"search {name}", "train": train, "axes": axes, "score": {"n": N}})


def rows(trials: dict[str, Study], store: Store) -> Iterator[dict[str, Any]]:
    """What came of each trial and seed; of the other scores, the largest as a share of the race's limit."""
    for name, trial in trials.items():
        for row in iter_rows(trial, store):
            others = [row[k] / limit for k, limit in TARGET.limits.items() if row[k] is not None]
            yield {
                "trial": name,
                "seed": row["seed"],
                "fid": row["fid"],
                "share of a limit": max(others, default=None),
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
    parser.add_argument("--share", type=float, default=0.5, help="of the entry's training (default %(default)s)")
    parser.add_argument("--seeds", type=int, default=1)
    names = f"only these trials; keeps nothing in results/perf (of: {', '.join(TRIALS)})"
    parser.add_argument("--only", nargs="+", choices=TRIALS, metavar="TRIAL", help=names)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=LOCAL / "search")
    args = parser.parse_args(argv)
    store = Store(args.results)
    try:
        if args.seeds < 1:
            raise UserError(f"--seeds must be at least 1, not {args.seeds}")
        if not 0 < args.share < math.inf:
            raise UserError(f"--share must be above 0, not {args.share:g}")
        device, flops = devices.pick_device(args.device), flops_of(args.share)
        chosen = args.only or list(TRIALS)
        trials = {name: make_study(name, TRIALS[name], flops, args.seeds) for name in chosen}
        options = Options(device=str(device), engine=str(ENTRY.get("engine", jobs.DEFAULT)))
        for trial in trials.values():
            for _ in show(run_study(trial, store, options), Console()):
                pass
    except UserError as error:
        print(f"perf.search: {error}", file=sys.stderr)
        return 2
    found = sorted(rows(trials, store), key=lambda row: (row["fid"] is None, row["fid"]))
    for row in found:
        print(f"{row['trial']:14} seed {row['seed']}: FID {row['fid']}")
    if not args.only:
        about = {"share": args.share, "flops": flops, "base": ENTRY, "n": N}
        print(save("search", about | {"rows": found}, device=device))
    return 0


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
