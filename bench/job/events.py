"""What a job says while it runs."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]
BUSY = 75  # exit code: another process is at work on this job (sysexits.h EX_TEMPFAIL)
