"""What can happen to a run on a Slurm cluster: two nodes on this machine, with its real daemons."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from perf.chaos.killing import COMMAND, Killing, Role, killed, the_command
from perf.chaos.lab import GONE_S, Found, Lab, Run, children
from perf.chaos.local import Scenario, never
from perf.clusters import Slurm, processes, wait

WORK = "submitit.core._submit"
LIMIT = ("--with", "time=4", "--with", "signal_delay_s=30")
"""A time limit of four minutes. A job is told half a minute before, and up to half a minute earlier."""
TOLD_S = 260.0


def _jobs(run: Run) -> list[int]:
    """The jobs that a run has submitted and that are running; Slurm gives them its environment."""
    return [pid for pid, words, about in processes() if WORK in words and run.mark in about and "srun " not in words]


def _steps(run: Run) -> list[int]:
    """Slurm's own processes that look after them."""
    ours = {pid for pid, _, about in processes() if run.mark in about}
    return [pid for pid, words, _ in processes() if words.startswith("slurmstepd") and ours & {*children(pid)}]


def _node_of(run: Run) -> str | None:
    """The node that one of its jobs is on."""
    for pid in _jobs(run):
        with suppress(OSError):
            about = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes())
            return about.partition("SLURMD_NODENAME=")[2].partition("\0")[0] or None
    return None


def _over(cluster: Slurm, run: Run) -> float:
    """Seconds until no job is left of a study that is done."""
    since = time.monotonic()
    while time.monotonic() - since <= GONE_S and (_jobs(run) or cluster.ask("squeue", "-h").strip()):
        time.sleep(0.1)
    return time.monotonic() - since


def killing(cluster: Slurm) -> Killing:
    """The command, a job, or the slurmstepd that looks after it."""

    def gone(run: Run, before: Mapping[str, list[int]]) -> float:
        return 0.0 if before else _over(cluster, run)  # its jobs go on without the command

    return Killing(
        roles={
            COMMAND: Role(1, the_command),
            "a job": Role(3, _jobs),
            "slurmstepd": Role(3, _steps),
        },
        every_s=2.0,
        a_round=12,
        gone=gone,
    )


def node(lab: Lab, found: Found, _: random.Random, cluster: Slurm) -> None:
    """A node without power in mid-run: Slurm finds out, and has its job begin again on the other."""
    results = lab.folder()
    run = lab.begin(results)
    run.heard(["epoch"])
    name = _node_of(run)
    if name is None:
        found.wrong.append("no job was running")
        run.wait()
        return
    cluster.kill_node(name)
    at = time.monotonic()
    found.faults["a node's death"] += 1
    on = run.heard(["resumed"], at)
    found.recovery_s += [] if on is None else [on - at]
    if on is None:
        found.wrong.append("no job went on from its last epoch")
    cluster.start_node(name)
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run that lost a node")
    found.gone_s = max(found.gone_s, _over(cluster, run))
    lab.finish(results, found, [run], timed=False)


def limit(lab: Lab, found: Found, _: random.Random, cluster: Slurm) -> None:
    """A time limit that is too short for a job: it is put back in the queue before, and goes on."""
    results = lab.folder()
    run = lab.begin(results)
    run.heard(["epoch"])
    late, at = _jobs(run)[:1], 0.0
    for pid in late:  # it is made slow enough to meet its limit, however fast the machine is
        os.kill(pid, signal.SIGSTOP)
        time.sleep(1)  # until it has stopped
        wait(lambda: _is_told(pid), TOLD_S, "Slurm's signal before the time limit")  # noqa: B023 (used at once)
        at = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    _put_back(run, found, "a time limit", at)
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run with a time limit")
    found.gone_s = max(found.gone_s, _over(cluster, run))
    lab.finish(results, found, [run], timed=False)


def _is_told(pid: int) -> bool:
    """Whether a stopped process has a SIGUSR2 waiting for it, or Slurm has let it go on with one."""
    status: dict[str, str] = {}
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    waiting = (int(status.get(name, "0"), 16) for name in ("SigPnd", "ShdPnd"))
    return not status.get("State", "").startswith("T") or any(mask >> (signal.SIGUSR2 - 1) & 1 for mask in waiting)


def preempted(lab: Lab, found: Found, _: random.Random, cluster: Slurm) -> None:
    """Other jobs with a higher priority take the nodes away, for a while."""
    results = lab.folder()
    run = lab.begin(results)
    run.heard(["epoch"])
    cluster.ask("sbatch", "--partition=urgent", "--nodes=2", "--output=/dev/null", "--wrap=sleep 3")
    _put_back(run, found, "a preemption", time.monotonic())
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run that was preempted")
    found.gone_s = max(found.gone_s, _over(cluster, run))
    lab.finish(results, found, [run], timed=False)


def _put_back(run: Run, found: Found, what: str, at: float) -> None:
    """A job must begin again, and go on from an epoch."""
    resumed = run.heard(["resumed"], at)
    if resumed is None:
        found.wrong.append(f"no job went on from an epoch after {what}")
        return
    found.faults[what] += 1
    found.recovery_s.append(resumed - at)


def scenarios(cluster: Slurm, kills: int) -> dict[str, Scenario]:
    """Name → what it is called, what does it, why it cannot be done here, and what else it is told."""
    return {
        "killed": ("SIGKILL at random moments", killed, never, (killing(cluster), kills)),
        "node": ("a node dies", partial(node, cluster=cluster), never, ()),
        "limit": ("the time limit comes", partial(limit, cluster=cluster), never, ()),
        "preempted": ("preempted", partial(preempted, cluster=cluster), never, ()),
    }
