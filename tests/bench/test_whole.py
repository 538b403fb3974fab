"""The largest whole block of a table with holes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bench.analysis.whole import block


def cells(rows: Sequence[object], columns: Sequence[object]) -> int:
    return len(rows) * len(columns)


def test_the_block_is_the_best_there_is() -> None:
    """Against every set of columns, of random tables."""
    random = np.random.default_rng(0)
    for _ in range(50):
        table = random.random((6, 5)) < 0.7
        have = {i: list(np.flatnonzero(row)) for i, row in enumerate(table)}
        rows, columns = block(have, cells)
        assert all(table[i, j] for i in rows for j in columns)
        every = (of for n in range(1, 6) for of in itertools.combinations(range(5), n))
        assert len(rows) * len(columns) == max(int(table[:, of].all(1).sum()) * len(of) for of in every)


def test_the_order_does_not_matter() -> None:
    """Tables come best first: what is kept must not depend on that."""
    have = {"a": [1, 2], "b": [1, 3], "c": [2, 3]}
    turned = {row: columns[::-1] for row, columns in reversed(have.items())}
    first, second = (block(each, cells) for each in (have, turned))
    assert (sorted(first[0]), first[1]) == (sorted(second[0]), second[1])


def test_nothing() -> None:
    assert block({}, cells) == block({"a": []}, cells) == ([], [])


def test_many_holes_take_no_time() -> None:
    """40 rows and columns at random have far more sets of columns than anybody could look at."""
    table = np.random.default_rng(1).random((40, 40)) < 0.8
    rows, columns = block({i: np.flatnonzero(row).tolist() for i, row in enumerate(table)}, cells)
    assert len(rows) * len(columns) > 100
