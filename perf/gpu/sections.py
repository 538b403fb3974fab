"""The sections in their order, and the run: each has a share of the time, and what fails or is late stops no other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import NamedTuple

from bench.job.failures import reason_of
from perf.gpu.budget import Budget, OutOfTime, limit
from perf.gpu.card import card
from perf.gpu.jobs import demo, quick
from perf.gpu.peers import peers
from perf.gpu.record import CUT, DONE, FAILED, NOT_REACHED, Row
from perf.gpu.sampling import sampling
from perf.gpu.scoring import scoring
from perf.gpu.session import Session
from perf.gpu.training import scorenet, unet

LEAST_S = 0.5
"""With less time than this left, a section is not begun."""


class Plan(NamedTuple):
    """What a section is called, what measures it, and its share of the time."""

    title: str
    measure: Callable[[Session], Generator[Row]]
    share: float


SECTIONS: dict[str, Plan] = {
    "card": Plan("The card", card, 0.04),
    "scorenet": Plan("An epoch of ScoreNet", scorenet, 0.18),
    "unet": Plan("A training step of the U-Net", unet, 0.28),
    "sampling": Plan("Sampling", sampling, 0.10),
    "quick": Plan("The study quick with one training seed, and the gate", quick, 0.18),
    "peers": Plan("Beside diffusers and denoising-diffusion-pytorch", peers, 0.08),
    "scoring": Plan("Scoring", scoring, 0.04),
    "demo": Plan("The demo's own two models", demo, 0.10),
}
"""The most valuable first. Time that a section leaves over is the next ones'."""


def deadlines(names: list[str], began: float, seconds: float, plans: Mapping[str, Plan]) -> dict[str, float]:
    """When each section must end: the shares of those before it and its own, of the whole time."""
    whole = sum(plans[name].share for name in names)
    done, found = 0.0, {}
    for name in names:
        done += plans[name].share / whole
        found[name] = began + done * seconds
    return found


def measure(
    session: Session, names: list[str], say: Callable[[str], None], plans: Mapping[str, Plan] = SECTIONS
) -> None:
    """Run the sections of these names in order, keeping every row at once, and say what comes of each."""
    now = session.budget.now
    ends = deadlines(names, now(), session.budget.left(), plans)
    for name in names:
        began = now()
        session.budget = Budget(ends[name], now)
        section = next(one for one in session.file.run.sections if one.name == name)
        if not session.budget.fits(LEAST_S):
            session.file.end(section, NOT_REACHED, "no time was left", 0.0)
            say(f"{name}: not reached, no time was left")
            continue
        say(f"{name}: {session.budget.left():.0f} s at most")
        session.file.begin(section, session.budget.left())
        status, reason = DONE, None
        try:
            with limit(session.budget.left()), closing(plans[name].measure(session)) as rows:
                for row in rows:
                    session.file.add(section, row)
                    say(line(row))
        except OutOfTime:
            status, reason = CUT, f"its time was over after {now() - began:.0f} s"
        except Exception as error:
            status, reason = FAILED, reason_of(error)[:300]
        session.clean()
        session.file.end(section, status, reason, now() - began)
        say(f"{name}: {status}{f' ({reason})' if reason else ''}, {now() - began:.1f} s")


SAID = (
    "rate", "epoch_s", "step_s", "images_per_s", "image_steps_per_s", "wall_s",
    "fid", "idle", "kernels", "peak_mb", "epochs", "value", "seconds",
)  # fmt: skip
"""Figures worth a word on the terminal."""


def line(row: Row) -> str:
    """A row for the terminal."""
    if row.status != DONE:
        return f"  {row.name}: {row.status} ({row.reason})"
    shown = [f"{name} {value:.4g}" for name in SAID if isinstance(value := row.found.get(name), float | int)]
    return f"  {row.name}: {', '.join(shown)}" if shown else f"  {row.name}"
