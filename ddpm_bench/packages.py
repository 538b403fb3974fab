"""Whether ``bench`` and ``ddpm`` are this project's, for others use these names too. Nothing is imported to tell."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
"""Where this project's packages are."""


def hidden() -> str | None:
    """One line on the first of this project's packages that another hides; None if there is none."""
    for name in ("bench", "ddpm"):
        spec = _spec(name)
        places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or [])]
        if not any(Path(place).resolve().is_relative_to(FOLDER / name) for place in places if place):
            where = next(filter(None, places), "nowhere")
            return f"ddpm-bench needs its own package '{name}', but here '{name}' is another one: {where}"
    return None


def _spec(name: str) -> ModuleSpec | None:
    if name in sys.modules:
        return sys.modules[name].__spec__
    try:
        return find_spec(name)
    except (ImportError, ValueError):
        return None
