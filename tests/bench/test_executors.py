"""What every executor must do, whatever it runs jobs on, and how a study uses one."""

from __future__ import annotations

import math
import os
import platform
import shutil
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from bench.errors import UserError
from bench.execute.executor import EXECUTORS, Executor, Place
from bench.execute.run import run_study
from bench.execute.schedule import Options, Stop
from bench.execute.specs import Specs
from bench.job.events import (
    Elsewhere,
    Ended,
    EpochDone,
    Event,
    Failed,
    JobDone,
    JobEnd,
    OfJob,
    Planned,
    Refused,
    Resumed,
    Started,
    Stepped,
    Stopped,
    from_json,
    to_json,
)
from bench.job.process import perform
from bench.job.spec import JobSpec
from bench.store.store import Store
from bench.study.model import Cell
from bench.study.study import Study

Make = Callable[[Path], Executor]
NEVER = threading.Event()


def make_study(n: int = 20, lr: float = 2e-3, **axes: list[Any]) -> Study:
    """Two jobs of the smallest U-Net, two epochs of two steps."""
    given = {"net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"], "schedule": ["cosine"], "T": [50]}
    given |= {"sampler": ["ddim"], "sample_steps": [2]} | axes
    train = {"epochs": 2, "images": 64, "batch_size": 32, "lr": lr}
    return Study.model_validate({"name": "tiny", "train": train, "axes": given, "score": {"n": n}})


ORACLE: dict[str, list[Any]] = {"net": ["oracle"], "objective": ["x0"]}
"""Nothing to train."""


def specs(study: Study, results: Path) -> list[JobSpec]:
    return [JobSpec(cells=tuple(cells), results=results, device="cpu") for cells in study.jobs.values()]


@pytest.fixture(scope="module")
def finished(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of :func:`make_study`, made without any executor."""
    root = tmp_path_factory.mktemp("finished") / "results"
    shutil.copytree(empty, root)
    threads = torch.get_num_threads()
    for spec in specs(make_study(), root):
        list(perform(spec))
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def results(empty: Path, tmp_path: Path) -> Path:
    shutil.copytree(empty, tmp_path / "results")
    return tmp_path / "results"


ROOM = {"slurm": math.inf}
"""Jobs that are asked for at once: a queue takes all. Elsewhere as many as there are workers."""


@pytest.fixture(
    params=[pytest.param(name, marks=[] if row.here else getattr(pytest.mark, name)) for name, row in EXECUTORS.items()]
)
def name(request: pytest.FixtureRequest) -> str:
    """Every executor. Those of a cluster have a target of their own, ``make test-slurm`` and ``make test-ray``."""
    return str(request.param)


@pytest.fixture
def make(name: str, request: pytest.FixtureRequest) -> Make:
    """What makes the executor, with room for two jobs."""
    place = EXECUTORS[name]
    settings = {} if place.here else request.getfixturevalue(name)
    return lambda results: place.make(Options("cpu", workers=2, threads=1, settings=settings), results)


def outcome(root: Path, study: Study) -> dict[str, tuple[bytes, dict[str, float]]]:
    """The samples and scores of a study's cells."""
    from bench.analysis.table import rows

    store = Store(root)
    kept = {row["key"]: store.load_samples(row["key"]) for row in rows(study, store)}
    scores = {row["key"]: {k: row[k] for k in ("fid", "kid", "precision", "coverage")} for row in rows(study, store)}
    return {key: (b"" if one is None else one[0].tobytes(), scores[key]) for key, one in kept.items()}


def by_job(events: Iterable[Event]) -> dict[str, list[OfJob]]:
    """Each job's events, which must be as an executor owes them."""
    found: dict[str, list[OfJob]] = defaultdict(list)
    for event in events:
        assert from_json(to_json(event)) == event
        if isinstance(event, OfJob):
            found[event.job].append(event)
    for own in found.values():
        assert isinstance(own[0], Started)
        assert [isinstance(event, JobEnd) for event in own] == [False] * (len(own) - 1) + [True], own
        epochs = [(event.epoch, event.share) for event in own if isinstance(event, Stepped)]
        assert epochs == sorted(epochs)
    return found


def test_each_job_ends_by_itself(name: str, make: Make, results: Path, finished: Path) -> None:
    """One diverges, one is refused, two give the bytes they always give; none is asked for before there is room."""
    study, open_ = make_study(), set[str]()
    diverging, drawn = (specs(made, results)[0] for made in (make_study(lr=1e30), make_study(**ORACLE)))
    too_many = Cell.model_validate(drawn.cells[0].model_dump() | {"n": 10_001})
    refused = drawn.model_copy(update={"cells": (too_many,)})
    good = specs(study, results)

    def asked() -> Iterator[JobSpec]:
        for spec in (diverging, refused, *good):
            assert len(open_) < ROOM.get(name, 2), "there is no room for another"
            open_.add(spec.key)
            yield spec

    events = []
    for event in make(results).run(asked(), stop=NEVER):
        events.append(event)
        if isinstance(event, JobEnd):
            open_.remove(event.job)
    found = by_job(events)
    ends = {job: own[-1] for job, own in found.items()}
    assert {job: type(end) for job, end in ends.items()} == {
        diverging.key: Failed,
        refused.key: Refused,
        **dict.fromkeys((spec.key for spec in good), JobDone),
    }
    assert getattr(ends[diverging.key], "reason", "").startswith("diverged: the mean loss of epoch 1")
    assert getattr(ends[refused.key], "reason", "").startswith("n=10001 is more than the 10000 test images")
    assert outcome(results, study) == outcome(finished, study)
    assert len({samples for samples, _ in outcome(results, study).values()}) == 2


def test_what_is_stopped_goes_on_to_the_same_bytes(make: Make, results: Path, finished: Path) -> None:
    """Whoever listens goes away after the first epoch, then asks to stop at once, then lets it end."""
    study = make_study(objective=["eps"])
    key = next(iter(study.jobs))
    events = make(results).run(specs(study, results), stop=NEVER)
    next(event for event in events if isinstance(event, EpochDone))
    events.close()  # type: ignore[attr-defined]
    with FileLock(results / "locks" / f"{key}.lock", timeout=0):
        assert (results / "resume" / f"{key}.safetensors").is_file(), "and nobody is at it"

    stop = threading.Event()
    seen = []
    for event in make(results).run(specs(study, results), stop=stop):
        seen.append(event)
        if isinstance(event, Started):
            stop.set()
    assert isinstance(by_job(seen)[key][-1], Stopped)

    (whole,) = by_job(make(results).run(specs(study, results), stop=NEVER)).values()
    assert any(isinstance(event, Resumed) for event in whole)
    assert isinstance(whole[-1], JobDone)
    expected = outcome(finished, make_study())
    assert outcome(results, study) == {job: expected[job] for job in outcome(results, study)}


def test_nothing_is_started_after_a_stop(make: Make, results: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert list(make(results).run(specs(make_study(**ORACLE), results), stop=stop)) == []


def test_a_killed_worker_is_told_apart(make: Make, results: Path) -> None:
    killed = []
    for event in make(results).run(specs(make_study(), results), stop=NEVER):
        killed.append(event)
        if isinstance(event, Started) and event.pid == os.getpid():
            pytest.skip("its jobs are in this very process")
        if isinstance(event, Started) and event.node == platform.node() and len(killed) == 1:
            os.kill(event.pid, signal.SIGKILL)
    first, second = by_job(killed).values()
    assert first[-1] == Failed(job=first[0].job, label=first[0].label, reason="killed by SIGKILL (out of memory?)")
    assert isinstance(second[-1], JobDone)


@pytest.mark.parametrize("theirs", [False, True])
def test_a_job_that_another_process_is_at(make: Make, results: Path, tmp_path: Path, theirs: bool) -> None:
    """It comes last: it is done here, unless that other process did it."""
    study = make_study(T=[50, 100], **ORACLE)
    busy, other = specs(study, results)
    if theirs:
        shutil.copytree(results, tmp_path / "there")
        list(perform(busy.model_copy(update={"results": tmp_path / "there"})))
    lock = FileLock(results / "locks" / f"{busy.key}.lock", thread_local=False)
    lock.acquire()
    events = []
    for event in make(results).run([busy, other], stop=NEVER):
        events.append(event)
        if isinstance(event, JobEnd) and event.job == other.key:
            if theirs:
                shutil.copytree(tmp_path / "there", results, dirs_exist_ok=True, ignore=shutil.ignore_patterns("locks"))
            lock.release()
    found = by_job(events)
    assert sum(isinstance(event, Elsewhere) for event in found[busy.key]) == 1
    assert sum(isinstance(event, Started) for event in found[busy.key]) == (1 if theirs else 2)
    end = found[busy.key][-1]
    assert isinstance(end, JobDone)
    assert (end.overhead is None) is theirs


# a study


class Toy:
    """Runs nothing. Every job fails."""

    def __init__(self, options: Options, results: Path) -> None:
        self.options, self.results = options, results

    def run(self, given: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`."""
        for spec in given:
            about: dict[str, Any] = {"job": spec.key, "label": "the same"}
            yield Started(**about, node="toy", pid=1)
            yield Failed(**about, reason=f"in {self.results.name} with {spec.threads} threads")


def test_a_new_executor_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three jobs with one label that fail are three failures, also where nothing of them was recorded."""
    monkeypatch.setitem(EXECUTORS, "toy", Place(Toy))
    study = make_study(objective=["eps"], weight=["unit", "snr", "min_snr"])
    said = list(run_study(study, Store(tmp_path), Options("cpu", threads=5, executor="toy")))
    assert said[0] == Planned(jobs=3, cells=3)
    assert [event.left for event in said if isinstance(event, Started)] == [2, 1, 0]
    end = said[-1]
    assert isinstance(end, Ended)
    assert {failure.job for failure in end.failures} == study.jobs.keys()
    assert {failure.reason for failure in end.failures} == {f"in {tmp_path.name} with 5 threads"}


class Full(Toy):
    """As on a full disk. Every job is refused."""

    def run(self, given: Iterable[JobSpec], *, stop: Stop) -> Iterator[Event]:
        """See :class:`bench.execute.executor.Executor`."""
        for spec in given:
            about: dict[str, Any] = {"job": spec.key, "label": "the same"}
            yield Started(**about, node="toy", pid=1)
            yield Refused(**about, reason="disk full: cannot write to here; free some space and run again")


def test_a_full_disk_ends_a_run_at_the_first_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And not at each of ten thousand."""
    monkeypatch.setitem(EXECUTORS, "full", Place(Full))
    study, seen = make_study(), list[Event]()
    with pytest.raises(UserError, match="disk full: cannot write to here"):
        seen.extend(run_study(study, Store(tmp_path), Options("cpu", executor="full")))
    assert sum(isinstance(event, Refused) for event in seen) == 1


def test_the_first_seed_of_all_comes_before_any_second(tmp_path: Path) -> None:
    """In the order that the study lists them, each seed's teachers before their students."""
    study = make_study(
        seed=[7, 0], objective=["v", "eps"], teach=["data", "progressive(first=8)"], spacing=["trailing"]
    )
    order = [(spec.job.seed, spec.only_train) for spec in Specs(study, Store(tmp_path), Options("cpu"))]
    assert order == [(seed, first) for seed in (7, 0) for first in (True, True, False, False, False, False)]


def test_failures_are_told_by_job_and_cell(results: Path) -> None:
    """A job's failure once, however many cells it has; a cell's by itself."""
    from bench.job.failures import record_failure

    study, store = (
        make_study(sample_steps=[2, 3], seed=[0, 1], **ORACLE | {"sampler": ["ddim", "heun"]}),
        Store(results),
    )
    (cells,) = study.jobs.values()
    record_failure(cells, store, "killed", torch.device("cpu"))
    (failure,) = _failures(study, store)
    assert (failure.job, failure.cell, failure.reason) == (cells[0].job.key, None, "killed")
    store.path("jobs", failure.job, ".json").unlink()
    for spec in specs(make_study(sampler=["ddim"], **ORACLE), results):
        list(perform(spec))
    record_failure(cells, store, "killed", torch.device("cpu"))
    failed = _failures(study, store)
    assert {failure.cell for failure in failed} == {cell.key for cell in cells[1:]}
    assert len({failure.label for failure in failed}) == 3


def _failures(study: Study, store: Store) -> list[Any]:
    from bench.execute.run import failures

    return list(failures(study, store))


def test_an_executor_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown executor 'lokal'.*local, inline.*slurm"):
        next(run_study(make_study(), Store(tmp_path / "results"), Options("cpu", executor="lokal")))
    assert not (tmp_path / "results").exists()
