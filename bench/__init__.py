"""The harness around :mod:`ddpm`: studies, jobs, timing, scoring, results and reports."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where ``data/``, ``results/`` and ``reports/`` are unless told otherwise."""


class UserError(Exception):
    """A mistake the user can mend: printed as one line, exit code 2, never a traceback."""
