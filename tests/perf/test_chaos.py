"""What the suite of faults says of runs, on events and processes whose truth is known."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perf.chaos import __main__ as command
from perf.chaos import killing, lab
from perf.chaos.lab import Found

linux = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


class Said:
    """A run that has said this."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = [(float(i), {"at": i, **event}) for i, event in enumerate(events)]

    def events(self) -> list[tuple[float, dict[str, Any]]]:
        """When, and what."""
        return self._events


def epoch(number: int, seconds: float, of: int = 3) -> dict[str, Any]:
    return {"event": "epoch", "label": "a", "epoch": number, "of": of, "seconds": seconds}


CELL = {"event": "cell", "cell": "k", "status": "done"}


@pytest.mark.parametrize(
    ("runs", "followed", "wrong"),
    [
        ([Said(epoch(1, 0.1)), Said(epoch(2, 0.1), epoch(3, 0.1), CELL)], False, []),
        ([Said(epoch(1, 0.1)), Said(epoch(1, 0.2))], False, ["epoch 1 of a was done 2 times"]),
        ([Said(epoch(3, 0.1)), Said(epoch(3, 0.2))], False, []),  # nothing is kept after the last one
        ([Said(epoch(1, 0.1), CELL), Said(epoch(1, 0.1), CELL)], True, []),  # read twice
        ([Said(epoch(1, 0.1)), Said(epoch(1, 0.2))], True, ["epoch 1 of a was done 2 times"]),
        ([Said(CELL), Said(CELL)], False, ["cell k was done 2 times"]),
    ],
)
def test_what_was_done_twice(runs: list[Any], followed: bool, wrong: list[str]) -> None:
    assert list(lab.twice(runs, followed=followed)) == wrong


def test_bars() -> None:
    killed = Found(Counter({"SIGKILL to a job": 99, "SIGTERM to a job": 50}), [29.0, 31.0], 10.4)
    whole = Found(Counter({"SIGKILL to a raylet": 1}), [59.0], 0.5)
    rows = [
        command.row("local", "a", killed),
        command.row("ray", "b", whole),
        command.row("slurm", "c", Found(wrong=["x"])),
        command.row("slurm", "d", Found(skipped="no Slurm")),
    ]
    rows = [row | {"undisturbed start, s": 0.5} for row in rows]
    found = {one["claim"]: (one["measured"], one["met"]) for one in command.claims(rows)}
    later = "work goes on after a fault, later than an undisturbed start on one machine"
    assert found == {
        "scenarios that end with the bytes of an undisturbed run": ("2 of 4", False),
        "processes killed, most of them at random moments": ("100", True),
        "longest that a process outlived its run": ("10.4 s", False),
        f"local: {later}": ("30.5 s", False),
        f"ray: {later}": ("58.5 s", True),
    }
    assert rows[3]["done"] == "not tried: no Slurm"


@linux
def test_every_process_of_a_run_is_known_until_it_is_gone(tmp_path: Path) -> None:
    """Also one that its parent has left behind."""
    script = "import os, time; os.fork() or time.sleep(60)"
    run = lab.Run([sys.executable, "-S", "-c", script], tmp_path / "log", tmp_path / "output", {}, terminal=False)
    assert run.wait(30) == 0
    (left,) = lab.marked(run.mark)
    assert lab.alive(left)
    os.kill(left, 9)
    assert run.leftover_s() < 5


@linux
def test_a_run_at_a_terminal_hears_the_keyboard(tmp_path: Path) -> None:
    # whoever started the tests may have had them ignore the keyboard
    command = ["env", "--default-signal=INT", "sleep", "60"]
    run = lab.Run(command, tmp_path / "log", tmp_path / "output", {}, terminal=True)
    until = time.monotonic() + 10
    while lab.words(run.pid).strip() != "sleep 60":
        assert time.monotonic() < until
        time.sleep(0.02)
    os.write(run.keyboard, b"\x03")
    assert run.wait(10) == -2
    os.close(run.keyboard)


@linux
def test_children_of_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in lab.children(os.getpid())
        process.kill()
        process.wait()
        assert not lab.alive(process.pid)


class Immortal:
    """A run in which only the command can be killed; the study is done after so many runs."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.pid, self.ended, self.asked = len(laboratory.runs), False, 0

    def over(self) -> bool:
        """Whether it has ended."""
        return self.ended

    def is_at_work(self) -> bool:
        """Whether it has a job: at first it has none."""
        self.asked += 1
        return self.asked > 3

    def wait(self) -> int:
        """Its exit code."""
        self.ended = True
        return 0


class Laboratory:
    """Results folders and runs that are none."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.runs: list[Immortal] = []
        self.finished: list[int] = []

    def folder(self) -> Path:
        """A folder."""
        folder = self.base / str(len(self.finished))
        folder.mkdir()
        return folder

    def begin(self, _: Path) -> Immortal:
        """A run."""
        self.runs.append(Immortal(self))
        return self.runs[-1]

    def finish(self, _: Path, __: Found, runs: list[Immortal]) -> None:
        """Count them."""
        self.finished.append(len(runs))


def test_as_many_are_killed_as_asked_for_in_rounds(tmp_path: Path) -> None:
    found, laboratory, told = Found(), Laboratory(tmp_path), list[tuple[int, int]]()

    def end(pid: int, role: str, into: Found) -> None:
        into.faults[f"SIGKILL to {role}"] += 1

    def gone(run: Any, before: Any) -> float:
        told.append((run.pid, len(before)))
        return 3.0 if before else 1.0

    roles = {
        killing.COMMAND: killing.Role(1, killing.the_command, end),
        "a job": killing.Role(1, lambda run: [7] if run.is_at_work() else [], end),
    }
    how = killing.Killing(roles, every_s=1e-6, a_round=4, gone=gone)
    killing.killed(laboratory, found, random.Random(1), how, 10)  # type: ignore[arg-type]
    assert sum(found.faults.values()) == 10
    assert {*found.faults} == {"SIGKILL to the command", "SIGKILL to a job"}
    assert len(laboratory.finished) == 3  # rounds of 4, 4 and 2
    of_the_command = found.faults["SIGKILL to the command"]
    assert sum(laboratory.finished) == len(laboratory.runs) == of_the_command + 3
    assert len(told) == of_the_command + 3
    assert sum(before == 2 for _, before in told) == of_the_command
    assert found.gone_s == 3.0
    assert not found.wrong
    assert not [*tmp_path.iterdir()]
