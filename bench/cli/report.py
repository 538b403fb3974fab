"""``ddpm-bench report``: the report of a study."""

from __future__ import annotations

import argparse

from bench.cli import arguments, output

HELP = "write the report of a study: HTML, PDF, Markdown and figures"
MORE = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser, default=None)
    arguments.out(parser)
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Write the report of the study, or of every study with results."""
    from bench.errors import UserError
    from bench.store.lookup import need, with_results

    pairs = list(with_results(args.study, args.results))
    if not pairs:
        raise UserError("no results to report; `ddpm-bench run` makes some")
    for study, store in pairs:
        need(store, study, args.study or study.name)
        fresh, files = output.report(study, store, args.out)
        print(f"{'written' if fresh else 'up to date'}: {files}")
        output.damaged(store)
    return 0
