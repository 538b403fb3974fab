"""Running a record again: whether its times, its quality and its samples hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bench.machine.environment import Environment
from bench.race.contest import Contest
from bench.race.entries import Racer
from bench.race.records import Attempt, RaceRecord

BYTES = ("processor", "threads", "gpu", "driver", "cuda", "system", "python", "torch", "code", "packages")
"""What the bytes of samples may depend on. The commit is no part: a record's own comes after the one that it names."""


class Finding(NamedTuple):
    """A line on what was found; ``holds`` is None where it cannot be told."""

    text: str
    holds: bool | None


def contest_of(record: RaceRecord, present: RaceRecord | None) -> Contest:
    """The record's entry with its own seeds, in turn with the present record, or with the one that it was run against
    where it is the present one itself.
    """
    own = Racer.of(record.entry)
    rival = record.against if present is None or present == record else present.entry
    racers = (own,) if rival is None or Racer.of(rival) == own else (own, Racer.of(rival))
    seeds = tuple(run.seed for run in record.entry.runs)
    return Contest(record.track, record.number, racers, seeds, record.rules.n, "verify")


def findings(record: RaceRecord, again: Attempt) -> Iterator[Finding]:
    """What running a record again has shown.

    :param again: by :func:`contest_of`.
    """
    yield from _times(record, again)
    yield from _quality(record, again)
    yield _samples(record, again)


def _times(record: RaceRecord, again: Attempt) -> Iterator[Finding]:
    here, there = again.entry.median_s, record.entry.median_s
    yield Finding(f"training: {here:.1f} s here, {there:.1f} s in the record (medians)", None)
    if again.against is None:
        return
    ratio = again.entry.median_s / again.against.median_s
    text = f"against {again.against.name}: {ratio:.3f} of its time here, p = {again.p:.3g}"
    same = record.against is not None and Racer.of(again.against) == Racer.of(record.against)
    if not same or record.against is None:
        yield Finding(text, None)
        return
    then = record.entry.median_s / record.against.median_s
    surely = again.p is not None and again.p < record.rules.p
    yield Finding(f"{text}; {then:.3f} in the record", False if ratio >= 1 else True if surely else None)


def _quality(record: RaceRecord, again: Attempt) -> Iterator[Finding]:
    for metric, bound in record.rules.bounds.items():
        median = again.entry.median(metric)
        text = f"{metric}: {median:.3g} here, {record.entry.median(metric):.3g} in the record, at most {bound:g}"
        yield Finding(text, median <= bound)
    missed = sum(bool(record.rules.missed(run)) for run in again.entry.runs)
    may = record.rules.misses
    yield Finding(f"{missed} of {len(again.entry.runs)} runs miss the target, and {may} may", missed <= may)


def _samples(record: RaceRecord, again: Attempt) -> Finding:
    pairs = zip(record.entry.runs, again.entry.runs, strict=True)
    equal = sum(one.samples_sha256 == other.samples_sha256 for one, other in pairs)
    text = f"samples: the same bytes in {equal} of {len(again.entry.runs)} runs"
    differs = [name for name in BYTES if _of(record.environment, name) != _of(again.environment, name)]
    if record.entry.software != again.entry.software:
        differs.append("software")
    if (record.rules.judge, record.rules.dataset_sha256) != (again.rules.judge, again.rules.dataset_sha256):
        differs.append("judge or data")
    if differs:
        return Finding(f"{text}; they need not be, as {', '.join(differs)} differ", None)
    return Finding(text, equal == len(again.entry.runs))


def _of(environment: Environment, name: str) -> object:
    return getattr(environment, name)
