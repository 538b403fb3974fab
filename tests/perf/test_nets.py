"""Ratios of networks' times are taken within a round."""

from __future__ import annotations

import pytest

from perf import nets


def test_a_machine_that_drifts_changes_no_ratio() -> None:
    """Every round is slower than the one before; the other network always takes twice as long."""
    drift = [1.0, 2.0, 4.0]
    raw = {
        "unet training": drift, "dit training": [2 * s for s in drift],
        "unet sampling": drift, "dit sampling": [s / 2 for s in drift],
    }  # fmt: skip
    found = {row["net"]: row for row in nets.rows(["unet", "dit"], raw, images=100)}
    assert found["unet"]["training, ms an image"] == pytest.approx(20)
    assert found["unet"]["training, of unet's time"] == 1
    assert found["dit"]["training, of unet's time"] == 2
    assert found["dit"]["sampling, of unet's time"] == 0.5


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert nets.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err == "perf.nets: --rounds must be at least 1, not 0\n"
