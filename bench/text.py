"""Numbers and names in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f"  # controls but tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # direction
    "\u200b\u2028\u2029\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # nothing to see
    "\ud800-\udfff\ufffe\uffff]"  # no characters at all
)
"""Characters that nobody sees and that change how others are read: controls, marks of direction, half characters."""


def duration(seconds: float) -> str:
    """A duration a reader can take in: 45 s, 3.7 min, 2.1 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def visible(text: str) -> str:
    r"""The text with hidden characters as codes: a mark that turns the direction of text becomes ``\u202e``."""
    return _HIDDEN.sub(lambda found: rf"\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """The text, visible, with every run of white space as one space."""
    return re.sub(r"[ \t\r\n]+", " ", visible(text)).strip(" ")


def plural(count: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def listing(items: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "none"


def as_yaml(value: object) -> str:
    """A value as a study has it: ``true`` and ``null``, not ``True`` and ``None``."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
