"""Classifiers that a results folder has trained: a changed one is found. And what is no file is not waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from bench import cli
from bench.job import process
from bench.job.events import Damaged, Event, JobDone
from bench.job.spec import JobSpec
from bench.store import examine, seals
from bench.store.store import Store
from bench.study.study import Study


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One that has trained two classifiers and sealed them."""
    found = Store(tmp_path / "results")
    for name in ("a", "b"):
        found.write_bytes(found.path("classifiers", name, ".safetensors"), name.encode() * 100)
    seals.seal(found)
    return found


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


def there(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "classifiers").iterdir())


def test_a_flipped_bit_is_found_and_the_rest_stays(store: Store) -> None:
    seals.mend(store)
    assert store.damaged == []
    assert list(examine.examine(store)) == [None, None]
    path = store.path("classifiers", "a", ".safetensors")
    flip(path)
    seals.seal(store)  # which takes no new hash for it
    assert [found.path for found in examine.examine(store) if found] == [path]
    seals.mend(store)
    assert store.damaged == [path]
    assert there(store) == ["b.safetensors", "b.sha256"]


def test_a_classifier_that_is_gone_leaves_no_seal_to_its_successor(store: Store) -> None:
    path = store.path("classifiers", "a", ".safetensors")
    path.unlink()
    seals.mend(store)
    assert store.damaged == []
    path.write_bytes(b"another")
    seals.mend(store)
    seals.seal(store)
    assert len(there(store)) == 4
    assert seals.whole(path)


def test_one_that_is_being_trained_is_left_alone(store: Store) -> None:
    flip(store.path("classifiers", "a", ".safetensors"))
    with FileLock(store.path("locks", "classifier-a", ".lock"), thread_local=False):
        seals.mend(store)
    assert len(there(store)) == 4


def test_a_job_looks_before_it_begins_and_seals_when_it_is_done(
    store: Store, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any, **__: Any) -> Iterator[Event]:
        assert there(store) == ["b.safetensors", "b.sha256"]
        store.write_bytes(store.path("classifiers", "a", ".safetensors"), b"again")
        yield JobDone(job="k", label="x", overhead=None)

    monkeypatch.setattr(process, "run", run)
    path = store.path("classifiers", "a", ".safetensors")
    flip(path)
    cells = next(iter(tiny_study.jobs.values()))
    said = list(process.perform(JobSpec(cells=tuple(cells), results=store.root, device="cpu")))
    assert [event.path for event in said if isinstance(event, Damaged)] == [str(path)]
    assert len(there(store)) == 4
    assert seals.whole(path)


@pytest.mark.parametrize("command", ["status", "plan", "run", "table", "report"])
def test_a_pipe_in_the_place_of_a_record_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cells").mkdir()
    os.mkfifo(tmp_path / "cells" / f"{'0' * 16}.json")
    assert cli.main([command, "quick", "--results", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "000.json is no file but a pipe or a device: delete it" in said.err
