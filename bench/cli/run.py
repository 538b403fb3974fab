"""``ddpm-bench run``: do what is missing of a study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import arguments, output

if TYPE_CHECKING:
    from bench.execute.schedule import Options
    from bench.store.store import Store
    from bench.study.study import Study

HELP = "run what is missing of a study"
MORE = "You can interrupt it at any time. The same command\ngoes on from the last complete epoch."


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    arguments.study(parser)
    arguments.running(parser)
    parser.add_argument(
        "--workers",
        type=arguments.workers,
        metavar="N",
        help="jobs at once (default 1; on a cluster as many as fit). If jobs share a device, their durations are kept "
        "out of the tables. auto: a short trial finds how many jobs at once, and with how many threads each, get most "
        "done on this machine's processors",
    )
    parser.add_argument(
        "--sample-batch", type=arguments.positive, metavar="N", help="images sampled at a time (results stay the same)"
    )
    parser.add_argument(
        "--executor",
        default="local",
        metavar="NAME",
        help="where jobs run: local (default, a process each), inline, slurm or ray (docs/scaling.md)",
    )
    parser.add_argument(
        "--with",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the executor, such as partition=gpu; or a YAML file of them",
    )
    parser.add_argument("--address", metavar="ADDRESS", help="the same as --with address=ADDRESS: where a cluster is")
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="LOG",
        help="also record or show what the run says: jsonl:FILE, tensorboard[:DIR], trackio[:PROJECT], "
        "wandb[:PROJECT], plain or rich (docs/results.md)",
    )
    parser.add_argument("--retry", action="store_true", help="also run again what diverged")
    parser.add_argument(
        "--report",
        action="store_true",
        help="write the report at the end, and each time all cells of a training seed are done",
    )
    arguments.out(parser, ". With --out a report is written even without --report")


def run(args: argparse.Namespace) -> int:
    """Run the study; 1 if some of its cells are not done then."""
    from bench.paths import LOCAL

    results: Path = args.results or LOCAL
    if args.executor == "local" and not (results / "cells").is_dir():  # else there may be nothing to do
        from bench.execute import processes

        processes.warm()  # it imports while this process does
    from bench.execute.plan import make_options
    from bench.execute.settings import read
    from bench.store.lookup import open_store
    from bench.study import load as studies

    study, store, auto = studies.load(args.study), open_store(results), args.workers == "auto"
    output.warn(study)
    options = make_options(
        args.device,
        workers=None if auto else args.workers,
        threads=args.threads,
        data_dir=args.data_dir,
        sample_batch=args.sample_batch,
        retry=args.retry,
        engine_name=args.engine,
        executor=args.executor,
        settings=read(args.settings + ([f"address={args.address}"] if args.address else [])),
    )
    if not (args.report or args.out):
        return 0 if output.run_study(study, store, options, args.log, auto=auto) else 1
    whole = _reported(study, store, options, args, auto)
    return 0 if whole else 1


def _reported(study: Study, store: Store, options: Options, args: argparse.Namespace, auto: bool) -> bool:
    """Run the study, with its report kept fresh beside it; whether every cell is done."""
    from bench.sinks.seeds import EachSeed

    beside = output.Beside(args.study, store, args.out)
    try:
        whole = output.run_study(study, store, options, args.log, [EachSeed(study, store, beside.write)], auto=auto)
    finally:
        beside.stop()
    _, files = output.report(study, store, args.out)
    print(f"report: {files}")
    print(f"`ddpm-bench open {args.study}` opens it in the browser")
    return whole
