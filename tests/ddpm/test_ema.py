"""Averages of weights: power functions against their definition, and any of them made of two afterwards."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ddpm.ema import KEPT, Ema, PowerEma, coefficients, combine, exponent
from ddpm.schedule import make_schedule
from ddpm.train import Loss, Recipe, Trainer


class Walk(nn.Module):
    """Three weights that a test moves as training would, by a path known in advance."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), (B,) → (B, C, H, W)."""
        return self.w.sum() * x


def path(steps: int) -> torch.Tensor:
    """(steps, 3): weights after each step."""
    jitter = torch.randn(steps, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.arange(1, steps + 1, dtype=torch.float64)[:, None] / steps
    return torch.cat([t.sqrt(), torch.sin(9 * t), t**2], 1) + 0.1 * jitter


def tracked(weights: torch.Tensor, sigma_rel: float) -> list[torch.Tensor]:
    """The average of that length after every step."""
    net = Walk()
    average = PowerEma(net, sigma_rel)
    found = []
    for w in weights:
        net.w.data.copy_(w)
        average.update()
        found.append(average.weights["w"].clone())
    return found


@pytest.mark.parametrize(("sigma_rel", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_published_exponents(sigma_rel: float, gamma: float) -> None:
    """Karras et al., section 3.1."""
    assert exponent(sigma_rel) == pytest.approx(gamma, abs=5e-3)
    g = exponent(sigma_rel)
    assert math.sqrt((g + 1) / (g + 3)) / (g + 2) == pytest.approx(sigma_rel, rel=1e-9)


def test_the_decay_grows_as_it_is_said_to() -> None:
    """(1 + k)/(10 + k) at update k, until that is more than the decay."""
    net = Walk()
    average, found = Ema(net, 0.5), []
    for w in (1.0, 2.0, 3.0, 10.0):
        net.w.data.fill_(w)
        average.update()
        found.append((average.rate(), float(average.weights["w"][0])))
    value, expected = 0.0, []
    for rate, w in ((2 / 11, 1.0), (3 / 12, 2.0), (4 / 13, 3.0), (5 / 14, 10.0)):
        value = rate * value + (1 - rate) * w
        expected.append((rate, value))
    assert np.array(found) == pytest.approx(np.array(expected), rel=1e-12)
    average.updates = 8
    assert average.rate() == 0.5
    average.updates = 7
    assert average.rate() == 8 / 17


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.29, 1.0])
def test_lengths_that_no_power_has(sigma_rel: float) -> None:
    with pytest.raises(ValueError, match="length of an average"):
        exponent(sigma_rel)


def test_first_update_forgets_the_start() -> None:
    """At t = 1 the average is the weights themselves; a constant stays one; the weights of step τ count as τ^γ."""
    weights = path(200)
    found = tracked(weights, 0.1)
    assert torch.equal(found[0], weights[0])
    assert_close(tracked(torch.ones(50, 3, dtype=torch.float64), 0.05)[-1], torch.ones(3, dtype=torch.float64))
    t, gamma = np.arange(1, 201), exponent(0.1)
    share = t ** (gamma + 1.0) - (t - 1) ** (gamma + 1.0)  # ∫ τ^γ over the step
    expected = torch.from_numpy(share / share.sum()) @ weights
    assert_close(found[-1], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.05, 0.075, 0.12, 0.2])
def test_any_length_from_the_snapshots_of_two(sigma_rel: float) -> None:
    """Eight snapshots of each kept length make what would have been tracked, far nearer than the lengths are apart."""
    weights, count = path(4000), 8
    every = {length: tracked(weights, length) for length in (*KEPT, sigma_rel)}
    steps = [4000 * k // count for k in range(1, count + 1)]
    snapshots = [(step, length) for step in steps for length in KEPT]
    by = coefficients(snapshots, 4000, sigma_rel)
    assert by.sum() == pytest.approx(1, abs=1e-12)
    made = combine([{"w": every[length][step - 1]} for step, length in snapshots], by)["w"]
    truth = every[sigma_rel][-1]
    apart = float((every[0.05][-1] - every[0.10][-1]).norm())
    assert float((made - truth).norm()) < 0.2 * apart


@pytest.mark.parametrize("sigma_rel", [0.01, 0.03, 0.075, 0.15, 0.25])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_a_constant_network_stays_as_it_is(count: int, sigma_rel: float) -> None:
    """Fixed frequencies are such weights. With one snapshot the free fit made 36% of them at σ_rel = 0.28."""
    snapshots = [(1000 * k // count, length) for k in range(1, count + 1) for length in KEPT]
    by = coefficients(snapshots, 1000, sigma_rel)
    fixed = torch.randn(50, generator=torch.Generator().manual_seed(0))
    made = combine([{"w": fixed}] * len(snapshots), by)["w"]
    assert by.sum() == pytest.approx(1, abs=1e-12)
    assert_close(made, fixed, rtol=1e-6, atol=0)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.075, 0.2])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_fit_is_the_nearest_that_adds_up_to_one(count: int, sigma_rel: float) -> None:
    """Against the closed form: the free fit, moved by Lagrange's multiplier; profiles integrated numerically."""
    snapshots = [(1000 * k // count, length) for k in range(1, count + 1) for length in KEPT]
    tau = (np.arange(200_000) + 0.5) / 200  # midpoints of [0, 1000]

    def profile(step: int, length: float) -> np.ndarray:
        gamma = exponent(length)
        return np.where(tau < step, (gamma + 1) / step * (tau / step) ** gamma, 0.0)

    basis, wanted = np.stack([profile(*one) for one in snapshots]), profile(1000, sigma_rel)
    inverse = np.linalg.inv(basis @ basis.T / 200)
    free = inverse @ (basis @ wanted / 200)
    expected = free + inverse.sum(1) * (1 - free.sum()) / inverse.sum()
    assert coefficients(snapshots, 1000, sigma_rel) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_kept_lengths_are_found_exactly() -> None:
    """The snapshot that is wanted is the answer."""
    by = coefficients([(500, 0.05), (1000, 0.05), (1000, 0.10)], 1000, 0.10)
    assert by.tolist() == pytest.approx([0, 0, 1], abs=1e-8)


def test_a_trainer_takes_snapshots_at_even_distances() -> None:
    """Numbers 1 … K, the last at the last step; resumed, they are the same."""
    images = torch.rand(64, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1

    def trainer() -> Trainer:
        loss = Loss(make_schedule("cosine", 4), "x0", "unit")
        return Trainer(Walk(), loss, Recipe(epochs=3, batch_size=8, snapshots=5), 0)

    whole, halves, taken = trainer(), {}, []
    for done, step in enumerate(whole.steps(images, lambda x: x), 1):
        if step.snapshot:
            taken.append((step.snapshot, done))
        if step.ends_epoch and step.epoch == 1:
            halves = {k: v.clone() for k, v in whole.state().items()}
    assert taken == [(1, 5), (2, 10), (3, 15), (4, 20), (5, 24)]
    assert set(whole.snapshot()) == {"0.05/w", "0.1/w"}
    again = trainer()
    again.load_state(halves)
    for _ in again.steps(images, lambda x: x):
        pass
    assert all(torch.equal(v, again.snapshot()[k]) for k, v in whole.snapshot().items())
    assert Trainer(Walk(), Loss(make_schedule("cosine", 4), "x0", "unit"), Recipe(epochs=1), 0).snapshot() == {}


def test_the_longest_average_is_nearly_uniform() -> None:
    """γ = 0 at 1/√12, which is refused, as the message says; a little less is possible."""
    assert exponent(0.288) == pytest.approx(0, abs=0.02)
    with pytest.raises(ValueError, match=r"above 0 and below 0\.289, not 0\.288675"):
        exponent(12**-0.5)


def test_a_combination_is_in_the_type_of_its_parts() -> None:
    """One part, or several; and as many coefficients as parts."""
    parts = [{"w": torch.full((2,), value)} for value in (1.0, 3.0)]
    made = combine(parts, np.array([0.5, 0.5]))["w"]
    assert made.dtype == torch.float32
    assert made.tolist() == [2.0, 2.0]
    assert combine(parts[:1], np.array([2.0]))["w"].tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="zip"):
        combine(parts, np.array([1.0]))
