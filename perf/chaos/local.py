"""What can happen to a run on one machine."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from perf.chaos.killing import COMMAND, Killing, Role, kill, killed, the_command
from perf.chaos.lab import GONE_S, PROGRESS, Found, Lab, Run, jobs, made, servers

DISK_MB = 96


KILLING = Killing(
    roles={
        COMMAND: Role(1, the_command),
        "a job": Role(4, lambda run: [*jobs(run.pid)]),
        "the server of jobs": Role(3, lambda run: [*servers(run.pid)]),
    },
    every_s=1.0,
    a_round=20,
    gone=lambda run, _: run.leftover_s(),
)
"""The server is what jobs are forked from."""


def jobs_killed(lab: Lab, found: Found, rng: random.Random, kills: int) -> None:
    """SIGKILL to jobs at random moments of their work, in one results folder."""
    results, runs = lab.folder(), list[Run]()
    while kills and made(results) != lab.expected:
        runs.append(run := lab.begin(results))
        while kills and not run.over():
            if not (there := [*jobs(run.pid)]):
                time.sleep(0.05)
                continue
            time.sleep(rng.expovariate(1 / 3))
            kill(there[0], signal.SIGKILL, "a job", found)
            kills -= 1
            while run.over() is False and there[0] in jobs(run.pid):
                time.sleep(0.05)
        run.wait()
    lab.finish(results, found, runs)


def asked(lab: Lab, found: Found, rng: random.Random) -> None:
    """SIGTERM, SIGHUP and SIGINT to the command, Ctrl-C at a terminal, and a terminal that is closed."""

    def interrupted(run: Run) -> None:
        os.write(run.keyboard, b"\x03")
        found.faults["Ctrl-C at a terminal"] += 1

    def hung_up(run: Run) -> None:
        os.kill(run.pid, signal.SIGHUP)
        os.close(run.keyboard)
        found.faults["a closed terminal"] += 1

    def sent(number: signal.Signals) -> Callable[[Run], None]:
        return lambda run: kill(run.pid, number, "the command", found)

    ways = [(sent(number), False) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    for way, terminal in [*ways, (interrupted, True), (hung_up, True)]:
        results = lab.folder()
        run = lab.begin(results, terminal=terminal)
        run.heard(["started"])
        time.sleep(rng.uniform(0, 5))
        if run.over():
            continue
        way(run)
        if run.wait(GONE_S) is None:
            found.wrong.append(f"{results.name}: the command did not end")
        found.gone_s = max(found.gone_s, run.leftover_s())
        lab.finish(results, found, [run])


def at_once(lab: Lab, found: Found, rng: random.Random, number: int) -> None:
    """So many runs in one results folder, as if on as many hosts where this may be done; one is killed."""
    results = lab.folder()
    apart = os.geteuid() == 0 and shutil.which("unshare") is not None
    runs = []
    for index in range(number):
        host = ["unshare", "--uts", "sh", "-c", f'hostname chaos-{index}; exec "$@"', "sh"] if apart else []
        runs.append(lab.begin(results, through=host))
    runs[0].heard(["epoch", "ended"])
    time.sleep(rng.uniform(0, 1))
    if not runs[0].over():
        kill(runs[0].pid, signal.SIGKILL, f"one of {number} commands at once", found)
        runs[0].wait()
        found.gone_s = max(found.gone_s, runs[0].leftover_s())
    for index, run in enumerate(runs[1:]):
        if run.wait() != 0:
            found.wrong.append(f"run {index + 2} of {number} ended with exit code {run.process.returncode}")
    found.faults[f"{number} runs at once{' as on as many hosts' if apart else ''}"] += 1
    lab.finish(results, found, runs, timed=False)


def stopped(lab: Lab, found: Found, _: random.Random) -> None:
    """SIGSTOP to a job, which goes on later; the second time its command is killed meanwhile."""
    for killing in (False, True):
        results = lab.folder()
        run = lab.begin(results)
        run.heard(["stepped", "epoch"])
        (job, *_) = [*jobs(run.pid)]
        kill(job, signal.SIGSTOP, "a job", found)
        at = time.monotonic()
        if killing:
            kill(run.pid, signal.SIGKILL, "the command of a stopped job", found)
            run.wait()
            found.gone_s = max(found.gone_s, run.leftover_s())
        else:
            if run.heard(["preparing"], at) is None:
                found.wrong.append("nothing was said of a stopped job")
            kill(job, signal.SIGCONT, "a job", found)
            at = time.monotonic()
            on = run.heard(PROGRESS, at)
            found.recovery_s += [] if on is None else [on - at]
            if run.wait() != 0:
                found.wrong.append(f"exit code {run.process.returncode} of the run with a stopped job")
        lab.finish(results, found, [run])


def full(lab: Lab, found: Found, _: random.Random) -> None:
    """A disk that is full in mid-run, and has room again for the next."""
    with disk(lab.base / "disk") as folder:
        results = lab.folder(folder)
        run = lab.begin(results)
        run.heard(["epoch"])
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass
        found.faults["a full disk"] += 1
        _one_line(run, "disk full: cannot write to", lab, found)
        (folder / "filler").unlink()
        lab.finish(results, found, [run])


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small disk of its own, in memory."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_MB}m", "chaos", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def read_only(lab: Lab, found: Found, _: random.Random) -> None:
    """A results folder that cannot be written from mid-run on, and can be again for the next."""
    results = lab.folder()
    plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    run = lab.begin(results, through=plain if os.geteuid() == 0 else ())
    run.heard(["epoch"])
    folders = [results, *(path for path in results.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    found.faults["a read-only folder"] += 1
    _one_line(run, "cannot write to folder", lab, found)
    for path in folders:
        path.chmod(0o755)
    lab.finish(results, found, [run])


def _one_line(run: Run, line: str, lab: Lab, found: Found) -> None:
    """The run must end by itself, with one line on why and exit code 2."""
    code = run.wait()
    found.gone_s = max(found.gone_s, run.leftover_s())
    said = lab.output.read_text(errors="replace").count(f"ddpm-bench: {line}")  # and once as the end of the job
    if code != 2 or said != 1:
        found.wrong.append(f"exit code {code}, and '{line}' is said {said} times")


def faketime() -> str:
    """The library that shifts a program's clock, from Debian's package libfaketime; "" where it is not."""
    return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")


def clock(lab: Lab, found: Found, _: random.Random) -> None:
    """A clock that jumps a day ahead after the first epoch, and two days back after the next."""
    results, offset = lab.folder(), lab.base / "offset"
    offset.write_text("+0")
    shifted = {
        "LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    run, at = lab.begin(results, environment=shifted), 0.0
    for jump in ("+1d", "-1d"):
        at = run.heard(["epoch"], at) or at
        offset.write_text(jump)
        found.faults["a jump of the clock"] += 1
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run with a jumping clock")
    found.gone_s = max(found.gone_s, run.leftover_s())
    lab.finish(results, found, [run])


def root_only() -> str:
    """Why a disk cannot be made here."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "only root can make a disk"


def no_faketime() -> str:
    """Why no clock can be shifted here."""
    return "" if faketime() else "it needs the package libfaketime"


def never() -> str:
    """Nothing is in the way."""
    return ""


Scenario = tuple[str, Callable[..., None], Callable[[], str], Sequence[object]]
LOCAL: dict[str, Scenario] = {
    "signals": ("asked to end", asked, never, ()),
    "stopped": ("a job is stopped", stopped, never, ()),
    "two": ("two runs at once", at_once, never, (2,)),
    "four": ("four runs at once", at_once, never, (4,)),
    "full": ("disk full", full, root_only, ()),
    "read-only": ("folder read-only", read_only, never, ()),
    "clock": ("the clock jumps", clock, no_faketime, ()),
}
"""Name → what it is called, what does it, why it cannot be done here, and what else it is told."""


def kills(number: int) -> dict[str, Scenario]:
    """The rows that kill so many processes."""
    most = max(1, number // 6)
    return {
        "jobs": ("SIGKILL to jobs at work", jobs_killed, never, (most,)),
        "killed": ("SIGKILL at random moments", killed, never, (KILLING, number - most)),
    }
