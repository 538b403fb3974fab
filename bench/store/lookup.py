"""Which results folder to read, and what a user means by a key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench import paths
from bench.errors import UserError
from bench.store.records import CellRecord, EngineRecord, JobRecord, Record, ReferenceRecord
from bench.store.splits import SplitRecord
from bench.store.store import Store
from bench.study import load as studies
from bench.study.model import Cell
from bench.study.study import Study

RECORDS: tuple[type[Record], ...] = (JobRecord, CellRecord, ReferenceRecord, EngineRecord, SplitRecord)
"""Every kind of record."""


def open_store(results: Path) -> Store:
    """A results folder, which need not be there yet.

    :raises UserError: if something in it is neither a file nor a folder. Reading a pipe would wait for ever.
    """
    for kind in RECORDS:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(results / kind.kind) as entries:
            for entry in entries:
                if entry.is_file() or entry.is_dir():
                    continue
                if os.path.exists(entry.path):
                    raise UserError(f"{paths.shown(Path(entry.path))} is no file but a pipe or a device: delete it")
    return Store(results)


def readable(results: Path | None, study: Study | None = None) -> Store:
    """The folder asked for; else the default one if it has anything of the study; else the one of the project.

    :raises UserError: if the folder asked for does not exist.
    """
    if results:
        if not results.is_dir():
            raise UserError(f"no results folder {results}")
        return open_store(results)
    local = open_store(paths.LOCAL)
    has = any((paths.LOCAL / "cells").glob("*.json")) if study is None else holds(local, study)
    return local if has or not paths.REFERENCE.is_dir() else Store(paths.REFERENCE)


def holds(store: Store, study: Study) -> bool:
    """Whether the folder has a record of any of the study's cells."""
    return any(store.path("cells", cell.key, ".json").exists() for cell in study.cells)


def need(store: Store, study: Study, name: str) -> None:
    """Refuse a folder with nothing of a study.

    :param name: what a user calls the study.
    :raises UserError: saying which command makes results.
    """
    if not holds(store, study):
        where = paths.shown(store.root)
        raise UserError(f"no results of {study.name} in {where}; `ddpm-bench run {name}` makes some")


def with_results(name: str | None, results: Path | None) -> Iterator[tuple[Study, Store]]:
    """The study of that name and where its results are; without a name every shipped one that has results.

    :raises UserError: for a study or a folder that does not exist.
    """
    if name:
        study = studies.load(name)
        yield study, readable(results, study)
        return
    for each in studies.available():
        study = studies.load(each)
        store = readable(results, study)
        if holds(store, study):
            yield study, store


def find_cell(key: str, store: Store) -> Cell:
    """The cell whose key is, or starts with, ``key``.

    :raises UserError: if there is none, more than one, or its file is damaged.
    """
    keys = sorted(p.stem for p in (store.root / "cells").glob("*.json") if p.name.startswith(key))
    if len(keys) != 1:
        what = "no cell" if not keys else f"{len(keys)} cells"
        raise UserError(f"{what} in {paths.shown(store.root)} with a key that starts with '{key}'")
    record = store.read(CellRecord, keys[0])
    if record is None:
        raise UserError(f"damaged file: {store.path('cells', keys[0], '.json')}; run its study again")
    return record.config
