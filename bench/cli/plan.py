"""``ddpm-bench plan``: what a study consists of, and what is left to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.cli import arguments, output
from bench.paths import shown

if TYPE_CHECKING:
    from bench.execute.plan import Plan
    from bench.study.study import Study

HELP = "print a study's jobs and cells, and what is already done"
MORE = "What is done is counted in your own results folder alone. The results of the project do not count."
MANY = 20
"""Values of an axis that are all printed."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser)
    parser.add_argument("--list", action="store_true", help="list the studies that come with the project")
    parser.add_argument("--cells", action="store_true", help="print every job with its estimated time, and every cell")
    parser.add_argument(
        "--workers", type=arguments.positive, default=1, metavar="N", help="estimate the time with N jobs at once"
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive,
        metavar="N",
        help="CPU threads of each job (default: all cores, divided among --workers)",
    )
    arguments.results(parser)


def run(args: argparse.Namespace) -> int:
    """Print the plan; nothing is written."""
    from bench.execute.plan import plan
    from bench.paths import LOCAL
    from bench.store.lookup import open_store
    from bench.study import load as studies

    if args.list:
        for name in studies.available():
            study = studies.load(name)
            print(f"{name:12} {len(study.jobs):4} jobs {len(study.cells):5} cells  {study.description}")
        return 0
    study = studies.load(args.study)
    store = open_store(args.results or LOCAL)
    output.warn(study)
    found = plan(study, store, detail=args.cells, workers=args.workers, threads=args.threads)
    _print(study, found, shown(store.root), args.workers)
    output.damaged(store)
    return 0


def _print(study: Study, found: Plan, folder: str, workers: int) -> None:
    from bench.execute.cost import UNLIKE
    from bench.execute.plan import about
    from bench.images import datasets
    from bench.text import plural
    from ddpm.spec import parse

    jobs, cells = plural(found.jobs, "job"), plural(found.cells, "cell")
    print(f"{study.name}: {jobs}, {cells}; {plural(found.done, 'cell')} done in {folder}")
    print(
        f"{parse(study.dataset).name}, {study.train.length} a job; {study.score.n:,} samples a cell, "
        f"{found.evaluations:,} network evaluations for sampling"
    )
    for line in datasets.tell(study.dataset):
        print(f"  {line}")
    if found.left:
        where = UNLIKE if found.elsewhere else ""
        once = f" with {workers} at once" if workers > 1 and found.seconds is not None else ""
        print(f"left: {plural(found.left, 'job')}, {about(found.seconds)}{once}{where}")
    for name, values in study.axes:
        print(f"  {name:13} {_listed(values)}")
    for job in found.detail:
        left = f"{plural(job.left, 'cell')} left, {about(job.seconds)}" if job.left else "nothing left"
        print(f"{job.key}  {job.label}: {left}")
        for key, status, label in job.cells:
            print(f"  {key}  {status:8} {label}")


def _listed(values: Sequence[Any]) -> str:
    """An axis's values; of very many the first, the last, and how many there are."""
    from bench.text import as_yaml

    if len(values) <= MANY:
        return ", ".join(map(as_yaml, values))
    return f"{', '.join(map(as_yaml, values[:10]))}, … {as_yaml(values[-1])} ({len(values):,} values)"
