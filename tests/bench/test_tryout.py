"""The trial of ``--workers auto``: what it makes of noise, its processes, and the memory that there is room in."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.execute import tryout
from bench.execute.split import DUELS, compared, splits
from bench.machine.room import memory_bytes
from bench.paths import ROOT
from bench.study.model import Cell
from tests.bench.test_split import fake, of_study


def noisy(gains: dict[int, float], noise: float, seed: int) -> Callable[[Sequence[Cell], int, int], list[float]]:
    """Trials of which each is off by that share at random; gains: jobs at once → how many times one alone's work."""
    chance = random.Random(seed)

    def attempt(_: Sequence[Cell], workers: int, __: int) -> list[float]:
        done = gains.get(workers, 1.0) * max(0.1, chance.gauss(1, noise))
        return [workers / done] * workers

    return attempt


def share_of_several(gains: dict[int, float], noise: float, cores: int = 64) -> float:
    """How often several jobs at once are chosen."""
    runs = 400
    found = splits(cores, cores)
    return sum(compared([], found, noisy(gains, noise, seed))[0].workers > 1 for seed in range(runs)) / runs


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("cores", [2, 64])
def test_chance_does_not_choose_several(noise: float, cores: int) -> None:
    """However much the measurements scatter: the best of many equals looks better than it is. Seven splits, or two."""
    assert share_of_several({}, noise, cores) < (0.02 if noise < 0.1 else 0.06)
    under = dict.fromkeys(range(2, 65), 1.04)
    assert share_of_several(under, noise, cores) < 0.09


def test_a_real_gain_is_seen_through_noise() -> None:
    assert share_of_several({2: 1.3}, 0.05, cores=2) > 0.97
    assert share_of_several({4: 1.3, 8: 1.25}, 0.05) > 0.97
    won = Counter(compared([], splits(64, 64), noisy({4: 1.4, 8: 1.2}, 0.05, seed))[0].workers for seed in range(100))
    assert won[4] > 90


@pytest.mark.parametrize("cores", [2, 4, 64])
def test_a_trial_is_not_much_longer_than_two_rounds(cores: int) -> None:
    """Each split of several has its rounds, and then the best its duels; a duel that is lost is the last."""
    found, tries = splits(cores, cores), list[int]()

    def attempt(_: Sequence[Cell], workers: int, __: int) -> list[float]:
        tries.append(workers)
        return fake(1.3)([], workers, 1)

    assert compared([], found, attempt)[0].workers > 1
    assert len(tries) <= 2 * 2 * len(found)
    assert tries.count(1) == DUELS
    tries.clear()
    assert compared([], found, lambda *given: attempt(*given) and [given[1] / 1.0] * given[1])[0] == found[0]
    assert tries.count(1) == 1


def test_processes_are_really_timed() -> None:
    """Two processes of a thread each answer with the seconds of a job."""
    job, *_ = of_study().jobs.values()
    seconds = tryout.tried(job, 2, 1)
    assert len(seconds) == 2
    assert all(0 < each < 60 for each in seconds)


def test_a_process_that_cannot_work_says_nothing() -> None:
    """Nor does it print anything."""
    code = (
        "from bench.execute.tryout import tried\n"
        "from tests.bench.test_split import of_study\n"
        "job, *_ = of_study().jobs.values()\n"
        "print(tried([job[0].model_copy(update={'n': 'many'})], 1, 1))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def pretend(monkeypatch: pytest.MonkeyPatch, *says: Sequence[float | None]) -> list[str]:
    """Processes that say such things and are gone, or stay (None last); what is done to them in the end.

    No more than these can be started.
    """
    done: list[str] = []
    stay = []
    each = iter(says)

    def start(*_: object) -> tuple[Any, Any]:
        if (words := next(each, None)) is None:
            raise EOFError
        ours, theirs = multiprocessing.Pipe()
        for word in words:
            if word is not None:
                theirs.send(word)
        if words[-1] is None:
            stay.append(theirs)
        else:
            theirs.close()
        return SimpleNamespace(kill=lambda: done.append("kill"), join=lambda: done.append("join")), ours

    monkeypatch.setattr(tryout, "_start", start)
    return done


def test_a_process_that_dies_once_it_is_ready_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others count."""
    done = pretend(monkeypatch, [0.0], [0.0, 2.0, None], [0.0])
    assert tryout.tried([], 3, 1) == [2.0]
    assert done == ["kill"] * 3 + ["join"] * 3


def test_processes_end_where_one_more_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of processes may have died."""
    done = pretend(monkeypatch, [0.0, 2.0, None], [0.0, 2.0, None])
    assert tryout.tried([], 3, 1) == []
    assert done == ["kill"] * 2 + ["join"] * 2


def test_a_server_that_dies_at_a_start_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: object) -> None:
        raise EOFError

    monkeypatch.setattr(tryout.processes.CONTEXT.Process, "start", start)
    before = len(os.listdir("/dev/fd"))
    assert tryout.tried([], 2, 1) == []
    assert len(os.listdir("/dev/fd")) <= before


def test_all_processes_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryout, "PATIENCE_S", 0.3)
    pretend(monkeypatch, *[[None]] * 20)
    began = time.monotonic()
    assert tryout.tried([], 20, 1) == []
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "5000"}, 5000),
        ("0::/\n", {"memory.max": "7000\n"}, 7000),
        ("0::/docker/x\n", {"memory.max": "6000\n"}, 6000),
        ("3:cpu:/\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "4000\n"}, 4000),
        ("4:memory,hugetlb:/docker/x\n", {"memory/memory.limit_in_bytes": "3000\n"}, 3000),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("3:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "10\n", "a/memory.max": "10\n"}, None),
        (None, {"memory.max": "10\n"}, None),
    ],
)
def test_room_is_what_the_group_may_have(
    tmp_path: Path, group: str | None, limits: dict[str, str], expected: int | None
) -> None:
    """A group has a limit in version 2, or in version 1; or a group around it has one, or none has."""
    for name, text in {f"sys/fs/cgroup/{name}": text for name, text in limits.items()}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    if group is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(group)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_bytes(tmp_path) == (whole if expected is None else expected)
