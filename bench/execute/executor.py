"""The seam between a study and whatever runs its jobs: an executor is a class here and a row of :data:`EXECUTORS`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.execute.schedule import Options, Stop
from bench.job.events import Event
from bench.job.spec import JobSpec


class Executor(Protocol):
    """Runs jobs somewhere.

    It is made of :class:`bench.execute.schedule.Options` and the results folder. What cannot work with these options
    is a :class:`bench.errors.UserError` then, before anything is written.
    """

    def run(self, specs: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """Run the jobs and pass on what they say, each job's events in order.

        The next of ``specs`` is asked for when there is room for it, and not before: it is worked out from the results
        so far. A queue has room for all of them. Each job that is started ends with exactly one of
        :data:`bench.job.events.JobEnd`; what one job raises is its own end, and ends no other. Closing the iterator
        ends the jobs, as does ``stop``, which leaves a :class:`bench.job.events.Stopped` for each; either way they can
        be gone on from.
        """
        ...


@dataclass(frozen=True)
class Place:
    """A row of :data:`EXECUTORS`.

    ``here``: whether jobs run on the machine of the command, so that its devices and cores are theirs.
    ``several``: whether they can run at once there.
    ``queue``: what the jobs of a results folder are at that nobody need be watching, in a line; None if there are none.
    """

    make: Callable[[Options, Path], Executor]
    here: bool = True
    several: bool = True
    queue: Callable[[Path], str | None] | None = None


def local(options: Options, results: Path) -> Executor:
    """A process for each job, on this machine."""
    from bench.execute.local import Local

    return Local(options, results)


def inline(options: Options, results: Path) -> Executor:
    """One job after the other, in this process."""
    from bench.execute.inline import Inline

    return Inline(options, results)


def slurm(options: Options, results: Path) -> Executor:
    """Job arrays of a Slurm cluster, by way of submitit."""
    from bench.execute.slurm import Slurm

    return Slurm(options, results)


def ray(options: Options, results: Path) -> Executor:
    """Tasks of a Ray cluster, which need share no folder."""
    from bench.execute.ray import Ray

    return Ray(options, results)


def slurm_queue(results: Path) -> str | None:
    """What Slurm has of the jobs of a results folder."""
    from bench.execute.slurm_queue import describe

    return describe(results)


EXECUTORS: dict[str, Place] = {
    "local": Place(local),
    "inline": Place(inline, several=False),
    "ray": Place(ray, here=False),
    "slurm": Place(slurm, here=False, queue=slurm_queue),
}
"""Where jobs can run. Each imports what it needs when it is chosen, so that a plan need not wait for it."""
