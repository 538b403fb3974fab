"""One FID by four libraries. Those that are not here are left out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.score.scorer import Scorer
from perf import scoring


def _noisy(images: Tensor) -> Tensor:
    noise = 60 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture
def scorer(world: Any, monkeypatch: pytest.MonkeyPatch) -> Scorer:
    """A tiny one; libraries that are not installed are left out."""
    for name, module in scoring.MODULES.items():
        if find_spec(module) is None:
            monkeypatch.delitem(scoring.LIBRARIES, name)
    return Scorer("mnist", world.images, world.store, torch.device("cpu"))


def test_every_library_finds_the_same_fid(world: Any, scorer: Scorer) -> None:
    found = scoring.compare(_noisy(world.images.test), world.images.train, scorer, rounds=2)
    assert found.keys() == scoring.LIBRARIES.keys()
    assert {scoring.OURS, scoring.ALL, "torch-fidelity"} <= found.keys()
    for one in found.values():
        assert one["fid"] == pytest.approx(found[scoring.OURS]["fid"], rel=scoring.TOLERANCE)
        assert len(one["seconds"]) == 2


def test_a_library_that_disagrees_stops_the_comparison(
    world: Any, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scoring.LIBRARIES, "torch-fidelity", lambda *_: lambda: 123.0)
    with pytest.raises(ArithmeticError, match="torch-fidelity has an FID of 123"):
        scoring.compare(_noisy(world.images.test[:60]), world.images.train[:80], scorer, rounds=1)


@pytest.mark.parametrize(
    ("theirs", "measured", "met"), [([2.0, 4.0, 9.0], "2.00×", True), ([0.5, 1, 2], "0.50×", False)]
)
def test_ours_beside_the_fastest_other(theirs: list[float], measured: str, met: bool) -> None:
    """Ratios are taken within a round. All metrics are no other library."""
    found = {
        scoring.OURS: {"seconds": [1.0, 2.0, 4.0], "fid": 1.0},
        scoring.ALL: {"seconds": [0.1, 0.1, 0.1], "fid": 1.0},
        "a": {"seconds": [9.0, 9.0, 9.0], "fid": 1.0},
        "b": {"seconds": theirs, "fid": 1.0},
    }
    (bar,) = scoring.claims(found)
    assert bar["claim"].endswith("(b) over ours")
    assert (bar["measured"], bar["met"]) == (measured, met)
    rows = {row["library"]: row for row in scoring.rows(found)}
    assert rows["b"]["time over ours"] == float(measured[:-1])
    assert (rows["a"]["shortest"], rows["a"]["longest"]) == (9.0, 9.0)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scoring, "find_spec", lambda name: None)
    assert scoring.main([]) == 2
    assert capsys.readouterr().err.startswith("perf.scoring: torch_fidelity is not installed")
