"""Running entries in turn, and what comes of it. Every finished run is kept, so that a race may be cut off."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from bench import files
from bench.errors import UserError
from bench.machine.environment import Environment
from bench.race.entries import Racer
from bench.race.records import Attempt, Done, Rules, Side
from bench.race.rules import RUNS, Track, track_of


@dataclass(frozen=True)
class Contest:
    """What is to be run: the entry first, then what it is run against, if anything, each with every seed.

    ``purpose``: runs for one purpose are not taken for another, so that nothing is verified by its own runs.
    """

    track: str
    number: int
    racers: tuple[Racer, ...]
    seeds: tuple[int, ...]
    n: int
    purpose: Literal["attempt", "calibrate", "verify"] = "attempt"

    def turns(self) -> Iterator[tuple[int, int]]:
        """(racer, index of the seed) in the order of running: A B, B A, A B, so that a slow drift favours neither."""
        for index in range(len(self.seeds)):
            places = range(len(self.racers))
            yield from ((place, index) for place in (reversed(places) if index % 2 else places))

    def folder(self, base: Path) -> Path:
        """Where its runs are kept: the same contest by the same code on the same machine has the same folder."""
        from bench.machine.provenance import machine_id
        from bench.machine.sources import code_hash

        here = [code_hash(), uncommitted(), machine_id()]
        about = [self.purpose, self.track, self.number, self.seeds, self.n, here]
        each = [[racer.name, racer.runner, dict(racer.settings)] for racer in self.racers]
        return base / f"{self.purpose}-{self.track}-{self.racers[0].name}-{_hash([about, each])[:12]}"


class Turn(NamedTuple):
    """A run that is done: which of how many, whose, and whether it was done before. ``place`` is among the racers."""

    number: int
    of: int
    place: int
    racer: Racer
    done: Done
    kept: bool


def seeds_of(track: str, number: int, racer: Racer, count: int = RUNS) -> tuple[int, ...]:
    """The seeds of a contest, which nobody chooses: they follow from track, record's number and configuration.

    So the same attempt has the same seeds, and cannot be made again until its luck is better.
    """
    digest = _hash([track, number, racer.runner, dict(racer.settings)])
    return tuple(int(hashlib.sha256(f"{digest} {i}".encode()).hexdigest()[:7], 16) for i in range(count))


def _hash(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def run(contest: Contest, base: Path, executor: str = "local") -> Iterator[Turn]:
    """Do what is missing of a contest, yielding each run, those done before too.

    :param base: where :meth:`Contest.folder` is, and the results folder that all contests share: what scoring needs
        once is made once.
    :raises UserError: if a run fails, or the folder cannot be written.
    """
    turns, runs = list(contest.turns()), contest.folder(base)
    files.check_writable(runs)
    for number, (place, index) in enumerate(turns, 1):
        racer, seed = contest.racers[place], contest.seeds[index]
        path = runs / f"{place}-{index}.json"
        done = _kept(path, seed)
        kept = done is not None
        if done is None:
            done = racer.run(seed, contest.track, contest.n, base / "results", executor)
            files.write_text(path, json.dumps(done.model_dump(mode="json"), indent=1) + "\n")
        yield Turn(number, len(turns), place, racer, done, kept)


def _kept(path: Path, seed: int) -> Done | None:
    """A run that was done before, if its file is whole."""
    try:
        done = Done.parse(path.read_bytes())
    except (OSError, ValueError):
        return None
    return done if done.run.seed == seed else None


def attempt(contest: Contest, turns: Iterable[Turn]) -> Attempt:
    """What came of a contest whose turns are all done.

    :raises UserError: if the runs are of several machines, versions or judges.
    """
    every: list[list[Done]] = [[] for _ in contest.racers]
    for turn in turns:
        every[turn.place].append(turn.done)
    sides = [_side(racer, done) for racer, done in zip(contest.racers, every, strict=True)]
    first, *others = [one for done in every for one in done]
    if any((kind(one.environment), one.provenance) != (kind(first.environment), first.provenance) for one in others):
        raise UserError("these runs are of several machines or versions: use another --work folder, and run all again")
    dirty = any(one.environment.dirty for one in (first, *others)) or uncommitted()
    return Attempt(
        track=contest.track,
        number=contest.number,
        entry=sides[0],
        against=sides[1] if len(sides) > 1 else None,
        rules=rules_of(track_of(contest.track), contest.n, first),
        environment=first.environment.model_copy(update={"dirty": dirty}),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def _side(racer: Racer, done: list[Done]) -> Side:
    software = {name: version for one in done for name, version in one.software.items()}
    return Side(
        name=racer.name,
        who=racer.who,
        runner=racer.runner,
        settings=dict(racer.settings),
        software=software,
        runs=tuple(one.run for one in done),
    )


def rules_of(track: Track, n: int, done: Done) -> Rules:
    """The rules of a track, with the judge and the data of a run."""
    judge, dataset = done.provenance.classifier, done.provenance.dataset_sha256
    return Rules(
        n=n,
        evaluations=track.evaluations,
        fid=track.fid,
        limits=dict(track.limits),
        judge=judge,
        dataset_sha256=dataset,
    )


def kind(environment: Environment) -> tuple[object, ...]:
    """What a duration depends on: the machine, the versions and the code, but not the commit's name."""
    return tuple(
        value for name, value in environment.model_dump().items() if name not in ("commit", "dirty", "packages")
    )


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Hold this process, and those that it starts, to so many CPU cores, where the system can.

    :raises UserError: if it may not use as many.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    if len(before) < count:
        raise UserError(f"the track needs {count} CPU cores, and this process may use {len(before)}")
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def uncommitted() -> bool:
    """Whether the code here differs from its commit, so that a record would name a commit that it is not of."""
    from bench.machine.provenance import git

    return bool(git("status", "--porcelain", "--", "ddpm", "bench", "perf"))
