"""Running jobs as processes: completeness, resumption, kills, locks, and bytes that do not depend on workers."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from bench.errors import UserError
from bench.execute import processes
from bench.execute.local import run_study
from bench.execute.schedule import Options
from bench.paths import ROOT
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study import load, study

YAML = """
train: {epochs: %d, images: 192, batch_size: 64}
axes:
  objective: [eps, v]
  schedule: [cosine]
  T: [50]
  sampler: [ancestral]
  sample_steps: [2]
score: {n: 20}
"""
OPTIONS = Options("cpu", threads=1)


@pytest.fixture
def store(scorer: Scorer, tmp_path: Path) -> Store:
    """A results folder whose reference is computed already."""
    scorer.bounds(20)
    shutil.copytree(scorer.store.root, tmp_path / "results")
    return Store(tmp_path / "results")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseProcess]]:
    """The job processes, as they are started."""
    started: list[BaseProcess] = []
    process = processes.CONTEXT.Process

    def spy(*args: Any, **kwargs: Any) -> BaseProcess:
        started.append(process(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(processes.CONTEXT, "Process", spy)
    yield started
    assert not any(child.is_alive() for child in started), "a job outlived its run"


def make_study(tmp_path: Path, epochs: int = 1) -> study.Study:
    path = tmp_path / "tiny.yaml"
    path.write_text(YAML % epochs)
    return load.load(str(path))


def samples(store: Store) -> dict[str, bytes]:
    found = {}
    for path in sorted((store.root / "samples").glob("*.npz")):
        kept = store.load_samples(path.stem)
        assert kept is not None
        found[path.stem] = kept[0].tobytes()
    return found


def test_completes_and_then_has_nothing_to_do(
    store: Store, scorer: Scorer, tmp_path: Path, children: list[BaseProcess]
) -> None:
    """One job after the other, and both at once: the same bytes, and durations only from the former."""
    tiny = make_study(tmp_path)
    assert list(run_study(tiny, store, OPTIONS))[-1] == {"event": "end", "failed": []}
    assert len(children) == 2
    began = time.perf_counter()
    assert [e["event"] for e in run_study(tiny, store, OPTIONS)] == ["plan", "end"]
    assert time.perf_counter() - began < 5
    assert len(children) == 2

    shutil.copytree(scorer.store.root, tmp_path / "other")
    other = Store(tmp_path / "other")
    list(run_study(tiny, other, Options("cpu", workers=2, threads=1, sample_batch=300)))
    assert samples(store) == samples(other)
    assert len(samples(store)) == 2
    from bench.analysis.table import rows

    assert all(row["epoch_s"] for row in rows(tiny, store))
    assert not any(row["epoch_s"] or row["sample_images_per_s"] for row in rows(tiny, other))


def test_a_killed_job_is_recorded_and_the_other_goes_on(
    store: Store, tmp_path: Path, children: list[BaseProcess]
) -> None:
    tiny = make_study(tmp_path)
    for event in run_study(tiny, store, OPTIONS):
        if event["event"] == "step" and len(children) == 1:
            os.kill(children[0].pid or 0, signal.SIGKILL)
    ((name, reason),) = event["failed"]
    assert "eps" in name
    assert reason == "killed by SIGKILL (out of memory?)"
    assert len(samples(store)) == 1
    assert list(run_study(tiny, store, OPTIONS))[-1]["failed"] == [], "the next run mends it"


def test_an_interrupted_run_resumes_to_the_same_bytes(
    store: Store, scorer: Scorer, tmp_path: Path, children: list[BaseProcess]
) -> None:
    tiny = make_study(tmp_path, epochs=2)
    events = run_study(tiny, store, OPTIONS)
    for event in events:
        if event["event"] == "epoch":
            break
    events.close()
    assert not children[0].is_alive()
    resumed = [e["event"] for e in run_study(tiny, store, OPTIONS)]
    assert "resumed" in resumed
    shutil.copytree(scorer.store.root, tmp_path / "whole")
    whole = Store(tmp_path / "whole")
    list(run_study(tiny, whole, OPTIONS))
    assert samples(store) == samples(whole)


def test_a_second_run_waits_for_the_first(store: Store, tmp_path: Path) -> None:
    store.writable()
    lock = FileLock(store.path("locks", f"host-{platform.node()}", ".lock"), thread_local=False)
    lock.acquire()
    threading.Timer(1.0, lock.release).start()
    events = run_study(make_study(tmp_path), store, OPTIONS)
    assert [next(events)["event"] for _ in range(3)] == ["plan", "waiting", "start"]
    events.close()


@pytest.mark.parametrize(
    ("device", "visible", "slots"),
    [
        ("cpu", None, [""]),
        ("cuda", None, ["0", "1"]),
        ("cuda:1", None, ["1"]),
        ("cuda", "2,3", ["2", "3"]),
        ("cuda:1", "2,3", ["3"]),
    ],
)
def test_each_slot_is_a_device_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str | None, slots: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Options(device).slots == slots


def test_bad_data_stops_the_run_with_one_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / "mnist" / name).write_bytes(b"\0\0\x08\x01\0\0\0\x01\x07")
    with pytest.raises(UserError, match=r"corrupt data: .*train-images-idx3-ubyte has sha256"):
        list(run_study(make_study(tmp_path), store, Options("cpu", threads=1, data_dir=tmp_path)))
    assert not (store.root / "jobs").exists(), "a user's mistake is no result"


def test_a_job_does_not_outlive_a_killed_run(store: Store, tmp_path: Path) -> None:
    """Not even when the run is killed outright and cannot say goodbye."""
    path = tmp_path / "long.yaml"
    path.write_text(YAML % 500)
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        str(path),
        "--results",
        str(store.root),
        "--device",
        "cpu",
    ]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        while "epoch 1/" not in run.stdout.readline():
            assert run.poll() is None
        run.kill()
        run.wait()
    key = load.load(str(path)).cells[0].job.key
    lock = FileLock(store.path("locks", key, ".lock"), timeout=30)
    with lock:
        assert os.path.exists(store.path("resume", key, ".safetensors"))
