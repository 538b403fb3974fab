"""The hash of each classifier that a results folder has trained, kept beside it as ``classifiers/<name>.sha256``.

Such a classifier is pinned by nothing else: a changed one would score under a new hash, and nobody would know why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bench.store.store import Store


def whole(path: Path) -> bool:
    """Whether a classifier is what was sealed; one without a seal is."""
    sealed = _sealed(path)
    return sealed is None or sealed == _hash(path)


def mend(store: Store) -> None:
    """Remove classifiers that are not what was sealed, which are noted as damaged: they are trained again."""
    for seal in sorted((store.root / "classifiers").glob("*.sha256")):
        path = seal.with_suffix(".safetensors")
        with _alone(path, store) as alone:
            if alone and not (path.is_file() and whole(path)):
                if path.exists():
                    store.note(path)
                path.unlink(missing_ok=True)
                seal.unlink(missing_ok=True)


def seal(store: Store) -> None:
    """Keep the hash of each classifier that has none yet."""
    for path in sorted((store.root / "classifiers").glob("*.safetensors")):
        with _alone(path, store) as alone:
            if alone and path.is_file() and _sealed(path) is None:
                store.write_bytes(path.with_suffix(".sha256"), f"{_hash(path)}\n".encode())


@contextmanager
def _alone(path: Path, store: Store) -> Iterator[bool]:
    """Whether nobody trains that classifier meanwhile, and it may be written."""
    lock = FileLock(store.path("locks", f"classifier-{path.stem}", ".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):  # a folder that may only be read
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _sealed(path: Path) -> str | None:
    try:
        return path.with_suffix(".sha256").read_text().strip()
    except (OSError, ValueError):
        return None


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
