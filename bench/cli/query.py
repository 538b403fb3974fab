"""``ddpm-bench query``: SQL over the results."""

from __future__ import annotations

import argparse

from bench.cli import arguments, output

HELP = "ask the results anything, in SQL"
MORE = (
    "There are two views. `cells` has a row for each cell of every study, with the columns of `ddpm-bench table`. "
    "`jobs` has the training runs. `ddpm-bench query 'DESCRIBE cells'` lists the columns. Nothing is written."
)
EXAMPLES = """\
examples:
  the best cell of each objective and schedule
    ddpm-bench query "SELECT objective, schedule, min(fid) AS fid,
      arg_min(key, fid) AS key FROM cells WHERE status = 'done'
      GROUP BY ALL ORDER BY fid"
  what training each network costs, and how far off the estimates were
    ddpm-bench query "SELECT net, device, count(*) AS jobs, median(epoch_s),
      median(abs(estimate_s / wall_s - 1)) FROM jobs WHERE status = 'done'
      GROUP BY ALL"
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("sql", help="one SELECT (duckdb's dialect)")
    arguments.output(parser)
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Print the answer."""
    from tabulate import tabulate

    from bench.analysis.query import ask
    from bench.store.lookup import readable

    store = readable(args.results)
    answer = ask(args.sql, store)
    if args.format == "md":
        body = [["" if value is None else value for value in row] for row in answer.rows]
        print(tabulate(body, answer.columns, tablefmt="github", floatfmt=".4g"))
    else:
        output.stream(args.format, answer.columns, answer.rows)
    output.damaged(store)
    return 0
