"""Ending with the process that asked for this one. Nothing here imports torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait

GRACE_S = 2.0
LOOK_S = 1.0


def end_with_parent() -> None:
    """Have this process, and what it started, end when the process that asked for it is gone, whatever it is at.

    It is asked politely first. A process without such a parent is left alone.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    os.setpgid(0, 0)  # so that compilers and the like can be ended with it
    if sys.platform == "linux":
        _look_after(parent.sentinel)
    else:
        _end_after(parent.join)


def end_with_owner() -> None:
    """The same for a process that another program has started: it ends when it belongs to somebody else."""
    owner = os.getppid()

    def gone() -> None:
        while os.getppid() == owner:
            time.sleep(LOOK_S)

    _end_after(gone)


def _end_after(gone: Callable[[], object]) -> None:
    """End this process and its group once that returns."""

    def watch() -> None:
        gone()
        _end(os.getpid(), os.getpgrp())

    threading.Thread(target=watch, daemon=True).start()


def _look_after(parent: int) -> None:
    """Have a small process of its own end this one when its parent is gone.

    A thread could not where a signal has stopped this process, nor while a library keeps the interpreter's lock.
    """
    job = os.getpid()
    ours = os.pipe()[0]  # the other end stays open as long as this process lives
    if os.fork():
        os.close(ours)
        return
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        low, high = sorted((ours, parent))
        for first, last in ((0, low), (low + 1, high), (high + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(first, last)
        if ours not in wait([ours, parent]):
            _end(job, job)
    finally:
        os._exit(0)


def _end(job: int, group: int) -> None:
    """End a process, also one that a signal has stopped, and then its group."""
    with suppress(ProcessLookupError):
        os.kill(job, signal.SIGTERM)
        os.kill(job, signal.SIGCONT)
    time.sleep(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
