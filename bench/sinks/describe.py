"""Events in words."""

from __future__ import annotations

from typing import assert_never

from bench.job.events import (
    CellDone,
    Damaged,
    Drawn,
    Elsewhere,
    Ended,
    Entered,
    EpochDone,
    Event,
    Failed,
    JobDone,
    Kept,
    Outdated,
    Planned,
    Preparing,
    Refused,
    Resumed,
    Started,
    Stepped,
    Stopped,
    Waiting,
)


def describe(event: Event) -> str | None:
    """The plain line for an event, or None for those that only a live display shows."""
    match event:
        case Planned() | Entered() | Preparing() | Stepped() | Drawn() | Ended():
            return None
        case Waiting():
            return f"another run on this machine is using {event.path}; waiting for it to end (Ctrl-C to stop)"
        case Damaged():
            return f"damaged file, made again: {event.path}"
        case CellDone():
            return f"{event.job[:8]} {event.way}: {_cell(event)}"
        case _:
            return f"{event.label}: {_job(event)}"


def _cell(event: CellDone) -> str:
    if event.status == "failed":
        return f"FAILED: {event.reason}"
    return f"FID {event.metrics['fid']:.2f}" if "fid" in event.metrics else "done"


def _job(
    event: Started | Kept | Resumed | Outdated | EpochDone | Elsewhere | JobDone | Refused | Failed | Stopped,
) -> str:
    match event:
        case Started():
            return "started" if event.left is None else f"started ({event.left} more jobs to go)"
        case Kept():
            return f"{event.what} was done already"
        case Resumed():
            return f"resumed after epoch {event.epoch}"
        case Outdated():
            return "trained from the start: the code has changed since the epochs that were done"
        case EpochDone():
            where = f"epoch {event.epoch}/{event.of} in {event.seconds:.1f} s"
            return f"{where}, held-out ε MSE {event.eps_mse:.4f}"
        case Elsewhere():
            return "another process is at work on it; leaving it to that one"
        case JobDone():
            return (
                "done by another process" if event.overhead is None else f"done, harness overhead {event.overhead:.1%}"
            )
        case Refused() | Failed():
            return f"FAILED: {event.reason}"
        case Stopped():
            return "stopped; it goes on from there when run again"
        case _:
            assert_never(event)


def doing(event: Event) -> str | None:
    """What a job is at from this event on, or None where the event does not say."""
    match event:
        case Started():
            return "starting"
        case Entered():
            return event.stage
        case Preparing():
            return f"{event.what}, {event.share:.0%}"
        case Stepped():
            return f"training, epoch {event.epoch}/{event.of}, {event.share:.0%}, loss {event.loss:.4g}"
        case EpochDone():
            return f"training, epoch {event.epoch}/{event.of} done"
        case Drawn():
            return f"sampling, {event.way}, {event.share:.0%}"
    return None


def progress(event: Event) -> float | None:
    """Which share of a training run, or of a cell's samples, is done; None where the event does not say."""
    match event:
        case Stepped():
            return (event.epoch - 1 + event.share) / event.of
        case EpochDone():
            return event.epoch / event.of
        case Drawn():
            return event.share
    return None
