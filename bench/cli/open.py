"""``ddpm-bench open``: the report of a study in the browser."""

from __future__ import annotations

import argparse

from bench.cli import arguments, output

HELP = "open the report of a study in the browser"
MORE = "If there is no report yet, it is written first. Without a browser, the path is shown. It needs no network."


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser)
    arguments.out(parser)
    arguments.results(parser, reads=True)


def run(args: argparse.Namespace) -> int:
    """Open the page, or say where it is."""
    import webbrowser

    from bench.paths import reports_of, shown
    from bench.report.write import HTML
    from bench.store.lookup import need, readable
    from bench.study import load as studies

    study = studies.load(args.study)
    store = readable(args.results, study)
    page = (args.out or reports_of(store.root)) / study.name / HTML
    if not page.is_file():
        need(store, study, args.study)
        output.report(study, store, args.out)
    try:
        opened = webbrowser.get().open(page.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    print(shown(page) if opened else f"no browser here; the page is {shown(page)}")
    return 0
