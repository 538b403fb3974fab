"""What is kept of a race: typed, with every raw number, and never believed without a check.

``results/records/<track>/<number>-<entry>.json`` holds a :class:`RaceRecord`. The verdict is not kept but follows from
the raw numbers, each time that the file is read.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, ValidationError, field_serializer, model_validator

from bench import files
from bench.errors import UserError
from bench.machine.environment import Environment
from bench.paths import ROOT, shown
from bench.race.rules import DATASET, DATASET_SHA256, MISSES, MOST_RUNS, RUNS, TRACKS, N, P, Track, in_turn, track_of
from bench.race.seeds import seeds_of
from bench.score.judges import pinned
from bench.store.records import Part, Provenance, Seconds, Some
from bench.study.model import Natural
from bench.text import listing, one_line

FOLDER = ROOT / "results" / "records"
LARGEST_MB = 1
"""A larger file is no record."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NAME = r"^[a-z0-9][a-z0-9-]{0,60}$"
"""What an entry may be called: its record is a file of that name."""
Name = Annotated[str, Field(pattern=NAME)]
Score = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Runs = Annotated[int, Field(ge=1, le=MOST_RUNS)]


class Run(Part):
    """One run: trained, sampled and scored, with one seed.

    ``train_s``: seconds from the first batch to the last weight update, in the pieces that they were measured in (an
    epoch each; a teacher's come first). ``apart_s``: what else it did, which does not count: set-up, compiling,
    validation, sampling, scoring. ``evaluations``: of the network, for each sample. ``images``: how many were trained
    on, repeats included. ``scores``: FID by the headline judge, and the other judges of the panel. ``diverged``: why
    there are neither samples nor scores. ``began``: when it was started, the last of ``starts`` times.
    """

    seed: Natural
    train_s: tuple[Seconds, ...] = ()
    apart_s: dict[str, Score] = Field(default_factory=dict)
    evaluations: Natural = 0
    images: Natural = 0
    scores: dict[str, Score] = Field(default_factory=dict)
    samples_sha256: Sha256 | None = None
    diverged: str | None = None
    began: AwareDatetime | None = None
    starts: Some = 1

    @model_validator(mode="after")
    def _whole(self) -> Run:
        if self.diverged is None and not (self.train_s and self.evaluations and self.images and self.samples_sha256):
            raise ValueError("a run that did not diverge has times, evaluations, images and samples")
        return self

    @property
    def seconds(self) -> float:
        """What the clock says; infinite if the run diverged, so that it is the slowest."""
        return math.inf if self.diverged is not None else math.fsum(self.train_s)


class Done(Part):
    """A run that is done, and what it was done with: a machine, judges, data, and ``software`` beside torch.

    Judges and software are unknown where it diverged.
    """

    run: Run
    environment: Environment
    provenance: Provenance | None = None
    software: dict[str, str] | None = None


class Side(Part):
    """An entry as it was run: its name, who it is by, its whole configuration, and its runs."""

    name: Name
    who: str
    runner: str
    settings: dict[str, Any]
    software: dict[str, str]
    runs: Annotated[tuple[Run, ...], Field(min_length=1, max_length=MOST_RUNS)]

    @property
    def times(self) -> list[float]:
        """Seconds of training of each run."""
        return [run.seconds for run in self.runs]

    @property
    def median_s(self) -> float:
        """The median of them."""
        return statistics.median(self.times)

    def median(self, metric: str) -> float:
        """The median of a score over the runs; not finite where a run lacks it."""
        return statistics.median(run.scores.get(metric, math.inf) for run in self.runs)


class Rules(Part):
    """The rules that a race was held by: every number of them, the judge and the data."""

    n: Some
    runs: Runs
    misses: Natural
    p: Score
    device: str
    cores: Some
    evaluations: Some
    fid: Score
    limits: dict[str, Score]
    judge: Sha256
    dataset_sha256: Sha256

    @property
    def bounds(self) -> dict[str, float]:
        """Metric → the most that it may be, the target first."""
        return {"fid": self.fid, **self.limits}

    def missed(self, run: Run) -> list[str]:
        """The metrics by which a run misses the target."""
        return [metric for metric, most in self.bounds.items() if not run.scores.get(metric, math.inf) <= most]


def rules_of(track: Track, n: int, judge: str, dataset_sha256: str) -> Rules:
    """The rules of a track as they are now, with the judge and the data."""
    return Rules(
        n=n,
        runs=RUNS,
        misses=MISSES,
        p=P,
        device=track.device,
        cores=track.cores,
        evaluations=track.evaluations,
        fid=track.fid,
        limits=dict(track.limits),
        judge=judge,
        dataset_sha256=dataset_sha256,
    )


class Attempt(Part):
    """An entry's runs, with those of the present record in turn; ``against`` is None where there was none.

    ``number`` is that of the record which it would be; 0 if it was to choose a target by.
    """

    track: Name
    number: Annotated[int, Field(ge=0, le=1_000_000)]
    entry: Side
    against: Side | None
    rules: Rules
    environment: Environment
    created: AwareDatetime

    @field_serializer("created")
    def _iso(self, created: AwareDatetime) -> str:
        return created.isoformat()

    @property
    def p(self) -> float | None:
        """How probable such times are if neither entry is faster; None where there was nothing to compare with."""
        return None if self.against is None else chance(self.entry.times, self.against.times)

    @property
    def missed(self) -> int:
        """How many runs of the entry miss the target."""
        return sum(bool(self.rules.missed(run)) for run in self.entry.runs)

    def reasons(self) -> Iterator[str]:
        """Why this is no record, a line each; none if it is one."""
        rules, sides = self.rules, [side for side in (self.entry, self.against) if side is not None]
        if any(len(side.runs) != rules.runs for side in sides):
            yield f"a record needs {rules.runs} runs of each entry"
            return
        yield from self._of_nobodys_choice(sides)
        yield from self._of_a_known_place()
        most = max(run.evaluations for run in self.entry.runs)
        if most > rules.evaluations:
            yield f"it takes {most} evaluations for each sample, and {rules.evaluations} are allowed"
        for metric, bound in rules.bounds.items():
            if not (median := self.entry.median(metric)) <= bound:
                yield f"its median {metric} is {median:.4g}, and {bound:g} is the most allowed"
        if self.missed > rules.misses:
            yield f"{self.missed} of {rules.runs} runs miss the target, and {rules.misses} may"
        if self.p is not None and self.p >= rules.p:
            yield f"p = {self.p:.3g} that it is no faster than the present record, and less than {rules.p:g} is needed"

    def _of_nobodys_choice(self, sides: list[Side]) -> Iterator[str]:
        """Whether seeds and order are the race's own, and no run is there twice."""
        if not self.number:
            yield "it was run to choose a target by"
        order = [sides[place].runs[index].began for place, index in in_turn(len(sides), self.rules.runs)]
        known = [began for began in order if began is not None]
        if len(known) < len(order) or known != sorted(set(known)):
            yield "its runs did not begin in turn, one after another"
        expected = seeds_of(self.track, self.number, self.rules.runs)
        for side in sides:
            if tuple(run.seed for run in side.runs) != expected:
                yield f"the seeds of {side.name} are not those of record {self.number} of {self.track}"
            drawn = [run.samples_sha256 for run in side.runs if run.samples_sha256]
            if len(set(drawn)) < len(drawn):
                yield f"two runs of {side.name} have the same samples"

    def _of_a_known_place(self) -> Iterator[str]:
        """Whether code and machine are what the rules ask for."""
        here, rules = self.environment, self.rules
        if here.dirty or not re.fullmatch(r"[0-9a-f]{40}", here.commit or ""):
            yield "the code differs from its commit, so nobody could run it again"
        if (here.device, here.threads) != (rules.device, rules.cores):
            yield f"it ran on {here.device} with {here.threads} threads: the track has {rules.device} and {rules.cores}"


class RaceRecord(Attempt):
    """An attempt that is a record: :meth:`reasons` has none against it."""

    @model_validator(mode="after")
    def _is_one(self) -> RaceRecord:
        for reason in self.reasons():
            raise ValueError(reason)
        return self


def as_record(attempt: Attempt) -> RaceRecord:
    """The same as a record.

    :raises ValueError: if it is none, with the first reason.
    """
    return RaceRecord.parse(text_of(attempt).encode())


def chance(new: list[float], old: list[float]) -> float:
    """The one-sided p of the exact Mann-Whitney test that ``new`` is smaller: a share of all ways to divide the values.

    Equal values count one half, in each of the ways too, so that it is exact with ties.
    """
    pool = [*new, *old]
    split = [set(chosen) for chosen in combinations(range(len(pool)), len(new))]

    def worse(mine: set[int]) -> float:
        theirs = [pool[i] for i in range(len(pool)) if i not in mine]
        return sum((pool[i] > other) + (pool[i] == other) / 2 for i in mine for other in theirs)

    found = worse(set(range(len(new))))
    return sum(worse(mine) <= found for mine in split) / len(split)


def text_of(attempt: Attempt) -> str:
    """The file of an attempt."""
    return json.dumps(attempt.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def write(record: RaceRecord, folder: Path) -> Path:
    """Write a record where it belongs, and return where that is.

    :raises UserError: if it does not follow the records that are there: another was set while it ran.
    """
    every = records(record.track, folder)
    if _unchained(record, every):
        raise UserError(
            f"record {len(every)} of {record.track} was set while this ran, so nothing was written: run against it"
        )
    path = folder / record.track / f"{record.number}-{record.entry.name}.json"
    files.write_text(path, text_of(record))
    return path


def read(path: Path) -> RaceRecord:
    """The record in a file.

    :raises UserError: in one line, if it is none, or does not follow from its own raw numbers.
    """
    try:
        if not path.is_file():
            raise UserError(f"no record {shown(path)}")
        if path.stat().st_size > LARGEST_MB * 1e6:
            raise ValueError(f"a record has {LARGEST_MB} MB at most")
        record = RaceRecord.parse(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise _no_record(path, f"{where}: {said}" if where else said) from error
    except (OSError, ValueError) as error:
        raise _no_record(path, str(error)) from error
    return record


def _no_record(path: Path, why: str) -> UserError:
    return UserError(f"{shown(path)} is not a record: {one_line(why)[:300]}")


def records(track: str, folder: Path) -> list[RaceRecord]:
    """The records of a track, in order.

    :raises UserError: for a file that is none, or is under a name that is not its own.
    """
    track_of(track)
    found: list[tuple[Path, RaceRecord]] = []
    for path in sorted((folder / track).glob("*.json")):
        record = read(path)
        if (record.track, f"{record.number}-{record.entry.name}") != (track, path.stem):
            raise _no_record(path, f"it is number {record.number} of {record.track}, by {record.entry.name}")
        found.append((path, record))
    every: list[RaceRecord] = []
    for path, record in sorted(found, key=lambda one: one[1].number):
        if (why := _unchained(record, every)) is not None:
            raise _no_record(path, why)
        every.append(record)
    return every


def _unchained(record: RaceRecord, earlier: list[RaceRecord]) -> str | None:
    """What is wrong with a record's number, or with its rival: that must be the last entry by the record's rules."""
    if record.number != len(earlier) + 1:
        return f"it is number {record.number}, and number {len(earlier) + 1} comes next"
    alike = [other for other in earlier if other.rules == record.rules]
    before, rival = (alike[-1] if alike else None), record.against
    if before is None:
        return None if rival is None else f"it was run against {rival.name}, and there was no record by its rules then"
    if rival is None or (rival.runner, rival.settings) != (before.entry.runner, before.entry.settings):
        return f"it was not run against record {before.number}, which was the present one then"
    return None


def present(every: list[RaceRecord]) -> RaceRecord | None:
    """The record that stands: the last one by the rules of today."""
    by_rules = [record for record in every if of_today(record)]
    return by_rules[-1] if by_rules else None


def of_today(record: RaceRecord) -> bool:
    """Whether a record was made by the rules as they are, and by the judge and the data that are pinned now."""
    track, judge = TRACKS.get(record.track), pinned(DATASET)
    return track is not None and judge is not None and record.rules == rules_of(track, N, judge, DATASET_SHA256)


def where(given: Path, folder: Path) -> Path:
    """The file that a user means: a path, ``<track>/<number>``, or ``<track>/<number>-<entry>``.

    :raises UserError: naming the records that there are, if there is none.
    """
    if given.is_file():
        return given
    if meant := re.fullmatch(r"[a-z0-9-]+/\d+(-[a-z0-9-]+)?", given.as_posix()):
        pattern = f"{meant[0]}.json" if meant[1] else f"{meant[0]}-*.json"
        if found := sorted(folder.glob(pattern)):
            return found[0]
    there = [path.relative_to(folder).with_suffix("").as_posix() for path in sorted(folder.glob("*/*.json"))]
    raise UserError(f"no record {given} (there are: {listing(there)})")
