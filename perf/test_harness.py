"""Timings of the harness, with pytest-benchmark: studies, the store and the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.analysis import table
from bench.store.store import Store
from bench.study import load

Benchmark = Callable[..., object]


def test_study_expansion(benchmark: Benchmark) -> None:
    benchmark(lambda: [cell.key for cell in load.load("full").cells])


def test_store_write(benchmark: Benchmark, tmp_path: Path) -> None:
    store, record = Store(tmp_path), {"status": "done", "values": list(range(500))}
    benchmark(store.write, "cells", "key", record)


def test_store_read(benchmark: Benchmark, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("cells", "key", {"status": "done", "values": list(range(500))})
    benchmark(store.read, "cells", "key")


def test_store_samples(benchmark: Benchmark, tmp_path: Path) -> None:
    store = Store(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (200, 1, 28, 28), np.uint8)
    benchmark(lambda: (store.save_samples("key", images, {}), store.load_samples("key")))


def test_table(benchmark: Benchmark, tmp_path: Path) -> None:
    quick, store = load.load("quick"), Store(tmp_path)
    for cell in quick.cells:
        store.write("cells", cell.key, {"status": "failed", "reason": "x" * 2000})
    benchmark(table.rows, quick, store)
