"""Where things are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where ``data/``, ``results/`` and ``reports/`` are unless told otherwise."""

LOCAL = ROOT / "results" / "local"
REFERENCE = ROOT / "results" / "reference"


def cache_dir() -> Path:
    """The user's own cache of this project: what can be made again at any time."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ddpm-bench"
