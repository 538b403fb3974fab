"""What is said of executors follows from the seconds of runs."""

from __future__ import annotations

from typing import Any

from perf import executors


def test_rows_and_bars_by_hand() -> None:
    def runs(executor: str, one: float, two: float, own: list[float]) -> list[dict[str, Any]]:
        return [
            {"executor": executor, "workers": 1, "seconds": one, "own, s": own},
            {"executor": executor, "workers": 2, "seconds": two, "own, s": [99.0]},
        ]

    raw = runs("local", 80, 40, [1.0, 2.0, 9.0]) + runs("ray", 90, 60, [0.5]) + runs("slurm", 100, 50, [7.0])
    found = executors.summary(raw, 100.0)
    assert [(row["throughput"], row["added to a job, s"]) for row in found["rows"]] == [(2, 2), (1.5, 0.5), (2, 7)]
    assert [(one["measured"], one["met"]) for one in found["claims"]] == [
        ("2.00×", True),
        ("2.0%", True),
        ("1.50×", False),
        ("0.5%", True),
        ("2.00×", True),
        ("7.0%", False),
    ]
