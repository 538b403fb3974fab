"""Running entries in turn, and what comes of it. Every finished run is kept, so that a race may be cut off."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from bench import files
from bench.errors import UserError
from bench.machine.environment import Environment
from bench.machine.sources import bytes_hash
from bench.race.entries import RUNNERS, Racer
from bench.race.records import Attempt, Done, Side, rules_of
from bench.race.rules import in_turn, track_of
from bench.race.seeds import digest_of

CPUS = Path("/sys/devices/system/cpu")
"""Where Linux tells which CPUs are threads of one core."""


@dataclass(frozen=True)
class Contest:
    """What is to be run: the entry first, then what it is run against, if anything, each with every seed.

    ``purpose``: runs for one purpose are not taken for another.
    """

    track: str
    number: int
    racers: tuple[Racer, ...]
    seeds: tuple[int, ...]
    n: int
    purpose: Literal["attempt", "calibrate", "verify"] = "attempt"

    def turns(self) -> Iterator[tuple[int, int]]:
        """(racer, index of the seed) in the order of running."""
        return in_turn(len(self.racers), len(self.seeds))

    def folder(self, base: Path) -> Path:
        """Where its runs are kept: the same contest by the same code and versions on one machine has one folder.

        What an entry is called makes no other.
        """
        about = [self.purpose, self.track, self.number, self.seeds, self.n, _here(self.racers)]
        each = [[racer.runner, dict(racer.settings)] for racer in self.racers]
        return base / f"{self.purpose}-{self.track}-{digest_of([about, each])[:12]}"


class Turn(NamedTuple):
    """A run that is done: which of how many, whose, and whether it was done before. ``place`` is among the racers."""

    number: int
    of: int
    place: int
    racer: Racer
    done: Done
    kept: bool


def _here(racers: Iterable[Racer]) -> list[object]:
    """What runs must have in common to belong together: the machine, versions, and every file of the code."""
    import torch

    from bench.machine.provenance import machine_id
    from bench.rows import installed

    code = [bytes_hash(), *(bytes_hash(folder) for racer in racers for folder in RUNNERS[racer.runner].code)]
    versions = [str(torch.__version__), platform.python_version(), installed()]
    return [machine_id(), *versions, *code, uncommitted()]


def run(contest: Contest, runs: Path, results: Path) -> Iterator[Turn]:
    """Do what is missing of a contest, yielding each run, those done before too.

    A run that comes after a new one is new as well, so that all are in turn.

    :param runs: the folder where finished runs are kept.
    :param results: the results folder that all contests share: what scoring needs once is made once.
    :raises UserError: if a run fails, is of another machine or version than another, or cannot be written; or if the
        code changed while it ran.
    """
    turns, state = list(contest.turns()), _here(contest.racers)
    files.check_writable(runs)
    every: list[Done] = []
    kept = True
    for number, (place, index) in enumerate(turns, 1):
        racer, seed = contest.racers[place], contest.seeds[index]
        path = runs / f"{place}-{index}.json"
        done = _kept(path, seed) if kept else None
        kept = done is not None
        if done is None:
            done = _begun(path, partial(racer.run, seed, contest.track, contest.n, results))
            if _here(contest.racers) != state:
                raise UserError("the code or a version changed during a run: the same command begins the race anew")
            files.write_text(path, json.dumps(done.model_dump(mode="json"), indent=1) + "\n")
        every.append(done)
        _check_alike(every)
        yield Turn(number, len(turns), place, racer, done, kept)


def _kept(path: Path, seed: int) -> Done | None:
    """A run that was done before, if its file is whole."""
    try:
        done = Done.parse(path.read_bytes())
    except (OSError, ValueError):
        return None
    return done if done.run.seed == seed else None


def _begun(path: Path, run: Callable[[], Done]) -> Done:
    """A run that is made now, with the time when it began and how often it was started: a file's length is that."""
    with files.explained(path.parent), path.with_suffix(".starts").open("a") as starts:
        starts.write("x")
    began, done = datetime.now(UTC), run()
    about = {"began": began, "starts": path.with_suffix(".starts").stat().st_size}
    return done.model_copy(update={"run": done.run.model_copy(update=about)})


def _check_alike(every: list[Done]) -> None:
    kinds = [kind(one.environment) for one in every]
    judges = [one.provenance for one in every if one.provenance is not None]
    if any(one != kinds[0] for one in kinds) or any(one != judges[0] for one in judges):
        raise UserError("these runs are of several machines or versions: use another --work folder, and run all again")


def attempt(contest: Contest, turns: Iterable[Turn]) -> Attempt:
    """What came of a contest whose turns are all done.

    :raises UserError: if the runs are of several machines, versions or judges, or all of them diverged.
    """
    every: list[list[Done]] = [[] for _ in contest.racers]
    for turn in turns:
        every[turn.place].append(turn.done)
    sides = [_side(racer, done) for racer, done in zip(contest.racers, every, strict=True)]
    flat = [one for done in every for one in done]
    _check_alike(flat)
    judged = next((one.provenance for one in flat if one.provenance is not None), None)
    if judged is None:
        raise UserError(f"every run diverged: {flat[0].run.diverged}")
    dirty = any(one.environment.dirty for one in flat) or uncommitted()
    return Attempt(
        track=contest.track,
        number=contest.number,
        entry=sides[0],
        against=sides[1] if len(sides) > 1 else None,
        rules=rules_of(track_of(contest.track), contest.n, judged.classifier, judged.dataset_sha256),
        environment=flat[0].environment.model_copy(update={"dirty": dirty}),
        created=datetime.now(UTC).replace(microsecond=0),
    )


def _side(racer: Racer, done: list[Done]) -> Side:
    code = RUNNERS[racer.runner].code
    found = [one.software for one in done if one.software is not None]
    if any(software != found[0] for software in found):
        raise UserError(
            f"the runs of {racer.name} had different software: use another --work folder, and run all again"
        )
    return Side(
        name=racer.name,
        who=racer.who,
        runner=racer.runner,
        settings=dict(racer.settings),
        software=(found[0] if found else {}) | ({"code of the runner": bytes_hash(*code)[:12]} if code else {}),
        runs=tuple(one.run for one in done),
    )


def kind(environment: Environment) -> tuple[object, ...]:
    """What a duration depends on: the machine, the versions and the code, but not the commit's name."""
    return tuple(value for name, value in environment.model_dump().items() if name not in ("commit", "dirty"))


@contextmanager
def alone() -> Iterator[None]:
    """Keep other races off this machine: their times would be wrong, and so would these.

    :raises UserError: if one is being run.
    """
    name = hashlib.sha256(str(Path.home()).encode()).hexdigest()[:8]  # one for each user
    lock = FileLock(Path(tempfile.gettempdir()) / f"ddpm-bench-race-{name}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise UserError("another race is being run on this machine: wait until it is done") from error


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Hold this process, and those that it starts, to one CPU of so many cores, where the system can.

    :raises UserError: if it may not use as many: two CPUs of one core are not two cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    cores = a_core_each(before, CPUS)
    if len(cores) < count:
        raise UserError(f"the track needs {count} CPU cores, and this process may use {len(cores)}")
    os.sched_setaffinity(0, cores[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def a_core_each(cpus: Iterable[int], system: Path) -> list[int]:
    """The lowest of these CPUs on each core. One of which the system says nothing counts as a core."""
    found: dict[str, int] = {}
    for cpu in sorted(cpus):
        try:
            core = (system / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="utf-8")
        except OSError:
            core = f"{cpu} alone"
        found.setdefault(core, cpu)
    return list(found.values())


def uncommitted() -> bool:
    """Whether the code here differs from its commit, or git cannot say: a record would name a commit it is not of."""
    from bench.machine.provenance import git

    state = git("status", "--porcelain", "--branch", "--", "ddpm", "bench", "perf")  # its first line names the branch
    return state is None or "\n" in state
