"""The store: whole or not at all, and damage is noticed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import UserError
from bench.store.records import CellRecord
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Cell
from tests.records import failed_cell, sampled, scored_cell

JOB = {"net": "unet", "objective": "eps", "weight": "unit", "schedule": "linear", "T": 100, "seed": 0}
CELL = Cell(job={**JOB, "train": {"epochs": 1}}, sampler="ddim", sample_steps=10, n=20)
RECORD = scored_cell(CELL, {"fid": 1.25, "ε": float("inf")})
OTHER = failed_cell(CELL, "other")
ABOUT = sampled((1.5,), (20,))
IMAGES = np.arange(20 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(20, 1, 28, 28)
TENSORS = {"a": torch.arange(12.0).reshape(3, 4).T, "b": torch.tensor(3)}


def fill(store: Store) -> dict[str, Path]:
    store.write(CELL.key, RECORD)
    store.save_tensors("k", TENSORS, Checkpoint(job=CELL.job))
    store.save_samples("k", IMAGES, ABOUT)
    suffixes = {"cells": ".json", "checkpoints": ".safetensors", "samples": ".npz"}
    keys = {"cells": CELL.key}
    return {kind: store.path(kind, keys.get(kind, "k"), suffix) for kind, suffix in suffixes.items()}


def read(store: Store, kind: str) -> Any:
    return {
        "cells": lambda: store.read(CellRecord, CELL.key),
        "checkpoints": lambda: store.load_tensors(Checkpoint, "k"),
        "samples": lambda: store.load_samples("k"),
    }[kind]()


def test_round_trips(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fill(store)
    assert store.read(CellRecord, CELL.key) == RECORD
    kept = store.load_tensors(Checkpoint, "k")
    assert kept is not None
    assert kept[1] == Checkpoint(job=CELL.job)
    assert all(torch.equal(kept[0][name], value) for name, value in TENSORS.items())
    samples = store.load_samples("k")
    assert samples is not None
    np.testing.assert_array_equal(samples[0], IMAGES)
    assert samples[1] == ABOUT
    assert not store.damaged
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("kind", ["cells", "checkpoints", "samples"])
def test_what_is_not_there_is_no_damage(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "none")
    assert read(store, kind) is None
    assert not store.damaged
    assert not store.root.exists()


@pytest.mark.parametrize("kind", ["cells", "checkpoints", "samples"])
def test_truncation_is_noticed(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    path = fill(store)[kind]
    whole = path.read_bytes()
    for length in sorted({*range(0, len(whole) - 1, max(1, len(whole) // 60)), len(whole) - 2}):
        path.write_bytes(whole[:length])
        store.damaged.clear()
        assert read(store, kind) is None, length
        assert store.damaged == [path]


@pytest.mark.parametrize("kind", ["cells", "checkpoints", "samples"])
def test_a_flipped_bit_never_gives_other_content(tmp_path: Path, kind: str) -> None:
    """Wherever the bit is: the file reads as it was, or as damaged."""
    store = Store(tmp_path)
    path = fill(store)[kind]
    good, whole = repr(read(store, kind)), path.read_bytes()
    noticed = 0
    for at in range(0, len(whole), max(1, len(whole) // 200)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        found = read(store, kind)
        noticed += found is None
        assert found is None or repr(found) == good, at
    assert noticed > 50


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("samples", "k", ".npz")
    path.parent.mkdir()
    np.savez(path, images=np.array([object()]), meta=np.zeros(1, np.uint8))
    assert store.load_samples("k") is None
    assert store.damaged == [path]


def test_another_version_is_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = fill(store)["cells"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    assert store.read(CellRecord, CELL.key) is None


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "disk full"), (errno.EACCES, "cannot write"), (errno.EROFS, "cannot write")],
)
def test_a_failing_disk_leaves_the_old_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    store = Store(tmp_path)
    fill(store)

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=says) as error:
        store.write(CELL.key, OTHER)
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert store.read(CellRecord, CELL.key) == RECORD
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    fill(store)
    monkeypatch.setattr(Path, "replace", lambda self, to: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.write(CELL.key, OTHER)
    monkeypatch.undo()
    assert store.read(CellRecord, CELL.key) == RECORD
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file")
    assert store.read(CellRecord, CELL.key) is None
    with pytest.raises(UserError, match="cannot write to folder"):
        store.writable()


@pytest.mark.parametrize("kind", ["checkpoints", "samples"])
def test_a_file_cut_short_is_seen_without_reading_it(tmp_path: Path, kind: Any) -> None:
    store = Store(tmp_path)
    assert not store.cut_short(kind, "k"), "what is not there is not missed"
    path = fill(store)[kind]
    assert not store.cut_short(kind, "k")
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        store.damaged.clear()
        assert store.cut_short(kind, "k"), length
        assert store.damaged == [path]
