"""Ending with the process that asked for this one. Nothing here imports torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

GRACE_S = 2.0


def end_with_parent() -> None:
    """Have this process, and what it started, end when the process that asked for it is gone, whatever it is at.

    It is asked politely first. A process without such a parent is left alone.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    os.setpgid(0, 0)  # so that compilers and the like can be ended with it

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
