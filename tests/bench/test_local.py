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
from collections.abc import Iterable, Iterator
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock

from bench.errors import UserError
from bench.execute import local, processes
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.execute.worker import LOST
from bench.job.events import Elsewhere, Ended, Entered, EpochDone, Event, Preparing, Started, Stepped, from_json
from bench.paths import ROOT
from bench.store.store import Store
from bench.study.study import Study

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server of processes, and no /proc")
OPTIONS = Options("cpu", threads=1)
ORACLE: dict[str, list[Any]] = {"net": ["oracle"], "objective": ["x0"], "T": [50, 100]}
"""Two jobs with nothing to train."""


@pytest.fixture
def store(empty: Path, tmp_path: Path) -> Store:
    """A results folder whose reference is there already."""
    shutil.copytree(empty, tmp_path / "results")
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


def content(epochs: int = 1, **axes: list[Any]) -> dict[str, Any]:
    """Two jobs of the smallest U-Net, as a study file has them."""
    given = {"net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"], "schedule": ["cosine"], "T": [50]}
    given |= {"sampler": ["ancestral"], "sample_steps": [2]} | axes
    train = {"epochs": epochs, "images": 64, "batch_size": 32}
    return {"train": train, "axes": given, "score": {"n": 20}}


def make_study(epochs: int = 1, **axes: list[Any]) -> Study:
    """The same, parsed."""
    return Study.model_validate({"name": "tiny", **content(epochs, **axes)})


def kinds(events: Iterable[Event]) -> list[str]:
    return [event.event for event in events]


def samples(store: Store) -> dict[str, bytes]:
    found = {}
    for path in sorted((store.root / "samples").glob("*.npz")):
        kept = store.load_samples(path.stem)
        assert kept is not None
        found[path.stem] = kept[0].tobytes()
    return found


def test_completes_and_then_has_nothing_to_do(
    store: Store, empty: Path, tmp_path: Path, children: list[BaseProcess]
) -> None:
    """One job after the other, and both at once: the same bytes, and durations only from the former."""
    from bench.analysis.table import rows

    tiny = make_study(epochs=2)
    assert list(run_study(tiny, store, OPTIONS))[-1] == Ended(failures=())
    assert len(children) == 2
    began = time.perf_counter()
    assert kinds(run_study(tiny, store, OPTIONS)) == ["planned", "ended"]
    assert time.perf_counter() - began < 5
    assert len(children) == 2

    shutil.copytree(empty, tmp_path / "other")
    other = Store(tmp_path / "other")
    list(run_study(tiny, other, Options("cpu", workers=2, threads=1, sample_batch=300)))
    assert samples(store) == samples(other)
    assert len(samples(store)) == 2
    assert all(row["epoch_s"] for row in rows(tiny, store))
    assert not any(row["epoch_s"] or row["sample_images_per_s"] for row in rows(tiny, other))


def test_a_killed_job_is_recorded_and_the_next_run_mends_it(store: Store, children: list[BaseProcess]) -> None:
    tiny = make_study()
    for event in run_study(tiny, store, OPTIONS):
        if isinstance(event, Stepped) and len(children) == 1:
            os.kill(children[0].pid or 0, signal.SIGKILL)
    assert isinstance(event, Ended)
    (failure,) = event.failures
    assert "eps" in failure.label
    assert failure.reason == "killed by SIGKILL (out of memory?)"
    assert len(samples(store)) == 1
    assert list(run_study(tiny, store, OPTIONS))[-1] == Ended(failures=())
    assert len(samples(store)) == 2


def test_a_second_run_waits_for_the_first(store: Store) -> None:
    lock = FileLock(store.path("locks", f"host-{platform.node()}", ".lock"), thread_local=False)
    lock.acquire()
    events = run_study(make_study(**ORACLE), store, OPTIONS)
    assert [next(events).event for _ in range(2)] == ["planned", "waiting"]
    lock.release()
    assert next(events).event == "started"
    events.close()  # type: ignore[attr-defined]


def test_a_run_that_waits_can_be_stopped(store: Store) -> None:
    stop = threading.Event()
    with FileLock(store.path("locks", f"host-{platform.node()}", ".lock")):
        seen = []
        for event in run_study(make_study(**ORACLE), store, OPTIONS, stop=stop):
            seen.append(event)
            stop.set()
    assert kinds(seen) == ["planned", "waiting", "ended"]
    assert seen[-1] == Ended(failures=(), stopped=True)


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


def test_bad_data_is_one_line_before_anything_is_done(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / "mnist" / name).write_bytes(b"\0\0\x08\x01\0\0\0\x01\x07")
    study, before = make_study(**ORACLE), sorted(store.root.rglob("*"))
    with pytest.raises(UserError, match=r"corrupt data: .*train-images-idx3-ubyte has sha256"):
        list(run_study(study, store, Options("cpu", threads=1, data_dir=tmp_path)))
    assert sorted(store.root.rglob("*")) == before
    assert list(run_study(study, store, OPTIONS))[-1] == Ended(failures=())


@linux
def test_the_death_of_the_job_server_costs_nothing(store: Store) -> None:
    """A job that it started goes on to its end, and says how that was; the next one gets a new server."""
    study, servers = make_study(**ORACLE), []
    for event in run_study(study, store, OPTIONS):
        if isinstance(event, Entered) and len(servers) < 2:
            servers.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
            if len(servers) == 1:
                os.kill(servers[0], signal.SIGKILL)
    assert event == Ended(failures=())
    assert len(samples(store)) == 2


@linux
def test_a_worker_ends_when_stopped_though_its_server_is_gone(store: Store) -> None:
    """Whose death makes the process look dead to multiprocessing."""
    stop, pids = threading.Event(), []
    for event in run_study(make_study(epochs=500), store, OPTIONS, stop=stop):
        if isinstance(event, Started):
            pids.append(event.pid)
        if isinstance(event, Entered) and not stop.is_set():
            os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
            stop.set()
    assert isinstance(event, Ended)
    assert event.stopped
    assert not event.failures
    (pid,) = pids
    assert gone(pid, 1.0)


def test_a_busy_job_is_known_without_its_exit_code(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of processes is gone, which would know it. The job is not called failed, and comes when it is free."""
    monkeypatch.setattr(BaseProcess, "exitcode", property(lambda self: LOST))
    study = make_study(**ORACLE | {"T": [50]})
    lock = FileLock(store.path("locks", next(iter(study.jobs)), ".lock"), thread_local=False)
    lock.acquire()
    for event in run_study(study, store, OPTIONS):
        if isinstance(event, Elsewhere):
            lock.release()
    assert event == Ended(failures=())
    assert len(samples(store)) == 1


@linux
def test_a_stopped_job_is_named_and_goes_on_when_it_may(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SILENT_S", 0.2)
    pid, said = 0, list[str]()
    for event in run_study(make_study(objective=["eps"]), store, OPTIONS):
        if isinstance(event, Started):
            pid = event.pid
            os.kill(pid, signal.SIGSTOP)
        if isinstance(event, Preparing) and "stopped" in event.what:
            said.append(event.what)
            os.kill(pid, signal.SIGCONT)
    assert event == Ended(failures=())
    assert said == [f"stopped by a signal; `kill -CONT {pid}` lets it go on"]


@linux
def test_a_stopped_job_can_be_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.execute.worker.GRACE_S", 0.2)
    events = run_study(make_study(epochs=500), store, OPTIONS)
    started = next(event for event in events if isinstance(event, Started))
    os.kill(started.pid, signal.SIGSTOP)
    events.close()  # type: ignore[attr-defined]
    assert gone(started.pid, 1.0)


def test_a_process_that_cannot_be_started_is_that_jobs_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> BaseProcess:
        raise EOFError

    monkeypatch.setattr(processes, "warm", none)
    study = make_study(**ORACLE)
    end = list(run_study(study, store, OPTIONS))[-1]
    assert isinstance(end, Ended)
    assert [failure.job for failure in end.failures] == list(study.jobs)
    expected = "no process could be started for it: the server of processes does not answer"
    assert {failure.reason for failure in end.failures} == {expected}


def gone(pid: int, seconds: float) -> bool:
    """Whether that process is gone within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # nobody has asked how it ended
            return True
        time.sleep(0.05)
    return False


@linux
def test_a_job_does_not_outlive_a_killed_run(store: Store, tmp_path: Path) -> None:
    """Not even when the run is killed outright and cannot say goodbye. What it had done is there."""
    path = tmp_path / "long.yaml"
    path.write_text(yaml.safe_dump(content(epochs=500)))
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bench.execute.run import run_study\n"
        "from bench.execute.schedule import Options\n"
        "from bench.job.events import to_json\n"
        "from bench.store.store import Store\n"
        "from bench.study.load import load\n"
        "for event in run_study(load(sys.argv[1]), Store(Path(sys.argv[2])), Options('cpu', threads=1)):\n"
        "    print(to_json(event).decode(), flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(path), str(store.root)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        for line in run.stdout:
            event = from_json(line)
            if isinstance(event, Started):
                job = event
            if isinstance(event, EpochDone):
                break
        run.kill()
        run.wait()
    assert gone(job.pid, 5.0)
    assert store.path("resume", job.job, ".safetensors").exists()
    with FileLock(store.path("locks", job.job, ".lock"), timeout=0):
        pass


STUCK = """
import os, signal, time
from bench.execute import processes
from bench.job.parent import end_with_parent

def stuck():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    processes.CONTEXT.set_forkserver_preload([])
    processes.CONTEXT.Process(target=stuck).start()
    time.sleep(600)
"""


@linux
@pytest.mark.parametrize("number", [0, signal.SIGSTOP])
def test_a_job_that_hears_nothing_does_not_outlive_its_run_either(tmp_path: Path, number: int) -> None:
    """One that is deep in a library, and says nothing for long; or that a signal has stopped."""
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    with run.stdout:
        pid = int(run.stdout.readline())
        assert not gone(pid, 0.2)
        os.kill(pid, number)
        run.kill()
        run.wait()
    assert gone(pid, 5.0)
