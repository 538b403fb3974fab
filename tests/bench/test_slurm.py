"""Slurm: its words, and what only a queue can do. Those with the mark start a real one (``make test-slurm``)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.execute import slurm_queue
from bench.execute.plan import make_options
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.execute.settings import parse, read
from bench.execute.slurm import Settings, has_device_alone
from bench.execute.slurm_queue import Ledger, State
from bench.job.events import Ended, EpochDone, Event, Resumed, Started
from bench.store.store import Store
from bench.study.study import Study

LINES = """
JobId=7 ArrayJobId=7 ArrayTaskId=2-3,9%2 JobName=ours UserId=a(1) JobState=PENDING Reason=Priority ExitCode=0:0
JobId=8 ArrayJobId=7 ArrayTaskId=0 JobName=ours JobState=RUNNING Reason=None ExitCode=0:0
JobId=9 ArrayJobId=7 ArrayTaskId=1 JobName=ours JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0
JobId=11 JobName=theirs JobState=RUNNING Reason=None ExitCode=0:0
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Slurm that says this, whatever it is asked."""
    monkeypatch.setattr(slurm_queue, "command", lambda *words: LINES)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "there")


def test_states_are_read_from_slurms_own_words(told: None) -> None:
    """Tasks that wait share a line; jobs with another name are not ours, whatever a ledger says."""
    found = slurm_queue.states(["7_0"], "ours")
    waiting = dict.fromkeys(("7_2", "7_3", "7_9"), State("PENDING", why="Priority"))
    assert found == waiting | {"7_0": State("RUNNING", why="None"), "7_1": State("FAILED", 137, 0, "NonZeroExitCode")}
    assert {job for job, state in found.items() if state.alive} == {"7_0", "7_2", "7_3", "7_9"}


def test_status_says_what_waits(told: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_queue, "name_of", lambda results: "ours")
    ledger = Ledger(tmp_path)
    assert slurm_queue.describe(tmp_path) is None
    for number in (0, 1, 2, 3):
        ledger.keep(f"key{number}", f"7_{number}")
    ledger.keep("theirs", "11")
    assert slurm_queue.describe(tmp_path) == "slurm: 2 pending, 1 running (job 7; waiting for: Priority)"


def test_a_ledger_holds_numbers_only(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for text in ("7_1; rm -rf /", "--all", ""):
        ledger.keep("key", text)
        assert ledger.all() == {}


@pytest.mark.parametrize(
    ("device", "environment", "alone"),
    [
        ("cuda", {"SLURM_JOB_GPUS": "0", "SLURM_CPUS_ON_NODE": "1"}, True),
        ("cuda", {"SLURM_CPUS_ON_NODE": "4"}, False),
        ("cpu", {"SLURM_JOB_GPUS": "0", "SLURM_CPUS_ON_NODE": "1"}, False),
        ("cpu", {"SLURM_CPUS_ON_NODE": "4"}, True),
    ],
)
def test_durations_count_only_where_the_device_was_not_shared(
    device: str, environment: dict[str, str], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert has_device_alone(device, environment) is alone


# settings


@pytest.mark.parametrize("package", ["submitit"])
def test_a_missing_package_is_one_line(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what installs it, and nothing is written."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"needs the package submitit: pip install 'ddpm-bench\[slurm\]'"):
        next(run_study(_study(), Store(tmp_path / "results"), Options("cpu", executor="slurm")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("executor", "given", "message"),
    [
        ("slurm", ["partion=gpu"], "unknown setting of executor slurm 'partion'; did you mean 'partition'"),
        ("slurm", ["time=soon"], "executor slurm, setting time: Input should be a valid integer"),
        ("local", ["partition=gpu"], "executor local has no settings, so 'partition' cannot be set"),
        ("inline", ["a=b"], "executor inline has no settings"),
        ("slurm", ["partition"], "'partition' is neither KEY=VALUE nor a YAML file"),
        ("slurm", ["none.yaml"], "cannot read settings from none.yaml: No such file"),
    ],
)
def test_a_wrong_setting_is_one_line(executor: str, given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        list(run_study(_study(), Store(tmp_path), Options("cpu", executor=executor, settings=read(given))))
    assert not list(tmp_path.iterdir())


def test_settings_from_a_file_and_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "slurm.yaml"
    file.write_text("partition: cpu\ntime: 30\nsetup: [module load python]\n")
    found = read([str(file), "partition=gpu"])
    assert found == {"partition": "gpu", "time": 30, "setup": ["module load python"]}


def test_numbers_in_a_file_are_read_as_in_a_study(tmp_path: Path) -> None:
    """By YAML 1.1 ``1:30`` would be the number 90, and ``1e1`` a text."""
    file = tmp_path / "slurm.yaml"
    file.write_text("account: 12345\nqos: 1:30\npoll: 1e1\n")
    found = parse(Settings, read([str(file)]), "slurm")
    assert (found.account, found.qos, found.poll) == ("12345", "1:30", 10.0)


def test_elsewhere_the_device_is_not_this_machines() -> None:
    options = make_options(executor="slurm")
    assert (options.device, options.threads_each, options.workers) == ("cpu", 1, 10_000)
    assert make_options("cuda", executor="slurm", threads=4, workers=8).threads_each == 4
    with pytest.raises(UserError, match="device 'cuda:1' does not fit executor slurm"):
        make_options("cuda:1", executor="slurm")


def _study(epochs: int = 3) -> Study:
    axes = {"net": ["unet(width=8,inner=32)"], "objective": ["eps"], "schedule": ["cosine"], "T": [50]}
    axes |= {"sampler": ["ddim"], "sample_steps": [2]}
    train = {"epochs": epochs, "images": 64, "batch_size": 32}
    return Study.model_validate({"name": "tiny", "train": train, "axes": axes, "score": {"n": 20}})


# a real queue


@pytest.mark.slurm
def test_a_job_goes_on_when_slurm_takes_its_node(empty: Path, tmp_path: Path, slurm: dict[str, Any]) -> None:
    """The command is left after the first epoch; another one follows the job, which is then put back in the queue."""
    shutil.copytree(empty, tmp_path / "results")
    study, store = _study(12), Store(tmp_path / "results")

    def run(**more: Any) -> Iterator[Event]:
        return run_study(study, store, Options("cpu", threads=1, executor="slurm", settings=slurm | more))

    first = run(leave=True)
    next(event for event in first if isinstance(event, EpochDone))
    first.close()  # type: ignore[attr-defined]
    (number,) = Ledger(store.root).all().values()
    assert "1 running" in (slurm_queue.describe(store.root) or "")
    slurm_queue.command("scancel", "--signal=USR2", number)
    said = list(run())
    assert Ledger(store.root).all() == {}
    assert said[-1] == Ended(failures=())
    assert sum(isinstance(event, Started) for event in said) == 2, "the job was put back, and nothing was submitted"
    (resumed,) = (event for event in said if isinstance(event, Resumed))
    assert resumed.epoch >= 1
    epochs = [event.epoch for event in said if isinstance(event, EpochDone)]
    assert epochs == list(range(1, 13)), "each epoch once"


@pytest.mark.slurm
def test_what_slurm_refuses_is_one_line(empty: Path, tmp_path: Path, slurm: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"Slurm refuses the jobs: .*invalid partition"):
        list(
            run_study(_study(), Store(tmp_path), Options("cpu", executor="slurm", settings=slurm | {"partition": "x"}))
        )
