"""Processes that are killed at random moments, on any executor."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perf.chaos.lab import Found, Lab, Run

COMMAND = "the command"
"""The role of the command that a user has started."""


def kill(pid: int, number: signal.Signals, what: str, found: Found) -> None:
    """Send a signal, and count it."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        found.faults[f"{number.name} to {what}"] += 1


def sigkill(pid: int, role: str, found: Found) -> None:
    """Kill a process, and count it."""
    kill(pid, signal.SIGKILL, role, found)


@dataclass(frozen=True)
class Role:
    """Processes that may be killed.

    ``weight``: how often, compared to other roles. ``there``: those of a run. ``end``: what kills one of them.
    """

    weight: int
    there: Callable[[Run], list[int]]
    end: Callable[[int, str, Found], None] = sigkill


@dataclass(frozen=True)
class Killing:
    """Who is killed, and what must follow.

    ``every_s``: mean seconds between two kills. ``a_round``: kills in one results folder. ``gone``: waits until nothing
    is left that must be gone, and gives the seconds. It is told of the run, and of the processes that were there before
    the command was killed, by role (of none after a run that has ended by itself).
    """

    roles: Mapping[str, Role]
    every_s: float
    a_round: int
    gone: Callable[[Run, Mapping[str, list[int]]], float]


def killed(lab: Lab, found: Found, rng: random.Random, killing: Killing, kills: int) -> None:
    """SIGKILL at random moments, in as many results folders as that takes."""
    while (left := kills - sum(found.faults.values())) > 0:
        results = lab.folder()
        runs = [*_disturbed(lab, results, found, rng, killing, min(killing.a_round, left))]
        lab.finish(results, found, runs)
        shutil.rmtree(results)


def _disturbed(
    lab: Lab, results: Path, found: Found, rng: random.Random, killing: Killing, kills: int
) -> Iterator[Run]:
    """The runs of a folder, until the study is done or so many processes were killed."""
    run = lab.begin(results)
    until = sum(found.faults.values()) + kills
    while sum(found.faults.values()) < until:
        (name,) = rng.choices([*killing.roles], [role.weight for role in killing.roles.values()])
        while not killing.roles[name].there(run) and not run.over():
            time.sleep(0.05)  # else a slow machine would hardly ever have a job to kill
        time.sleep(rng.expovariate(1 / killing.every_s))
        if run.over():
            break
        there = {one: role.there(run) for one, role in killing.roles.items()}
        if not there[name]:
            continue
        killing.roles[name].end(rng.choice(there[name]), name, found)
        if name == COMMAND:
            run.wait()
            found.gone_s = max(found.gone_s, killing.gone(run, there))
            yield run
            run = lab.begin(results)
    if run.wait() is None:
        found.wrong.append(f"{results.name}: a run did not end")
    found.gone_s = max(found.gone_s, killing.gone(run, {}))
    yield run


def the_command(run: Run) -> list[int]:
    """The process that a user has started."""
    return [run.pid]
