"""How much faster is the race's present record than the recipe it was searched from? ``python -m perf.recipe``.

Both run on two CPU cores in turn, by the rules, the clock and the target of ``ddpm-bench race`` (docs/race.md). The
recipe is the entry ``unet-v``: that of the study ``quick``, with objective v. A run that was cut off is made anew, and
finished ones are kept, as in a race.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from bench.errors import UserError
from bench.paths import LOCAL
from bench.race import contest, words
from bench.race.entries import Racer, chosen
from bench.race.records import FOLDER, Attempt, RaceRecord, Side, present, records, text_of
from bench.race.rules import RUNS, N, track_of
from bench.race.seeds import seeds_of
from perf.record import claim, in_words, save

TRACK, RECIPE = "cpu2", "unet-v"
NOTE = (
    "The recipe of the study quick (unet-v) and the present record of the race ran in turn, to the race's target. "
    "Seconds are those of the race's clock: from the first batch to the last update of the weights. FID is the median."
)


def race(record: RaceRecord) -> Attempt:
    """The recipe's runs, in turn with those of the record's entry, with the seeds that the next record would have.

    :raises UserError: if a run fails, or another race is being run.
    """
    recipe, _ = chosen(RECIPE, TRACK)
    racers = (recipe.plain(), Racer.of(record.entry))
    for one in racers:
        one.check(TRACK)
    number = record.number + 1
    meeting = contest.Contest(TRACK, number, racers, seeds_of(TRACK, number, RUNS), N)
    turns = []
    with contest.alone(), contest.on_cores(track_of(TRACK).cores):
        for turn in contest.run(meeting, meeting.folder(LOCAL / "race"), LOCAL / "race" / "results"):
            print(words.turn(turn), flush=True)
            turns.append(turn)
    return contest.attempt(meeting, turns)


def row(side: Side, attempt: Attempt) -> dict[str, Any]:
    """Of one of the two: its times, and whether it reaches the target."""
    return {
        "entry": side.name,
        "training, s": side.median_s,
        "shortest, s": min(side.times),
        "longest, s": max(side.times),
        "training images": side.runs[0].images,
        "FID": side.median("fid"),
        "runs that reach the target": sum(not attempt.rules.missed(run) for run in side.runs),
        "runs": len(side.runs),
    }


def claims(attempt: Attempt, record: RaceRecord) -> list[dict[str, Any]]:
    """What part of the time the record takes: of the recipe's here, and of the best peer's in its own race."""
    made = []
    for what, bar, ours, theirs in (
        ("of the recipe of quick", 0.5, attempt.against, attempt.entry),
        ("of the best peer", 0.1, record.entry, record.against),
    ):
        if ours is not None and theirs is not None:
            share = ours.median_s / theirs.median_s
            text = f"time to the race's target, the record's as a share of that {what}"
            made.append(claim(text, f"≤ {bar:g}", f"{share:.3f}", share <= bar))
    return made


def main(argv: list[str] | None = None) -> int:
    """Run, print, save; 2 for a user's mistake."""
    argparse.ArgumentParser(prog="python -m perf.recipe", description=__doc__).parse_args(argv)
    try:
        record = present(records(TRACK, FOLDER))
        if record is None:
            raise UserError(f"the track {TRACK} has no record")
        attempt = race(record)
    except UserError as error:
        print(f"perf.recipe: {error}", file=sys.stderr)
        return 2
    print(f"\n{words.outcome(attempt)}")
    made = claims(attempt, record)
    for bar in made:
        print(in_words(bar))
    sides = [side for side in (attempt.entry, attempt.against) if side is not None]
    kept = {"note": NOTE, "rows": [row(side, attempt) for side in sides], "claims": made}
    print(save("recipe", kept | {"attempt": json.loads(text_of(attempt))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
