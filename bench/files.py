"""Writing files: whole or not at all, and one line for the user when a disk fails."""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError


def write_bytes(path: Path, content: bytes, *, durable: bool = True, folder: Path | None = None) -> None:
    """Write a file, whole or not at all. Its folder is made if there is none.

    :param durable: whether to wait until it would outlive a power cut. Pictures need not: no result depends on one.
    :param folder: what to call the folder when that fails; the file's own by default.
    :raises UserError: if the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(temporary_name(path.name))
    with explained(folder or path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` of text in UTF-8."""
    write_bytes(path, text.encode())


def temporary_name(name: str) -> str:
    """A name beside ``name`` that no other writer has: hosts that share a folder may have the same process number."""
    host = re.sub(r"[^0-9A-Za-z-]", "", platform.node())[:40]
    return f".{name[:40]}.{host}.{os.getpid()}.{os.urandom(4).hex()}.tmp"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with a disk into one line for the user that names ``folder``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"disk full: cannot write to {folder}; free some space and run again") from error
        if error.strerror:
            raise UserError(f"cannot write to folder {folder}: {error.strerror}") from error
        raise


def check_writable(folder: Path, name: Path | None = None) -> None:
    """Make sure that ``folder`` can be written, before any work is done for it.

    :param name: what to call the folder when that fails.
    :raises UserError: if it cannot.
    """
    probe = folder / temporary_name("probe")
    write_bytes(probe, b"x" * 4096, folder=name)
    probe.unlink()


def check_replaceable(path: Path) -> None:
    """Make sure that a file can be written, before any work is done for it.

    :raises UserError: if it cannot.
    """
    if path.is_dir():
        raise UserError(f"cannot write to {path}: it is a folder")
    check_writable(path.parent)
