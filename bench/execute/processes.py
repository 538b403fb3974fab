"""Where the processes of jobs come from: on Linux, forked from a server that has imported everything they need.

Importing torch takes seconds, which would otherwise be the largest part of what the harness adds to a job. The server
only ever imports and forks, so that each job still has a process of its own, with nothing of another job's in it.
Elsewhere forking is not safe, and each process starts from nothing. Importing this module is cheap.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from types import ModuleType

from bench.paths import CHECKOUT

if sys.platform == "linux":
    CONTEXT = multiprocessing.get_context("forkserver")
else:
    CONTEXT = multiprocessing.get_context("spawn")
PRELOAD = ["bench.execute.preload"]
SPINS = "20000"
"""How long an idle OpenMP thread spins before it sleeps. By default so long that a busy neighbour makes training
twenty times slower; this much costs nothing measurable (``doctor --speed`` with and without)."""
KEEP = "glibc.malloc.trim_threshold=4294967296:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.hugetlb=1"
"""What glibc is to do with freed memory: keep it, and in large pages. It would otherwise give activations back to the
system at every step and have them again as new pages, filled with zeros: 4 to 9% of an eager U-Net training step on
two quiet cores; on busy ones the noise is larger."""
VARIABLES = {"GOMP_SPINCOUNT": SPINS, "GLIBC_TUNABLES": KEEP}


def warm() -> None:
    """Start the server, unless it runs already, and do not wait for it."""
    if sys.platform == "linux":
        with environment():
            CONTEXT.set_forkserver_preload(PRELOAD)
            forkserver.ensure_running()


def start_again() -> None:
    """Have this process run with the variables too, which are read when a process starts: do it over, with them set."""
    if sys.platform == "linux" and not os.environ.keys() >= VARIABLES.keys():
        with environment():
            sys.stdout.flush()
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(os.environ))  # noqa: S606


@contextmanager
def environment() -> Iterator[None]:
    """The environment variables that processes are to start with: this checkout's code first, wherever they start.

    An installed package needs no such help: its processes find it where this one did. Nor do processes run this
    program's main script again, as multiprocessing would have it: a script that runs a study needs no guard.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    before = dict(os.environ)
    theirs = {name: before.get(name, value) for name, value in VARIABLES.items()}
    theirs["PYTHONSAFEPATH"] = "1"  # not what lies in the current directory
    if CHECKOUT is not None:
        theirs["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), before.get("PYTHONPATH")]))
    os.environ.update(theirs)
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name in theirs:
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]
