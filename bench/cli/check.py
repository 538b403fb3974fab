"""``ddpm-bench check``: three gates; the verdict on all of their checks is the exit code."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from bench.cli import arguments, output
from bench.errors import UserError
from bench.paths import LOCAL, shown

if TYPE_CHECKING:
    from bench.gate.gates import Train
    from bench.gate.verdicts import Outcome
    from bench.store.store import Store
    from bench.study.study import Study

HELP = "compare this version with a committed baseline: fails when quality is worse"
MORE = """\
change     checks formulas, tiny training runs and jobs, and two frozen
           networks, with the random numbers of the baseline. Every row
           of every table has a check. --device and --engine say how the
           frozen networks are sampled (auto: eager, on the CPU).
nightly    trains the study with fresh seeds. It fails if FID is worse
           by 25%, and by more than the baseline's seeds explain. If it
           cannot tell, it trains more seeds.
promotion  does the same runs, but passes only if FID is shown not to be
           worse by 25%."""
MODES = ("change", "nightly", "promotion")
STUDY = "smoke"
RUNS, NEW_CHANGE, NEW_RUNS = ("nightly", "promotion"), "change --update-baseline", "nightly --update-baseline"
USED: dict[str, tuple[str, ...]] = {
    "study": (*RUNS, NEW_RUNS),
    "seeds": (*RUNS, NEW_RUNS),
    "most": RUNS,
    "only": ("change",),
    "why": (NEW_CHANGE, NEW_RUNS),
    "network": (NEW_CHANGE,),
    "json": MODES,
    "junit": MODES,
    "results": (*RUNS, NEW_CHANGE, NEW_RUNS),
    "device": (*MODES, NEW_RUNS),
    "threads": (*RUNS, NEW_RUNS),
    "engine": (*MODES, NEW_RUNS),
}
"""Option → what uses it, where that is not all. The baseline of change is always made on the CPU, eagerly."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("mode", nargs="?", default="change", choices=MODES)
    parser.add_argument("--study", help=f"what nightly and promotion train (default {STUDY})")
    parser.add_argument(
        "--seeds", type=arguments.positive, metavar="N", help="training seeds (default 3; 10 for a baseline)"
    )
    parser.add_argument(
        "--most",
        type=arguments.positive,
        metavar="N",
        help="for nightly and promotion: while it cannot tell, train twice as many seeds, up to N (default 12, or "
        "--seeds if that is given)",
    )
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="for change: only checks with this text in their name"
    )
    parser.add_argument("--baseline", type=arguments.path, metavar="FILE", help="default in results/baselines")
    parser.add_argument("--update-baseline", action="store_true", help="make a new baseline; needs --why")
    parser.add_argument("--why", metavar="TEXT", help="what changed and why; the baseline keeps it, with who and when")
    parser.add_argument(
        "--network", metavar="KEY", help="with --update-baseline: freeze the network of this training run"
    )
    parser.add_argument("--json", type=arguments.path, metavar="FILE", help="also write the outcome as JSON")
    parser.add_argument("--junit", type=arguments.path, metavar="FILE", help="also write the outcome as JUnit XML")
    arguments.running(parser)


def run(args: argparse.Namespace) -> int:
    """Check, or make a baseline anew."""
    from bench import files
    from bench.gate import verdicts

    if args.update_baseline and not (args.why or "").strip():
        raise UserError("--update-baseline needs --why: what changed, and why you meant it")
    _refuse_unused(args)
    if args.update_baseline:
        (_update_change if args.mode == "change" else _update_runs)(args)
        return 0
    for file in filter(None, (args.json, args.junit)):
        files.check_replaceable(file)
    outcomes = (_change if args.mode == "change" else _runs)(args)
    about: dict[str, object] = {"mode": args.mode} | ({"only": args.only} if args.only else {})
    return verdicts.tell(outcomes, f"Sample quality: {args.mode}", about, args.json, args.junit)


def _refuse_unused(args: argparse.Namespace) -> None:
    """Refuse an option that would be ignored.

    :raises UserError: naming what it is for.
    """
    from bench.text import listing

    new = NEW_CHANGE if args.mode == "change" else NEW_RUNS
    asked = new if args.update_baseline else args.mode
    for option, uses in USED.items():
        if getattr(args, option) not in (None, "", "auto") and asked not in uses:
            raise UserError(f"--{option} is for `ddpm-bench check` {listing(uses)}, not for {asked}")


def _change(args: argparse.Namespace) -> list[Outcome]:
    from bench.gate.gates import check_change

    return check_change(
        data_dir=args.data_dir,
        file=args.baseline,
        only=args.only,
        device=args.device,
        engine=args.engine,
    )


def _update_change(args: argparse.Namespace) -> None:
    from bench.gate.gates import update_change
    from bench.store.lookup import open_store

    store = open_store(args.results or LOCAL)
    path = update_change(store, args.why, data_dir=args.data_dir, file=args.baseline, network=args.network)
    print(f"baseline: {shown(path)}.*")


def _runs(args: argparse.Namespace) -> list[Outcome]:
    from bench.gate.gates import check_runs

    promotion = args.mode == "promotion"
    results, train = args.results or LOCAL, _train(args)
    return check_runs(
        args.study or STUDY, results, train, seeds=args.seeds, most=args.most, file=args.baseline, promotion=promotion
    )


def _update_runs(args: argparse.Namespace) -> None:
    from bench.gate.gates import update_runs

    results, train = args.results or LOCAL, _train(args)
    path, seeds = update_runs(
        args.study or STUDY, results, train, args.why, seeds=args.seeds, file=args.baseline, device=args.device
    )
    print(f"baseline of {seeds} seeds: {shown(path)}")


def _train(args: argparse.Namespace) -> Train:
    from bench.execute.plan import make_options

    device, engine, threads, data_dir = args.device, args.engine, args.threads, args.data_dir

    def train(study: Study, store: Store) -> bool:
        options = make_options(device, threads=threads, data_dir=data_dir, engine_name=engine)
        return output.run_study(study, store, options)

    return train
