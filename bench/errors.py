"""What a user sees when something is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: printed as one line, exit code 2, never a traceback."""


def unknown(kind: str, value: object, valid: Iterable[str]) -> UserError:
    """One line for a name that does not exist: one that is nearly the same, if there is one, and all that exist."""
    valid = list(valid)
    near = difflib.get_close_matches(str(value), valid, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{value}'{hint} (choices: {', '.join(valid)})")
