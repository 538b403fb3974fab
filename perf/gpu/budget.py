"""How long a section may take, and how much of a measurement fits into that."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

AGAIN_S = 0.1
"""How soon to look again whether an import is done."""


class OutOfTime(BaseException):
    """The time of a section is over. Not an ``Exception``, so that no library on the way takes it for a failure."""


class NoTimeError(Exception):
    """A measurement does not fit into the time that is left; the message says how long it would take."""


@dataclass(frozen=True)
class Budget:
    """The time until a moment of a monotonic clock, in seconds."""

    until: float
    now: Callable[[], float] = time.monotonic

    def left(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self.until - self.now())

    def fits(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return seconds <= self.left()

    def need(self, seconds: float, what: str) -> None:
        """Go on only if ``what`` fits.

        :raises NoTimeError: if it does not.
        """
        if not self.fits(seconds):
            raise NoTimeError(f"no time: {what} would take about {_s(seconds)}, and {_s(self.left())} are left")


def _s(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def scale(once_s: float, most: int, allowed_s: float, least: int = 1) -> int:
    """How many of something fit into a time, one taking ``once_s``: ``least`` to ``most``."""
    return max(least, min(most, int(allowed_s / max(once_s, 1e-9))))


def importing(frame: FrameType | None) -> bool:
    """Whether the frame, or one of those that called it, is an import."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer than that. Outside the main thread, where no signal arrives, it does nothing.

    An import is waited for: one that is broken off leaves half a module behind, for all that comes after.

    :raises OutOfTime: inside the block, when the time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if importing(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
            return
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
