"""``ddpm-bench table``: a row a cell."""

from __future__ import annotations

import argparse
import heapq
import math
from typing import Any

from bench.cli import arguments, output

HELP = "print a row for each cell of a study"
MORE = ""

MAIN = (
    "net", "objective", "schedule", "T", "seed", "sampler", "sample_steps", "eta", "n", "fid_floor", "fid_ceiling",
    "fid", "kid", "kid_se", "precision", "recall", "confidence", "epoch_s", "sample_images_per_s", "status",
)  # fmt: skip
"""Columns of the Markdown table. It has the other axes that vary too, and the other judges after FID."""
MOST_ROWS = 500
"""Longest Markdown table; CSV and JSON have all rows."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser)
    arguments.output(parser, ", which has only the main columns")
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from bench.analysis.table import columns, iter_rows
    from bench.store.lookup import readable
    from bench.study import load as studies

    study = studies.load(args.study)
    store = readable(args.results, study)
    found = iter_rows(study, store)
    if args.format != "md":
        names = columns()
        output.stream(args.format, names, ([row[name] for name in names] for row in found))
    elif len(study.cells) <= MOST_ROWS:
        print(markdown(list(found)))
    else:
        print(markdown(heapq.nsmallest(MOST_ROWS, found, key=_by_fid)))
        print(
            f"\nThe {MOST_ROWS} with the lowest FID of {len(study.cells):,} cells; "
            f"`ddpm-bench table {args.study} --format csv` has all."
        )
    output.damaged(store)
    return 0


def markdown(rows: list[dict[str, Any]]) -> str:
    """The main columns as a Markdown table, without those that are empty throughout."""
    from tabulate import tabulate

    from bench.score.judges import panel
    from bench.study.axes import AXES

    others = dict.fromkeys(name for row in rows for name in panel("fid", row["classifier"]))
    said = [axis.column for axis in AXES if axis.column not in MAIN and len({row[axis.column] for row in rows}) > 1]
    before, after = MAIN.index("seed"), MAIN.index("fid") + 1
    names = (*MAIN[:before], *said, *MAIN[before:after], *others, *MAIN[after:])
    columns = [name for name in names if any(row[name] is not None for row in rows)]
    body = [["" if row[name] is None else row[name] for name in columns] for row in rows]
    return str(tabulate(body, columns, tablefmt="github", floatfmt=".4g"))


def _by_fid(row: dict[str, Any]) -> float:
    fid = row["fid"]
    return math.inf if fid is None or math.isnan(fid) else fid
