"""How much memory there is for what runs here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def memory_bytes(root: Path = Path("/")) -> int:
    """The machine's memory, or less where a container or a cluster lets this process have less (a Linux cgroup).

    :param root: where the system's files lie.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _limits(root):
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            found.append(int(file.read_text()))
    return min(found)


def _limits(root: Path) -> Iterator[Path]:
    """The files that may hold a limit: of this process's group, and of every group around it.

    In a container, the group that has a name outside is often the outermost one. So all are looked at.
    """
    lines: list[str] = []
    with suppress(OSError):
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if not kinds:  # version 2
            folder, name = root / "sys" / "fs" / "cgroup", "memory.max"
        elif "memory" in kinds.split(","):  # version 1
            folder, name = root / "sys" / "fs" / "cgroup" / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = PurePosixPath(group.lstrip("/"))
        yield from (folder / each / name for each in (own, *own.parents))
