"""What can happen to a run on a Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from perf.chaos.killing import COMMAND, Killing, Role, kill, killed, the_command
from perf.chaos.lab import GONE_S, PROGRESS, Found, Lab, alive, children, jobs, servers
from perf.chaos.local import Scenario, never

MEMORY = 100 * 2**20


def _raylets(cluster: Any) -> dict[int, Any]:
    """Process number → node, of those that jobs run on."""
    return {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}


def _workers(cluster: Any) -> list[int]:
    """Ray's processes that look after a job."""
    return [pid for raylet in _raylets(cluster) for pid in children(raylet) if [*servers(pid)]]


def _jobs(cluster: Any) -> list[int]:
    return [job for worker in _workers(cluster) for job in jobs(worker)]


def _lose(cluster: Any, raylet: int) -> set[int]:
    """SIGKILL to a raylet; Ray is told of the node's end, and gets another. The jobs that it had."""
    theirs = {job for worker in children(raylet) for job in jobs(worker)}
    node = _raylets(cluster)[raylet]
    with suppress(ProcessLookupError):
        os.kill(raylet, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    return theirs


def _gone(pids: set[int]) -> float:
    """Seconds until they are."""
    since = time.monotonic()
    while any(map(alive, pids)) and time.monotonic() - since <= GONE_S:
        time.sleep(0.1)
    return time.monotonic() - since


def killing(cluster: Any) -> Killing:
    """The command, a job, the Ray worker that looks after it, or a node's raylet."""

    def raylet_lost(raylet: int, role: str, found: Found) -> None:
        found.faults[f"SIGKILL to {role}"] += 1
        found.gone_s = max(found.gone_s, _gone(_lose(cluster, raylet)))

    return Killing(
        roles={
            COMMAND: Role(1, the_command),
            "a job": Role(3, lambda _: _jobs(cluster)),
            "a Ray worker": Role(3, lambda _: _workers(cluster)),
            "a raylet": Role(1, lambda _: [*_raylets(cluster)], raylet_lost),
        },
        every_s=2.0,
        a_round=12,
        gone=lambda _, before: _gone({*before.get("a job", []), *_jobs(cluster)}),
    )


def node(lab: Lab, found: Found, _: random.Random, cluster: Any) -> None:
    """A node's death in mid-run: its raylet, its workers and their jobs. The job goes on on another node."""
    results = lab.folder()
    run = lab.begin(results)
    run.heard(["epoch"])
    raylet = next((raylet for raylet in _raylets(cluster) if any(map(jobs_of, children(raylet)))), None)
    if raylet is None:
        found.wrong.append("no job was running")
        run.wait()
        return
    for pid in _below(raylet):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    found.gone_s = max(found.gone_s, _gone(_lose(cluster, raylet)))
    at = time.monotonic()
    found.faults["a node's death"] += 1
    on = run.heard(["resumed"], at)
    found.recovery_s += [] if on is None else [on - at]
    if on is None:
        found.wrong.append("no job went on from its last epoch")
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run that lost a node")
    lab.finish(results, found, [run], timed=False)


def jobs_of(worker: int) -> list[int]:
    """The jobs of a Ray worker."""
    return [*jobs(worker)]


def _below(pid: int) -> Iterator[int]:
    """Everything that a process has started, directly or not, the latest first."""
    for child in children(pid):
        yield from _below(child)
        yield child


def stopped(lab: Lab, found: Found, _: random.Random, cluster: Any) -> None:
    """SIGSTOP to a Ray worker, which goes on later."""
    results = lab.folder()
    run = lab.begin(results)
    run.heard(["epoch"])
    workers = _workers(cluster)
    if not workers:
        found.wrong.append("no job was running")
    for worker in workers:
        kill(worker, signal.SIGSTOP, "a Ray worker", found)
    time.sleep(5)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    at = time.monotonic()
    on = run.heard(PROGRESS, at)
    found.recovery_s += [] if on is None else [on - at]
    if run.wait() != 0:
        found.wrong.append(f"exit code {run.process.returncode} of the run with a stopped worker")
    lab.finish(results, found, [run], timed=False)


def scenarios(cluster: Any, kills: int) -> dict[str, Scenario]:
    """Name → what it is called, what does it, why it cannot be done here, and what else it is told."""
    return {
        "killed": ("SIGKILL at random moments", killed, never, (killing(cluster), kills)),
        "node": ("a node dies", partial(node, cluster=cluster), never, ()),
        "stopped": ("a worker is stopped", partial(stopped, cluster=cluster), never, ()),
    }
