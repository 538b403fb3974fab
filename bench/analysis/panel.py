"""The other judges of a metric: columns of the table that hold the same distance in other features."""

from __future__ import annotations

from collections.abc import Iterable

from bench.analysis.table import STABLE


def others(metric: str, columns: Iterable[str]) -> dict[str, str]:
    """Judge → its column, as ``texture`` → ``fid_texture``; nothing where results have the headline judge alone."""
    start = f"{metric}_"
    return {name.removeprefix(start): name for name in columns if name.startswith(start) and name not in STABLE}
