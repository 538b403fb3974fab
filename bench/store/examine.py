"""Looking at every file of a results folder, whole: what is damaged, and what running its study again makes anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.store import seals
from bench.store.lookup import RECORDS
from bench.store.records import Record
from bench.store.store import Store
from bench.store.tensors import About, Checkpoint, ReferenceFeatures, Resume, Snapshot


class Damaged(NamedTuple):
    """A damaged file, and what running its study again does once the file is deleted."""

    path: Path
    mended: str


class _Kind(NamedTuple):
    pattern: str
    read: Callable[[Store, Path], object]
    mended: str


def _record(kind: type[Record]) -> _Kind:
    """How records of a kind are read."""
    return _Kind(f"{kind.kind}/*.json", lambda store, path: store.read(kind, path.stem), MENDED[kind.kind])


def _tensors(kind: type[About]) -> _Kind:
    """How tensors of a kind are read."""
    return _Kind(
        f"{kind.kind}/*.safetensors", lambda store, path: store.load_tensors(kind, path.stem), MENDED[kind.kind]
    )


TRAINED = "the network is trained again, if a cell of it is left to do. Finished cells need no network"
DRAWN = "it is drawn again, if its cell is left to do. Delete the cell's .json too to have that"
MENDED = {
    "jobs": TRAINED,
    "checkpoints": TRAINED,
    "snapshots": TRAINED,
    "resume": "training starts from its first epoch",
    "cells": "the cell is scored again, and drawn again where its samples are gone too",
    "references": "floor and ceiling are scored again",
    "scoring": "training images are looked at again",
    "engines": "engines are tried again",
    "workers": "`--workers auto` goes by the study's finished jobs, or tries again",
    "classifiers": "it is trained again, and what it scored is scored again if its bytes are others then",
}
"""Folder → what running a study again does where a file of it was deleted."""
TENSORS: tuple[type[About], ...] = (Checkpoint, Snapshot, Resume, ReferenceFeatures)
KINDS = (
    *(_record(kind) for kind in RECORDS),
    *(_tensors(kind) for kind in TENSORS),
    _Kind("classifiers/*.safetensors", lambda _, path: path if seals.whole(path) else None, MENDED["classifiers"]),
    _Kind("cells/*.png", lambda store, path: store.picture(path.stem), DRAWN),
    _Kind("samples/*.npz", lambda store, path: store.load_samples(path.stem), DRAWN),
)
"""Every kind of file that a store has, how it is read whole, and what running again does without it."""


def examine(store: Store) -> Iterator[Damaged | None]:
    """Each file in turn: what is wrong with it, or None where it is whole."""
    for kind in KINDS:
        for path in sorted(store.root.glob(kind.pattern)):
            whole = path.is_file() and kind.read(store, path) is not None
            yield None if whole else Damaged(path, kind.mended)
