"""Where things are: in a checkout, its own folders; where the package is installed, the working directory.

What comes with the project (MNIST, baselines) is read from the checkout, or else from the package. Nothing is ever
written into an installed package.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CODE = PACKAGE.parent
"""The folder that the packages ``bench`` and ``ddpm`` are in."""


def checkout_of(code: Path) -> Path | None:
    """``code`` if it is a checkout of this project, else None: an installed package has no ``data/`` beside it."""
    return code if (code / "pyproject.toml").is_file() and (code / "data" / "mnist").is_dir() else None


CHECKOUT = checkout_of(CODE)
ROOT = CHECKOUT or Path()
"""Where ``data/``, ``results/`` and ``reports/`` are: the checkout, or else the working directory (a relative path)."""
SHIPPED = PACKAGE / "shipped"
"""What a wheel carries (``setup.py`` copies it there); a checkout has no such folder."""

DATA = ROOT / "data"
SHIPPED_DATA = CHECKOUT / "data" if CHECKOUT else SHIPPED / "data"

LOCAL = CHECKOUT / "results" / "local" if CHECKOUT else Path("results")
"""The results folder unless another is named."""
REFERENCE = CHECKOUT / "results" / "reference" if CHECKOUT else SHIPPED / "reference"
"""The results that come with the project. A wheel does not carry them: there this folder does not exist."""

BASELINES = ROOT / "results" / "baselines"
"""Where new baselines are written, and looked for first."""
SHIPPED_BASELINES = CHECKOUT / "results" / "baselines" if CHECKOUT else SHIPPED / "baselines"


def baseline(file: str) -> Path:
    """Where a baseline file is read: of one's own if there is one, else the one that comes with the project."""
    own = BASELINES / file
    return own if own.is_file() else SHIPPED_BASELINES / file


def reports_of(results: Path) -> Path:
    """Where the reports of a results folder go unless said otherwise.

    Those of the default folder go to ``reports/local`` in a checkout and to ``reports`` in the working directory
    elsewhere; those of the results that come with the project to ``reports``. Those of any other folder go inside it,
    so that two folders never share a report.
    """
    if results.resolve() == REFERENCE.resolve():
        return ROOT / "reports"
    if results.resolve() == LOCAL.resolve():
        return CHECKOUT / "reports" / "local" if CHECKOUT else Path("reports")
    return results / "reports"


def given(text: str | Path) -> Path:
    """A path that a user gives: ``~`` is the home folder, even where no shell has looked at it."""
    return Path(os.path.expanduser(text))


def shown(path: Path) -> str:
    """The path as a user would type it: relative where it is in the working directory."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def cache_dir() -> Path:
    """The user's own cache of this project: what can be made again at any time."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ddpm-bench"
