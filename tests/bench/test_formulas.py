"""The gate's formulas, each against the baseline. Mutants of the model are killed by these too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.gate import change, data, drawn, numbers, verdicts

PARTS = {
    "tables": numbers.tables,
    "losses": numbers.losses,
    "samplers": numbers.sampled,
    "likelihoods": numbers.likelihoods,
    "averages": numbers.averages,
    "choices of t": numbers.choices,
    "networks": numbers.nets,
    "ways to teach": numbers.teachings,
    "bases": numbers.bases,
    "data sets": data.rows,
}


@pytest.fixture(scope="module")
def baseline() -> change.Baseline:
    return change.read()[0]


class Nothing(SimpleNamespace):
    """A subject without images."""

    made: dict[str, Any] = {}  # noqa: RUF012
    format = "float32"

    def once(self, name: str, make: Any) -> Any:
        """Made each time: nothing is shared."""
        return make()


def outcomes(baseline: change.Baseline, rows: Any) -> list[verdicts.Outcome]:
    return [change._outcome(Nothing(), baseline, name, one) for name, one in rows]


@pytest.mark.parametrize("part", PARTS)
def test_formulas_give_what_they_gave(baseline: change.Baseline, part: str) -> None:
    found = outcomes(baseline, PARTS[part]())
    assert verdicts.overall(found) == verdicts.PASS, verdicts.table(found)


def test_metrics_give_what_they_gave(baseline: change.Baseline) -> None:
    """Of made-up features."""
    found = outcomes(baseline, [one for one in drawn.rows() if one[0].startswith("metric ")])
    assert verdicts.overall(found) == verdicts.PASS, verdicts.table(found)


def test_made_up_images_reach_every_part_of_the_decoder() -> None:
    """Both open bins, and levels between."""
    levels = ((numbers.pictures() + 1) * 127.5).round()
    assert levels.min() == 0
    assert levels.max() == 255
    assert len(levels.unique()) > 50
    assert torch.equal(levels, levels.clamp(0, 255))
