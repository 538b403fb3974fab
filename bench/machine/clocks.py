"""Clocks that fit a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Started, then stopped: the seconds between, with the device's queue empty at both ends."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """Seconds since :meth:`start`."""


class HostClock:
    """``perf_counter`` around a synchronised device: for the CPU (nothing to wait for) and for MPS."""

    def __init__(
        self,
        synchronise: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._synchronise, self._now = synchronise, now

    def start(self) -> None:
        """Begin once the device is idle."""
        self._synchronise()
        self._begin = self._now()

    def stop(self) -> float:
        """Seconds until the device is idle again."""
        self._synchronise()
        return self._now() - self._begin


class CudaClock:
    """CUDA events on the current stream, so that host work before the first kernel is not counted."""

    def __init__(self, event: Callable[[], Any] | None = None) -> None:
        self._event = event or (lambda: torch.cuda.Event(enable_timing=True))

    def start(self) -> None:
        """Record the first event."""
        self._begin = self._event()
        self._begin.record()

    def stop(self) -> float:
        """Record the second, wait for it, and take the difference (events count milliseconds)."""
        end = self._event()
        end.record()
        end.synchronize()
        return float(self._begin.elapsed_time(end)) / 1000


CLOCKS: dict[str, Callable[[], Clock]] = {
    "cpu": HostClock,
    "cuda": CudaClock,
    "mps": lambda: HostClock(torch.mps.synchronize),
}


def make_clock(device: torch.device) -> Clock:
    """The clock that fits the device."""
    return CLOCKS[device.type]()
