"""``ddpm-bench compare``: two sets of results, cell by cell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import arguments, output

if TYPE_CHECKING:
    from bench.analysis.compare import Row

HELP = "compare two sets of results, cell by cell"
MORE = (
    "A and B are results folders, or git revisions of one (REVISION or REVISION:FOLDER; the default folder is "
    "results/reference). Cells with the same training seed and the same sampling seed are compared as pairs, if there "
    "are pairs of two training seeds or more."
)
PAGE = Path("comparison.html")
BETWEEN = {"ratio": "B/A", "difference": "B-A"}


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("a", metavar="A", help="the first set, which B is compared with")
    parser.add_argument("b", metavar="B", help="the second set: is it better or worse?")
    parser.add_argument("--metric", default="fid", metavar="NAME", help="default fid")
    arguments.page(parser, PAGE, "a page that shows both sets side by side, with pictures")
    arguments.output(parser)


def run(args: argparse.Namespace) -> int:
    """Print a row for each setting that both sets have."""
    from collections import Counter

    from tabulate import tabulate

    from bench.analysis import compare
    from bench.analysis.claims import scale_of
    from bench.rows import known

    known("metric", args.metric)
    with compare.opened(args.a) as first, compare.opened(args.b) as second:
        a, b = compare.read(first, args.metric), compare.read(second, args.metric)
        compare.check(a, b)
        (a, left_a), (b, left_b) = (compare.usable(side, name, args.metric) for side, name in ((a, "A"), (b, "B")))
        rows = compare.compare(a, b, args.metric)
        left_out = [*left_a, *left_b, *(compare.dropped(row) for row in rows if row.found.dropped)]
        if args.html is not None:
            _page(args, (first, second), rows, left_out)
    between = BETWEEN[scale_of(args.metric)]
    columns = ("cell", "n", "runs A", "runs B", "A", "B", between, "low", "high", "pairs", "p", "p (Holm)", "verdict")
    if args.format != "md":
        output.stream(args.format, columns, _body(rows, None))
        for line in left_out:
            print(line, file=sys.stderr)
        return 0
    print(tabulate(_body(rows, ""), columns, tablefmt="github", floatfmt=".3g"))
    counts = Counter(row.verdict for row in rows)
    only = [len(side.keys() - other.keys()) for side, other in ((a, b), (b, a))]
    print(f"\n{args.metric}: {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())}", end="")
    print(f"; only in A {only[0]}, only in B {only[1]}" if any(only) else "")
    print("Intervals are 95%, over training seeds; a verdict needs p (Holm) below 0.05.")
    if any(row.found.shared for row in rows):
        print("Training seeds share a sampling seed here, so p is too small and intervals are too narrow.")
    for line in left_out:
        print(line)
    return 0


def _page(args: argparse.Namespace, folders: tuple[Path, Path], rows: list[Row], left_out: list[str]) -> None:
    """Write the page, and say where it is on stderr, since rows go to stdout."""
    from bench import files
    from bench.paths import shown
    from bench.report import versus

    made = versus.page(
        (args.a, args.b), (versus.side(folders[0]), versus.side(folders[1])), rows, args.metric, left_out
    )
    files.write_bytes(args.html, made.encode())
    print(f"written: {shown(args.html)}", file=sys.stderr)


def _body(rows: list[Row], nothing: str | None) -> list[list[Any]]:
    """The columns' values, ``nothing`` for NaN."""
    whole = [
        [r.label, r.n, r.runs_a, r.runs_b, r.a, r.b, *r.found[:3], r.found.pairs, r.found.p, r.p_holm, r.verdict]
        for r in rows
    ]
    return [[nothing if value != value else value for value in row] for row in whole]
