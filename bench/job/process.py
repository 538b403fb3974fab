"""The process of a job: it is given a job's cells and sends events."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import torch
from filelock import FileLock, Timeout

from bench.errors import UserError
from bench.job.engine import Calls, Wish
from bench.job.events import BUSY, Event
from bench.job.failures import reason_of, record_failure
from bench.job.run import run
from bench.store.store import Store
from bench.study.model import Cell


def process(spec: dict[str, Any], events: Connection, log: str) -> NoReturn:
    """Be the process of a job: what it or a library prints goes to the file ``log``, events go to ``events``."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ |= spec["visible"]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # tidily: no half-written file stays
    sys.exit(work(spec, lambda event: events.send_bytes(json.dumps(event).encode())))


def work(spec: dict[str, Any], say: Callable[[Event], None]) -> int:
    """Run the job {"cells", "store", "device", …} under its lock, and return the process's exit code."""
    cells = [Cell.model_validate(cell) for cell in spec["cells"]]
    store, key = Store(Path(spec["store"])), cells[0].job.key
    torch.set_num_threads(spec["threads"])
    try:
        lock = FileLock(store.path("locks", key, ".lock"), timeout=0)
        with lock:
            device = torch.device(spec["device"])
            try:
                for event in run(
                    cells,
                    store,
                    device=device,
                    data_dir=Path(spec["data_dir"]) if spec["data_dir"] else None,
                    exclusive=spec["exclusive"],
                    began=spec["began"],
                    sample_batch=spec["sample_batch"],
                    estimate=spec["estimate_s"],
                    likelihood_of=spec["likelihood"],
                    wish=Wish(spec["engine"], {task: Calls(*counts) for task, counts in spec["calls"].items()}),
                ):
                    for path in store.damaged:
                        say({"event": "damaged", "path": str(path)})
                    store.damaged.clear()
                    say(event)
            except BrokenPipeError:
                return 1  # whoever started this job is gone
            except UserError as error:
                say({"event": "refused", "reason": str(error)})
                return 2
            except Exception as error:
                traceback.print_exc()
                record_failure(cells, store, reason_of(error), device)
                say({"event": "failed", "reason": reason_of(error)})
                return 1
    except Timeout:
        return BUSY
    return 0
