"""Spacings: exactly S distinct times whatever S and T, and each spread as it says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ddpm.schedule import SCHEDULES, Schedule, make_schedule
from ddpm.spacing import SPACINGS, latest, space

THOUSAND = make_schedule("cosine", 1000)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_number_of_steps(spacing: str) -> None:
    """For each S from 1 to T: S distinct falling whole numbers in 1 … T; all of them when S = T."""
    for n in range(1, 1001):
        times = space(THOUSAND, n, spacing)
        assert len(times) == n
        assert all(later < earlier for earlier, later in itertools.pairwise(times))
        assert 1 <= times[-1] <= times[0] <= 1000
        assert all(type(t) is int for t in times)
        assert times[0] == 1000 or spacing == "leading"
    assert space(THOUSAND, 1000, spacing) == list(range(1000, 0, -1))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_and_few_steps_in_all(schedule: str, spacing: str) -> None:
    """Also where there is hardly room to move."""
    for T in (21, 22, 50):
        s = make_schedule(schedule, T)
        for n in range(1, T + 1):
            times = space(s, n, spacing)
            assert len(set(times)) == n
            assert set(times) <= set(range(1, T + 1))
            assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [0, -1, 101])
def test_refuses_what_cannot_be(steps: int, spacing: str) -> None:
    """More steps than T, or none."""
    with pytest.raises(ValueError, match="between 1 and T=100"):
        space(make_schedule("linear", 100), steps, spacing)


def test_linspace_keeps_both_ends() -> None:
    """Gaps differ by rounding only."""
    for n in range(2, 1001):
        times = space(THOUSAND, n)
        assert (times[0], times[-1]) == (1000, 1)
        gaps = [a - b for a, b in itertools.pairwise(times)]
        assert max(gaps) - min(gaps) <= 1 + (999 % (n - 1) > 0)


def test_trailing_and_leading() -> None:
    """Lin et al.'s table: trailing begins at T, leading ends at 1; each has equal gaps where S divides T."""
    assert space(THOUSAND, 10, "trailing") == list(range(1000, 0, -100))
    assert space(THOUSAND, 10, "leading") == list(range(901, 0, -100))
    assert space(THOUSAND, 3, "trailing") == [1000, 667, 333]


def test_quadratic() -> None:
    """√t is even where there is room for it."""
    times = space(THOUSAND, 10, "quadratic")
    assert np.sqrt(times) == pytest.approx(np.linspace(1000**0.5, 1, 10), abs=0.3)
    crowded = space(THOUSAND, 400, "quadratic")
    assert crowded[-3:] == [3, 2, 1]


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "quadratic"])
def test_karras(schedule: str) -> None:
    """(σ/α)^(1/7) is even, as well as whole steps allow."""
    s = make_schedule(schedule, 1000)
    noise = s.sigma / s.alpha
    times = space(s, 12, "karras")
    assert (times[0], times[-1]) == (1000, 1)
    ends = noise[torch.tensor([1000, 1])] ** (1 / 7)
    wanted = torch.linspace(float(ends[0]), float(ends[1]), 12, dtype=torch.float64) ** 7
    for t, w in zip(times[1:-1], wanted[1:-1], strict=True):
        nearest = int((noise[1:].log() - w.log()).abs().argmin()) + 1
        assert abs(t - nearest) <= 1


def test_karras_schedule_in_its_own_spacing() -> None:
    """Every 111th step of a schedule that is even in σ^(1/ρ) already."""
    s = make_schedule("karras", 1000)
    assert space(s, 10, "karras") == space(s, 10, "linspace")
    assert space(s, 10, "karras(rho=3.0)") != space(s, 10, "linspace")


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_start_cuts_the_process_off(spacing: str) -> None:
    """The steps are those of the first part of the schedule alone, as if it were the whole, rounded to the nearest."""
    schedule = make_schedule("cosine", 100)
    part = Schedule("cosine", schedule.alpha[:31], schedule.sigma[:31])
    for steps in (1, 2, 7, 30):
        assert space(schedule, steps, spacing, 0.3) == space(part, steps, spacing)
    assert [latest(T, start) for T, start in ((100, None), (100, 0.304), (3, 0.01), (3, 0.999))] == [100, 30, 1, 3]
    with pytest.raises(ValueError, match="sampling steps must be between 1 and 30, not 31"):
        space(schedule, 31, spacing, 0.3)
