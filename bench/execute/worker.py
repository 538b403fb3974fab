"""The process of a job as its parent sees it."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench.execute import processes
from bench.job.events import BUSY, Elsewhere, Event, from_json
from bench.job.process import process
from bench.job.spec import JobSpec
from bench.store.store import Store

GRACE_S = 5.0
TRIES = 3
LOST = 255  # what multiprocessing says where the server that knows the exit code is gone


class Worker:
    """A job's process, and the thread that reads its events.

    :param slot: what it sees as its CUDA devices, "" where that does not apply.
    :param said: where (worker, event) go; the event is None when the process is gone.
    :raises UserError: if its log cannot be written.
    :raises OSError: if no process can be started.
    """

    def __init__(self, spec: JobSpec, slot: str, said: queue.Queue[Said]) -> None:
        self.spec, self.slot = spec, slot
        self.ended = False
        """Whether it has said how it ended."""
        self._busy = False  # it has said that another process is at its job
        store = Store(spec.results)
        self._log = store.path("logs", spec.key, ".log")
        store.write_bytes(self._log, b"")
        self._process, ours = self._launch()
        self.pid = self._process.pid or 0
        self._reader = threading.Thread(target=self._read, args=(ours, said), daemon=True)
        self._reader.start()

    def _launch(self) -> tuple[BaseProcess, Connection]:
        """The process and where its events come from. The server of processes is started again where it has died."""
        visible = {"CUDA_VISIBLE_DEVICES": self.slot} if self.slot else {}
        for left in reversed(range(TRIES)):
            ours, theirs = processes.CONTEXT.Pipe(duplex=False)
            arguments = (self.spec, visible, theirs, str(self._log.resolve()))
            started = processes.CONTEXT.Process(target=process, args=arguments)
            try:
                processes.warm()
                with processes.environment():
                    started.start()
            except (EOFError, OSError) as error:
                ours.close()
                if not left:
                    raise OSError("the server of processes does not answer") from error
                time.sleep(0.1)
            else:
                return started, ours
            finally:
                theirs.close()
        raise AssertionError("unreachable")

    def _read(self, ours: Connection, said: queue.Queue[Said]) -> None:
        try:
            with ours, suppress(EOFError, OSError):  # whatever ends a process closes its end
                while True:
                    event = from_json(ours.recv_bytes())
                    if isinstance(event, Elsewhere):
                        self._busy = True
                    else:
                        said.put((self, event))
        finally:
            said.put((self, None))

    def wait(self) -> int:
        """The exit code, once the process is gone. A busy job's is known even where nobody knows it any more."""
        self._reader.join()
        self._process.join()
        return BUSY if self._busy else self._process.exitcode or 0

    def terminate(self) -> None:
        """Ask the process to end."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait until the process, which was asked to end, is gone; not for long."""
        self._reader.join(GRACE_S)
        self._signal(signal.SIGKILL)
        self.wait()

    def _signal(self, number: int) -> None:
        """Send a signal. Not by way of the process object, which knows nothing where its server is gone."""
        if self._reader.is_alive():  # its end of the pipe is open: this number is still its own
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stopped(self) -> bool:
        """Whether a signal has stopped the process, which then says nothing and does not end (Linux only)."""
        with suppress(OSError, IndexError):
            return Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "Tt"
        return False

    def reason(self, code: int) -> str:
        """Why a process died that could not say so itself."""
        if code == LOST:
            return "its process is gone, and so is the server of processes, which would know why"
        return why(code, self._log)


def why(code: int, log: Path) -> str:
    """Why a process with that exit code died, −9 or 137 for signal 9; ``log``: what it printed."""
    number = -code if code < 0 else code - 128  # it turns a polite request to end into an exit of its own
    if number in set(signal.Signals):
        name = signal.Signals(number).name
        return f"killed by {name}" + (" (out of memory?)" if number == signal.SIGKILL else "")
    lines: list[str] = []
    with suppress(OSError):
        lines = log.read_text(errors="replace").strip().splitlines()
    return f"crashed with exit code {code}" + (f": {lines[-1]}" if lines else "")


Said = tuple[Worker, Event | None]
