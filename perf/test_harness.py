"""Timings of the harness, with pytest-benchmark: studies, the store, the table, plans, reports, jobs and races."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from bench.analysis import table
from bench.analysis.effects import factors
from bench.analysis.frames import Results
from bench.execute import processes
from bench.execute.plan import plan
from bench.paths import REFERENCE
from bench.race.entries import ENTRIES, RUNNERS
from bench.race.task import Task
from bench.report.web.data import as_json, data_of
from bench.report.write import compose, write_files
from bench.store.records import CellRecord
from bench.store.store import Store
from bench.study import load
from tests.records import failed_cell, sampled, scored_cell

Benchmark = Callable[..., object]


def test_study_expansion(benchmark: Benchmark) -> None:
    benchmark(lambda: [cell.key for cell in load.load("full").cells])


def test_store_write(benchmark: Benchmark, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), load.load("quick").cells[0]
    benchmark(store.write, cell.key, scored_cell(cell))


def test_store_read(benchmark: Benchmark, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), load.load("quick").cells[0]
    store.write(cell.key, scored_cell(cell))
    benchmark(store.read_cell, CellRecord, cell)


def test_store_samples(benchmark: Benchmark, tmp_path: Path) -> None:
    store = Store(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (200, 1, 28, 28), np.uint8)
    benchmark(lambda: (store.save_samples("key", images, sampled()), store.load_samples("key")))


def test_table(benchmark: Benchmark, tmp_path: Path) -> None:
    quick, store = load.load("quick"), Store(tmp_path)
    for cell in quick.cells:
        store.write(cell.key, failed_cell(cell, "x" * 2000))
    benchmark(table.rows, quick, store)


def test_plan(benchmark: Benchmark) -> None:
    quick, store = load.load("quick"), Store(REFERENCE)
    benchmark(plan, quick, store)


def test_plan_of_a_large_grid(benchmark: Benchmark, tmp_path: Path) -> None:
    """Nothing is done yet: what is left is the expansion, what to be careful about, and the estimate."""

    def planned() -> None:
        full = load.load("full")
        full.warnings()
        plan(full, Store(tmp_path))

    benchmark(planned)


def test_report(benchmark: Benchmark) -> None:
    """All but its pictures and files."""
    quick, store = load.load("quick"), Store(REFERENCE)

    def composed() -> None:
        results = Results(quick, store)
        compose(results)
        as_json(data_of(results, "results"))

    benchmark(composed)


def test_files_of_a_report(benchmark: Benchmark, tmp_path: Path) -> None:
    """Its pictures and files, without the page."""
    blocks = compose(Results(load.load("quick"), Store(REFERENCE)))
    benchmark(write_files, tmp_path / "report", blocks)


def test_race(benchmark: Benchmark, tmp_path: Path) -> None:
    """One quick run of an entry, from the start of its process to the scores of its samples."""
    processes.warm()
    runner = RUNNERS["job"]
    settings = runner.quick(ENTRIES["unet-v"].settings)
    benchmark(lambda: runner.run(Task(settings, 0, "cpu2", 100, tmp_path)))


def test_shares_of_variance(benchmark: Benchmark) -> None:
    """What makes most of a large study's report: 6,000 cells of three seeds."""
    axes = {"objective": 5, "schedule": 4, "T": 2, "method": 10, "sample_steps": 5, "seed": 3}
    grid = np.array(np.meshgrid(*map(range, axes.values()), indexing="ij")).reshape(len(axes), -1).T
    fid = np.exp(np.random.default_rng(0).standard_normal(len(grid)) + grid.sum(1) / 5)
    benchmark(factors, pd.DataFrame(grid, columns=[*axes]).assign(fid=fid), [*axes][:-1])


def test_start_of_a_process(benchmark: Benchmark) -> None:
    """From the server that jobs come from, once it is warm."""
    processes.warm()

    def started() -> None:
        process = processes.CONTEXT.Process(target=int)
        with processes.environment():
            process.start()
        process.join()

    started()
    benchmark(started)
