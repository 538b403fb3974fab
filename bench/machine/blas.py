"""NumPy's matrix products by one thread, so that their last bits do not depend on the machine.

NumPy's BLAS has as many threads as there are cores, or as ``OMP_NUM_THREADS`` says. ``--threads`` is about torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")


@cache
def _libraries() -> ThreadpoolController:
    import numpy as np  # noqa: F401 (found is only what is loaded)

    return ThreadpoolController()


def by_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Have NumPy use one thread in this function. Threads of torch stay as they are."""

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
