"""Real clusters on one machine, to try executors on: Slurm with two nodes, from Debian's packages, and Ray.

``python -m perf.clusters DIR`` starts Slurm in a folder and stops it when interrupted. It needs the packages
``slurm-wlm`` and ``munge``, and no rights: it has its own keys, ports and files.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONF = """
ClusterName=tiny
SlurmctldHost=localhost
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=10
MinJobAge=300
SwitchType=switch/none
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=tiny Nodes=ALL Default=YES MaxTime=INFINITE State=UP PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


class Slurm:
    """A controller and two nodes of one processor each.

    :raises RuntimeError: if it does not come up.
    """

    def __init__(self, root: Path, nodes: int = 2) -> None:
        self.root, self.nodes = root.resolve(), [f"n{index + 1}" for index in range(nodes)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What finds this cluster."""
        return {"SLURM_CONF": str(self.root / "slurm.conf")}

    def start(self) -> None:
        """Bring everything up, and wait until both nodes take jobs."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.root / name).mkdir(exist_ok=True)
        ports = free_ports(len(self.nodes) + 1)
        lines = [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1 State=UNKNOWN"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        text = CONF.format(user=getpass.getuser(), root=self.root, controller=ports[0], nodes="\n".join(lines))
        (self.root / "slurm.conf").write_text(text)
        key = self.root / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        self._spawn("munged", "munged", "--foreground", "--force", f"--key-file={key}", *self._munge_files())
        wait(lambda: (self.root / "munge.socket").exists(), 10, "munged")
        self._spawn("slurmctld", "slurmctld", "-D", "-c")
        for node in self.nodes:
            self.start_node(node)
        wait(lambda: self.ask("sinfo", "-h", "-o", "%T").split() == ["idle"], 60, "the nodes of Slurm")

    def _munge_files(self) -> Iterator[str]:
        for option, name in (("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed")):
            yield f"--{option}={self.root}/munge.{name}"

    def start_node(self, node: str) -> None:
        """Start a node."""
        self._spawn(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """What happens to a node without power: its daemon, the steps on it and their jobs are gone."""
        self._running.pop(node).kill()
        for pid, words, environment in processes():
            stepd = "slurmstepd" in words and f"SLURMD_NODENAME={node}" not in environment
            of_node = f"SLURMD_NODENAME={node}" in environment and f"SLURM_CONF={self.root}" in environment
            if of_node or (stepd and self._on(pid, node)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _on(self, pid: int, node: str) -> bool:
        """Whether a slurmstepd is of that node: its children are."""
        return any(f"SLURMD_NODENAME={node}" in environment for _, _, environment in processes(parent=pid))

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints."""
        environment = os.environ | self.environment
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        """End everything."""
        self.ask("scancel", "--user", getpass.getuser())
        with suppress(RuntimeError):
            wait(lambda: not self.ask("squeue", "-h").strip(), 20, "the last jobs")
        for process in reversed(self._running.values()):
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _spawn(self, name: str, program: str, *words: str) -> None:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            raise RuntimeError(f"{program} is missing: apt-get install slurm-wlm munge")
        with (self.root / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                [path, *words], stdout=out, stderr=out, env=os.environ | self.environment, start_new_session=True
            )


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    with_port = [socket.socket() for _ in range(number)]
    try:
        for one in with_port:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in with_port]
    finally:
        for one in with_port:
            one.close()


def wait(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something is so.

    :raises RuntimeError: if it takes longer.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise RuntimeError(f"{what}: not there after {seconds:g} s")
        time.sleep(0.2)


def processes(parent: int | None = None) -> Iterator[tuple[int, str, str]]:
    """Process number, command line and environment of every process that may be looked at (Linux)."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, IndexError, ValueError):
            if parent is not None and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (folder / "environ").read_bytes().decode(errors="replace")
            yield int(folder.name), words, environment


@contextmanager
def slurm(root: Path) -> Iterator[Slurm]:
    """A Slurm cluster for as long as it is needed, which this process and its children find."""
    cluster, before = Slurm(root), dict(os.environ)
    try:
        cluster.start()
        os.environ |= cluster.environment
        yield cluster
    finally:
        cluster.stop()
        os.environ.pop("SLURM_CONF", None)
        os.environ |= {name: before[name] for name in before.keys() & cluster.environment.keys()}


@contextmanager
def ray(nodes: int = 2) -> Iterator[Any]:
    """A Ray cluster of nodes with one processor each, which this process is connected to.

    Gives :class:`ray.cluster_utils.Cluster`.
    """
    import ray as library
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # its own 15 starves its jobs on a busy machine
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        library.shutdown()
        cluster.shutdown()


def main() -> int:
    """Start Slurm in a folder until interrupted."""
    with slurm(Path(sys.argv[1])) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
