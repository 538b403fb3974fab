"""How good samples get in at most eight minutes of training: ``python -m perf.quality``.

Runs the study ``perf/quality.yaml`` (interrupt and repeat at will) and keeps what came of it, seed by seed, in
``results/perf/quality.json``: FID, the ceiling of as many noise images, seconds of training, network evaluations.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.analysis.table import iter_rows
from bench.errors import UserError
from bench.execute import processes
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.machine import devices
from bench.paths import LOCAL
from bench.sinks.console import show
from bench.store.store import Store
from bench.study import load
from perf.record import claim, in_words, save

STUDY = Path(__file__).parent / "quality.yaml"
SHARE = 1 / 1000
SECONDS = 480.0
EVALUATIONS = 50


def rows(path: Path, store: Store) -> list[dict[str, Any]]:
    """What came of each seed; a cell that failed or was timed beside others has gaps."""
    images = budget(path)
    return [
        {
            "seed": row["seed"],
            "fid": row["fid"],
            "ceiling": row["fid_ceiling"],
            "floor": row["fid_floor"],
            "n": row["n"],
            "evaluations": row["evaluations"],
            "images": row["epochs"] * images,
            "training, s": row["train_s"],
            "sampling, s": row["sample_s"],
            "commit": row["commit"],
            "key": row["key"],
        }
        for row in iter_rows(load.load(str(path)), store)
        if row["status"] == "done"
    ]


def budget(path: Path) -> int:
    """Images of an epoch."""
    train = load.load(str(path)).train
    return (train.images or 0) // train.batch_size * train.batch_size


def claims(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bar, and whether the median seed meets it in quality and in time."""
    fid = statistics.median(row["fid"] for row in found)
    times = [row["training, s"] for row in found]
    share = fid / found[0]["ceiling"]
    made = [
        claim(
            f"FID over that of noise, {max(row['evaluations'] for row in found)} evaluations, N = {found[0]['n']:,}, "
            f"median of {len(found)} seeds",
            "≤ 1/1,000",
            f"1/{1 / share:,.0f} (FID {fid:.2f})",
            share <= SHARE and len(found) >= 3 and all(row["evaluations"] <= EVALUATIONS for row in found),
        )
    ]
    if None not in times:
        seconds = statistics.median(times)
        made.append(claim("training for it", "≤ 480 s", f"{seconds:.0f} s", seconds <= SECONDS))
    return made


def main(argv: list[str] | None = None) -> int:
    """Run whatever is missing, print, save; 2 for a user's mistake, 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m perf.quality", description=__doc__)
    parser.add_argument("--study", type=Path, default=STUDY, help="another study with such cells")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=LOCAL / "quality")
    args = parser.parse_args(argv)
    store = Store(args.results)
    try:
        device = devices.pick_device(args.device)
        chosen = load.load(str(args.study))
        for _ in show(run_study(chosen, store, Options(device=str(device))), Console()):
            pass
    except UserError as error:
        print(f"perf.quality: {error}", file=sys.stderr)
        return 2
    found = rows(args.study, store)
    if found:
        made = claims(found)
        for bar in made:
            print(in_words(bar))
        print(save("quality", {"recipe": chosen.train.model_dump(), "rows": found, "claims": made}, device=device))
    return 0 if len(found) == len(chosen.cells) else 1


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
