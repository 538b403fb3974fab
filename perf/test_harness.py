"""Timings of the harness, with pytest-benchmark: studies, the store and the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.analysis import table
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
