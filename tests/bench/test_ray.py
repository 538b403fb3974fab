"""Ray: what travels between machines. What starts a real one has the mark (``make test-ray``)."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bench.errors import UserError
from bench.execute.ray import Ray, inside, must_answer, needed
from bench.execute.ray_node import Changes
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.job.events import Ended, EpochDone, Resumed, Started, Stopped, to_json
from bench.job.spec import JobSpec
from bench.store.store import Store
from bench.study.study import Study


def _study(epochs: int = 2) -> Study:
    axes = {"net": ["unet(width=8,inner=32)"], "objective": ["eps"], "schedule": ["cosine"], "T": [50]}
    axes |= {"sampler": ["ddim"], "sample_steps": [2]}
    train = {"epochs": epochs, "images": 64, "batch_size": 32}
    return Study.model_validate({"name": "tiny", "train": train, "axes": axes, "score": {"n": 20}})


def _write(root: Path, name: str, content: str, at: int) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, ns=(at, at))


def test_what_a_node_made_is_sent_once_and_in_order(tmp_path: Path) -> None:
    """Oldest first, so that a record comes after its files; locks and half-written files stay."""
    _write(tmp_path, "scoring/a.json", "there before", 1)
    changes = Changes(tmp_path)
    assert list(changes.since()) == []
    _write(tmp_path, "jobs/k.json", "record", 30)
    _write(tmp_path, "checkpoints/k.safetensors", "weights", 20)
    _write(tmp_path, "resume/k.safetensors", "state", 10)
    _write(tmp_path, "locks/k.lock", "", 10)
    _write(tmp_path, "cells/.k.json.tmp", "half", 10)
    names = [content[0] for kind, content in changes.since() if kind == "file"]
    assert names == ["resume/k.safetensors", "checkpoints/k.safetensors", "jobs/k.json"]
    _write(tmp_path, "jobs/k.json", "other!", 31)
    (tmp_path / "resume" / "k.safetensors").unlink()
    assert list(changes.since()) == [("file", ("jobs/k.json", b"other!")), ("gone", "resume/k.safetensors")]
    assert list(changes.since()) == []


def test_a_job_is_sent_its_own_files_only(tmp_path: Path) -> None:
    (cells,) = _study().jobs.values()
    spec = JobSpec(cells=tuple(cells), results=tmp_path, device="cpu")
    own = {f"jobs/{spec.key}.json", f"resume/{spec.key}.safetensors", f"samples/{cells[0].key}.npz"}
    for name in (*own, "jobs/other.json", f"jobs/.{spec.key}.json.tmp", f"locks/{spec.key}.lock"):
        _write(tmp_path, name, name, 1)
    assert needed(spec, Store(tmp_path)) == {name: name.encode() for name in own}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "jobs/../../x", ""])
def test_a_node_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a node sent a file"):
        inside(tmp_path, name)
    assert inside(tmp_path, "jobs/k.json") == tmp_path / "jobs" / "k.json"


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"executor ray needs the package ray: pip install 'ddpm-bench\[ray\]'"):
        next(run_study(_study(), Store(tmp_path / "results"), Options("cpu", executor="ray")))
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_is_not_there_is_one_line_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"127.0.0.1:{server.getsockname()[1]}"
        must_answer(here)
        must_answer(f"ray://{here}")
    for address in (here, "127.0.0.1:99999999", "a..b:6379", "[::1:6379"):
        with pytest.raises(UserError, match=rf"^nothing answers at {re.escape(address)} \(.+\): --address is the"):
            must_answer(address)
    for address in ("", "auto", "local"):  # which Ray looks up by itself
        must_answer(address)


class _Items:
    """What a task sends: that it has started, and its end once it is cancelled."""

    def __init__(self, spec: str) -> None:
        about = JobSpec.model_validate_json(spec)
        self.left = [("event", to_json(Started(job=about.key, label=about.job.label, node="n", pid=1)))]
        self.cancelled = False

    def __next__(self) -> Any:
        if self.left:
            return self.left.pop()
        raise StopIteration


class _Remote:
    def options(self, **_: Any) -> Any:
        return self

    def remote(self, spec: str, *_: Any) -> _Items:
        return _Items(spec)


class _Ray(ModuleType):
    """A cluster of one processor. A task that is cancelled just ends: the real one does that, too, now and then."""

    exceptions = SimpleNamespace(RayError=KeyError)

    @staticmethod
    def wait(tasks: list[_Items], **_: float) -> tuple[list[_Items], list[_Items]]:
        return [task for task in tasks if task.left or task.cancelled], []

    @staticmethod
    def cancel(items: _Items, **_: bool) -> None:
        items.cancelled = True


def test_a_task_that_just_ends_when_it_is_cancelled_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = _Ray("ray")
    about = {"is_initialized": lambda: True, "cluster_resources": lambda: {"CPU": 1.0}, "get": lambda value: value}
    for name, value in (about | {"remote": lambda _: _Remote()}).items():
        setattr(fake, name, value)
    fake.__spec__ = ModuleSpec("ray", None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    (cells,) = _study().jobs.values()
    spec, stop, seen = JobSpec(cells=tuple(cells), results=tmp_path, device="cpu"), threading.Event(), []
    for event in Ray(Options("cpu", executor="ray"), tmp_path).run([spec], stop=stop):
        seen.append(type(event))
        stop.set()
    assert seen == [Started, Stopped]


@pytest.mark.ray
def test_no_folder_need_be_shared(empty: Path, tmp_path: Path, ray: dict[str, Any]) -> None:
    """The command is left after an epoch; what was done by then came back, and is gone on from on any node."""
    for name in ("far", "here"):
        shutil.copytree(empty, tmp_path / name)
    study, far, here = _study(3), Store(tmp_path / "far"), Store(tmp_path / "here")
    options = Options("cpu", threads=1, executor="ray", settings=ray | {"shared": False})
    first = run_study(study, far, options)
    next(event for event in first if isinstance(event, EpochDone))
    first.close()  # type: ignore[attr-defined]
    assert list((far.root / "resume").glob("*.safetensors"))
    said = list(run_study(study, far, options))
    assert said[-1] == Ended(failures=())
    assert [event.epoch for event in said if isinstance(event, Resumed)]
    assert sum(isinstance(event, Started) for event in said) == 1
    assert not list((far.root / "resume").glob("*")), "what the job removed is gone here too"

    list(run_study(study, here, Options("cpu", threads=1, executor="inline")))
    for cell in study.cells:
        one, other = far.load_samples(cell.key), here.load_samples(cell.key)
        assert one is not None
        assert other is not None
        assert one[0].tobytes() == other[0].tobytes()
