"""The time as a network is told of it, against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from ddpm.nets.waves import FREQUENCIES, Waves, both_times


@pytest.mark.parametrize(("smooth", "highest"), [(None, 1000), (False, 1000), (True, 10)])
def test_sines_and_cosines_of_a_quarter_turn(smooth: bool | None, highest: float) -> None:
    """Frequencies from 1 to the highest, each the same factor above the one before."""
    waves = Waves() if smooth is None else Waves(smooth=smooth)
    u = torch.tensor([0.0, 0.01, 0.5, 1.0], dtype=torch.float64)
    ratio = highest ** (1 / (FREQUENCIES - 1))
    angle = torch.tensor([[math.pi / 2 * float(t) * ratio**i for i in range(FREQUENCIES)] for t in u])
    found = waves(u)
    assert found.shape == (4, waves.width)
    assert_close(found.float(), torch.cat([angle.sin(), angle.cos()], 1), rtol=0, atol=2e-3)


def test_frequencies_are_no_weights() -> None:
    """Nothing of them is saved, and nothing of them trained."""
    assert not Waves().state_dict()
    assert not list(Waves().parameters())


def test_one_time_is_both() -> None:
    u = torch.tensor([0.25, 1.0])
    assert all(torch.equal(time, u) for time in both_times(u))
    pair = both_times(torch.tensor([[0.5, 0.25], [1.0, 0.0]]))
    assert [time.tolist() for time in pair] == [[0.5, 1.0], [0.25, 0.0]]


def test_where_only_shapes_are_checked() -> None:
    """On the meta device, where there are no numbers."""
    with torch.device("meta"):
        waves = Waves()
    assert waves(torch.zeros(3, device="meta")).shape == (3, waves.width)
