"""SQL over a results folder, through duckdb: the views ``cells`` and ``jobs``, whatever the study.

The records are checked and worked out as for the stable table, put into a database in memory, and the door is shut
before the query runs: it can read those two tables and nothing else.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.analysis.table import FLAGS, INTEGERS, TEXT, Known, cell_row, columns, training
from bench.errors import UserError
from bench.score.judges import pinned
from bench.store.records import CellRecord, JobRecord, TrainedJob
from bench.store.status import judge
from bench.store.store import Store
from bench.study.axis import axes_of
from bench.study.model import Job

if TYPE_CHECKING:
    import duckdb


#: a job's own columns, before those of its training in the stable table; axes that came later follow them
JOBS = (
    "key", "status", "dataset", "net", "objective", "weight", "schedule", "T", "seed", "batch_size", "lr",
    "epochs", "loss", "eps_mse", "x0_mse", "epoch_s", "first_epoch_s", "train_s", "train_images_per_s", "wall_s",
    "overhead", "estimate_s", "params", "megabytes", "peak_rss_mb", "peak_device_mb", "train_flops_per_image",
    "forward_flops_per_image", "device", "processor", "gpu", "machine", "threads", "torch", "commit", "dirty", "code",
    "created", "reason", "train_engine", "timesteps", "bpd", "bpd_se",
    "bound_bpd", "bound_bpd_se", "prior_bpd", "decoder_bpd", "flow_bpd", "flow_bpd_se",
)  # fmt: skip
_TEXT = TEXT | {"processor", "gpu", "machine", "torch", "created"}
_INTEGERS = INTEGERS | {"batch_size", "threads"}
MOST_S, MOST_MB, MOST_ROWS = 8.0, 1000, 1_000_000
"""Limits of a query: seconds, memory of the database, rows of the answer."""
THREADS, THREAD_MB = min(4, os.cpu_count() or 1), 128
"""Threads of the database, and the address space that one may reserve without using it."""
CHUNK = 10_000
"""Rows held in Python at once."""

HINT = "the views are cells and jobs; their columns: ddpm-bench query 'DESCRIBE cells'"


class Answer(NamedTuple):
    """Column names, and rows of Python values."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def ask(sql: str, store: Store) -> Answer:
    """The rows that a query selects.

    :raises UserError: for anything but one query that only reads, in one line.
    """
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise UserError(f"give one query that only reads: SELECT, DESCRIBE or SUMMARIZE ({HINT})")
        with duckdb.connect(":memory:") as database:
            # a type is guessed from a sample of a chunk's rows, by default 1,000; a larger number below fits none
            database.execute(f"SET pandas_analyze_sample = {CHUNK}")
            # a cell may be of many studies
            _fill(database, "cells", [name for name in columns() if name != "study"], _cells(store))
            _fill(database, "jobs", list(dict.fromkeys((*JOBS, *(axis.column for axis in axes_of(Job))))), _jobs(store))
            database.execute(f"SET enable_external_access = false; SET memory_limit = '{MOST_MB}MB'")
            database.execute(f"SET threads = {THREADS}")
            database.execute("SET lock_configuration = true")
            with _interrupted(database), _bounded():
                found = database.execute(statements[0])
                rows = found.fetchmany(MOST_ROWS + 1)
            if len(rows) > MOST_ROWS:
                raise UserError(f"more than {MOST_ROWS:,} rows: add a LIMIT")
            return Answer([column[0] for column in found.description or []], rows)
    except duckdb.InterruptException as error:
        raise UserError(f"the query took over {MOST_S:g} s ({HINT})") from error
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise UserError(f"the query needs over {MOST_MB:,} MB ({HINT})") from error
    except duckdb.Error as error:
        raise UserError(f"{_one_line(error)} ({HINT})") from error


@contextmanager
def _interrupted(database: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """End what the database is at after :data:`MOST_S`."""
    timer = threading.Timer(MOST_S, database.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _bounded() -> Iterator[None]:
    """Give this process little more memory than it has (Linux only).

    The database's own limit does not count the lists that a query makes, and it cannot be interrupted at making one.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    limits = [
        pages * resource.getpagesize() + (MOST_MB + THREADS * THREAD_MB) * 2**20,
        *(one for one in before if one != resource.RLIM_INFINITY),
    ]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _one_line(error: Exception) -> str:
    """The error without duckdb's picture of where in the query it is, and without its guess, which is far off."""
    text = str(error).split("\n\nLINE ")[0].split("\nDid you mean ")[0]
    return " ".join(text.split())


def _type(column: str) -> str:
    if column in FLAGS:
        return "BOOLEAN"
    return "VARCHAR" if column in _TEXT else "BIGINT" if column in _INTEGERS else "DOUBLE"


def _fill(
    database: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], rows: Iterator[dict[str, Any]]
) -> None:
    """Make a table, a chunk of rows at a time."""
    import pandas as pd

    types = {column: _type(column) for column in columns}
    declared = ", ".join(f'"{column}" {type_}' for column, type_ in types.items())
    database.execute(f"CREATE TABLE {name} ({declared})")
    casts = ", ".join(f'"{column}"::{type_}' for column, type_ in types.items())
    while chunk := list(itertools.islice(rows, CHUNK)):
        frame = pd.DataFrame({column: [row.get(column) for row in chunk] for column in columns}, dtype=object)
        database.register("chunk", frame)
        database.execute(f"INSERT INTO {name} SELECT {casts} FROM chunk")  # noqa: S608 (names from above)
        database.unregister("chunk")


def _cells(store: Store) -> Iterator[dict[str, Any]]:
    """A row a cell record. Each job's columns are kept, for its cells come in no order."""
    jobs = {key: training(record) for key, record in store.records(JobRecord)}
    known = Known()
    for _, record in store.records(CellRecord):
        found = judge(record.config, record, None, pinned(record.config.job.dataset))
        yield cell_row(found, "", known) | jobs.get(record.job, {})


def _jobs(store: Store) -> Iterator[dict[str, Any]]:
    """A row a training run's record."""
    for key, record in store.records(JobRecord):
        job = record.config
        yield {
            **job.told,
            "dataset": job.dataset,
            **{name: getattr(job.train, name) for name in ("batch_size", "lr")},
            **(_trained(record) if isinstance(record, TrainedJob) else {}),
            **dict(record.environment),
            "created": record.created.isoformat(),
            "status": record.status,
            "reason": getattr(record, "reason", None),
            "key": key,
        }


def _trained(job: TrainedJob) -> dict[str, Any]:
    """The columns of a complete training run: its last epoch's, the stable table's, and the harness's."""
    runs = job.harness
    return {
        **(dict(job.epochs[-1]) if job.epochs else {}),
        **training(job),
        **({"wall_s": sum(run.wall_s for run in runs)} if runs else {}),
        **({name: getattr(runs[0], name) for name in ("overhead", "estimate_s")} if runs else {}),
    }
