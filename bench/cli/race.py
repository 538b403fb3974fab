"""``ddpm-bench race``: time to a target quality, by rules that anybody can use."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.cli import arguments, output
from bench.paths import shown

if TYPE_CHECKING:
    from bench.race.contest import Contest
    from bench.race.records import Attempt

HELP = "train to a target quality in the least time, and keep the records"
MORE = (
    "Without arguments\nit lists tracks, targets and records. With --entry it runs an entry and the present record in "
    "turn,\nand writes a record if the rules say so (docs/race.md). Interrupt it at any time; the same\ncommand goes "
    "on after the last finished run."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--track", metavar="NAME", help="the track of the list, or of an entry that has several")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--entry", metavar="NAME", help="run this entry, in turn with the present record")
    doing.add_argument(
        "--verify", type=arguments.path, metavar="RECORD", help="run this record again: its file, or TRACK/NUMBER"
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="run the entry alone, and print medians and the worst of each score"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a try of everything, in seconds: its numbers mean nothing, and no record"
    )
    parser.add_argument(
        "--out", type=arguments.path, metavar="FILE", help="also write the runs to this file, whether a record or not"
    )
    parser.add_argument(
        "--work", type=arguments.path, metavar="DIR", help="where finished runs are kept (default results/local/race)"
    )


def run(args: argparse.Namespace) -> int:
    """List, run or verify; 1 if there is no new record, or a record does not hold."""
    _check(args)
    if args.verify is not None:
        return _verify(args)
    return _list(args) if args.entry is None else _enter(args)


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together, and a file that could not be written after hours."""
    from bench import files
    from bench.errors import UserError

    if args.verify is not None and (args.calibrate or args.quick or args.track is not None):
        raise UserError("--track, --calibrate and --quick are for --entry")
    runs = args.entry is not None or args.verify is not None
    if not runs and (args.calibrate or args.quick or args.out or args.work):
        raise UserError("say --entry NAME too")
    if args.out is not None:
        _check_out(args.out)
        files.check_writable(args.out.parent)


def _check_out(out: Path) -> None:
    """Refuse a file that is not an attempt's to write."""
    from bench.errors import UserError
    from bench.race.records import FOLDER, Attempt

    if out.exists() and not out.is_file():
        raise UserError(f"--out {out} is no file: name one")
    if out.resolve().is_relative_to(FOLDER.resolve()):
        raise UserError(f"--out {out} is among the records: only a race that sets one writes there")
    if out.exists():
        try:
            Attempt.parse(out.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"--out {out} is there already, and is no earlier attempt: name another file") from error


def _list(args: argparse.Namespace) -> int:
    from bench.race import words
    from bench.race.records import FOLDER
    from bench.race.rules import track_of

    if (only := args.track) is not None:
        track_of(only)
    print(f"{words.tracks(FOLDER, only)}\n\n{words.entries(only)}\n\n{words.standing(FOLDER, only)}")
    return 0


def _enter(args: argparse.Namespace) -> int:
    from bench.race import words
    from bench.race.records import FOLDER, as_record, write

    contest = _contest(args)
    attempt = _run(contest, args)
    print(f"\n{words.outcome(attempt)}\n")
    if args.calibrate or args.quick:
        print(words.spread(attempt))
        print("no record: this was a try" if args.quick else "no record: the entry ran alone, to choose a target by")
        return 0
    print(words.compared(attempt))
    if reasons := list(attempt.reasons()):
        print("\n".join(f"no record: {reason}" for reason in reasons))
        return 1
    print(f"a record: {shown(write(as_record(attempt), FOLDER))}; `python -m bench.facts` puts it in README")
    return 0


def _contest(args: argparse.Namespace) -> Contest:
    """What to run for an entry."""
    from bench.errors import UserError
    from bench.race import contest
    from bench.race.entries import Racer, chosen
    from bench.race.records import FOLDER, present, records
    from bench.race.rules import RUNS, N
    from bench.race.seeds import seeds_of

    racer, track = chosen(args.entry, args.track)
    every = records(track, FOLDER)
    best = None if args.calibrate else present(every)
    rivals = () if best is None else (Racer.of(best.entry),)
    for one in (racer, *rivals):
        one.check(track)
    racer = racer.plain()
    if racer in rivals:
        raise UserError(f"entry '{racer.name}' is the present record: `ddpm-bench race --verify` runs it again")
    number = 0 if args.calibrate else len(every) + 1
    if not (args.calibrate or args.quick or args.out) and contest.uncommitted():
        raise UserError("a record names the commit of its code: commit first (--calibrate and --out need no commit)")
    seeds = seeds_of(track, number, 2 if args.quick else RUNS)
    racers = tuple(one.quick() if args.quick else one for one in (racer, *rivals))
    purpose: Literal["calibrate", "attempt"] = "calibrate" if args.calibrate else "attempt"
    return contest.Contest(track, number, racers, seeds, 20 if args.quick else N, purpose)


def _run(race: Contest, args: argparse.Namespace) -> Attempt:
    """Run a contest to its end, saying what comes of each run.

    Runs are kept for the next time, but for a try and for those that verify a record: they are made anew each time.
    """
    import tempfile

    from bench import files
    from bench.paths import LOCAL
    from bench.race import contest, words
    from bench.race.records import text_of
    from bench.race.rules import track_of
    from bench.text import duration

    turns: list[contest.Turn] = []
    order, since = list(race.turns()), time.monotonic()

    def place() -> str:
        number = min(len(turns) + 1, len(order))
        name = race.racers[order[number - 1][0]].name
        return f"at run {number} of {len(order)}: {name}, for {duration(time.monotonic() - since)}"

    with tempfile.TemporaryDirectory() as scratch, contest.alone(), contest.on_cores(track_of(race.track).cores):
        base = args.work or (Path(scratch) if args.quick else LOCAL / "race")
        runs = race.folder(Path(scratch) if race.purpose == "verify" else base)
        with output.waiting(place):
            for turn in contest.run(race, runs, base / "results"):
                turns.append(turn)
                since = time.monotonic()
                print(words.turn(turn), flush=True)
    attempt = contest.attempt(race, turns)
    if args.out:
        files.write_text(args.out, text_of(attempt))
        print(f"written: {shown(args.out)}", file=sys.stderr)
    return attempt


def _verify(args: argparse.Namespace) -> int:
    from bench.race import records, verify, words

    record = records.read(records.where(args.verify, records.FOLDER))
    best = records.present(records.records(record.track, records.FOLDER))
    contest = verify.contest_of(record, best)
    for racer in contest.racers:
        racer.check(record.track)
    again = _run(contest, args)
    print(f"\n{words.outcome(again)}\n")
    found = list(verify.findings(record, again))
    signs = {True: "holds", False: "does not hold", None: "for the reader"}
    print("\n".join(f"{signs[one.holds]}: {one.text}" for one in found))
    return 1 if any(one.holds is False for one in found) else 0
