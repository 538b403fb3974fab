"""``ddpm-bench history``: a study over commits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.cli import arguments, output

HELP = "show quality and speed of a study over commits, and where they have changed"
MORE = (
    "A history is a file with one JSON line for each run: commit, date, machine, seeds, scores and seconds. It may be "
    "kept anywhere, for example as a file that CI keeps."
)
PAGE = Path("history.html")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser, default="smoke")
    parser.add_argument(
        "--file", type=arguments.path, metavar="FILE", help="the history (default DIR/history/STUDY.jsonl of --results)"
    )
    parser.add_argument(
        "--append", action="store_true", help="first add the study's newest run in DIR, or of the nightly gate there"
    )
    parser.add_argument("--metric", default="fid", metavar="NAME", help="the metric of quality (default fid)")
    arguments.page(parser, PAGE, "a page")
    arguments.results(parser)
    arguments.output(parser)


def run(args: argparse.Namespace) -> int:
    """Print the changes, or write the page."""
    from tabulate import tabulate

    from bench import files
    from bench.analysis import history
    from bench.analysis.claims import scale_of
    from bench.errors import UserError
    from bench.gate.baselines import runs_of_this_code
    from bench.paths import LOCAL, shown
    from bench.report import past
    from bench.rows import known
    from bench.store.store import Store
    from bench.study import load as studies
    from bench.text import plural

    known("metric", args.metric)
    if scale_of(args.metric) != "ratio":
        raise UserError(f"a history needs a metric that is always positive, such as fid; {args.metric} is not")
    study, folder = studies.load(args.study), args.results or LOCAL
    path = args.file or folder / "history" / f"{study.name}.jsonl"
    if args.append:
        added = history.append(path, history.taken(study, Store(folder), runs_of_this_code(folder)))
        print(f"{'added to' if added else 'already in'} {shown(path)}", file=sys.stderr)
    entries = history.read(path, study.name)
    if not entries:
        raise UserError(f"no history {shown(path)}; `ddpm-bench history {study.name} --append` begins one")
    if args.html is not None:
        files.write_bytes(args.html, past.page(entries, args.metric).encode())
        print(f"written: {shown(args.html)}", file=sys.stderr)
    columns = ("quantity", "first run", "date", "before", "after", "after / before", "p")
    found, lines = history.series(entries, args.metric), history.not_compared(entries, args.metric)
    rows = past.changes(entries, found)
    if args.format != "md":
        output.stream(args.format, columns, [list(row) for row in rows])
        for line in lines:
            print(line, file=sys.stderr)
        return 0
    print(f"{study.name}: {plural(len(entries), 'run')}, {entries[0].date.date()} to {entries[-1].date.date()}")
    if rows:
        print(tabulate(rows, columns, tablefmt="github", floatfmt=".3g"))
    elif found:
        looked_at = "; ".join(f"{one.title} ({plural(len(one.values), 'run')})" for one in found)
        print(f"No change was found in: {looked_at}.")
    for line in lines:
        print(line)
    return 0
