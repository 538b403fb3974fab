"""ddpm-bench from Python.

``run`` a study, read its ``results`` as a data frame, a cell's ``samples`` as an array, and its ``network`` as a module
that draws new ones. ``load`` takes an exported network too. Importing this package loads nothing else: the harness is
imported when one of these is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpm_bench.api import UserError, load, load_study, network, results, run, samples

__all__ = ["UserError", "load", "load_study", "network", "results", "run", "samples"]


def __getattr__(name: str) -> Any:
    """A public name, imported on first use.

    :raises ImportError: if another package called ``bench`` or ``ddpm`` hides this project's.
    """
    if name not in __all__:
        raise AttributeError(f"module 'ddpm_bench' has no attribute '{name}' (it has {', '.join(__all__)})")
    from ddpm_bench.packages import hidden

    if (why := hidden()) is not None:
        raise ImportError(why)
    from ddpm_bench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
