"""Schedules, against plain products and the numbers published or computed for them."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
import torch
from torch.testing import assert_close

from ddpm.objective import gain
from ddpm.schedule import MAX_BETA, RESIDUAL_SIGNAL, SCHEDULES, Schedule, make_schedule

MNIST_MEAN, MNIST_STD = -0.7386, 0.6162


def prior_bits(s: Schedule) -> float:
    """L_T, KL(q(x_T | x₀) ‖ N(0, I)) in bits a dimension, averaged over data with MNIST's first two moments."""
    bar, variance = float(s.alpha[-1] ** 2), float(s.sigma[-1] ** 2)
    log_variance = math.log1p(-bar)
    return (bar * (MNIST_MEAN**2 + MNIST_STD**2) + variance - 1 - log_variance) / 2 / math.log(2)


@pytest.mark.parametrize("T", [21, 50, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_a_variance_preserving_process(name: str, T: int) -> None:
    """Index 0 is clean data, exactly; α² + σ² = 1; the signal only falls; tables are float64 of length T + 1."""
    s = make_schedule(name, T)
    assert s.name == name
    assert T == s.T == len(s.alpha) - 1
    for table in (s.alpha, s.sigma, s.beta, s.snr):
        assert table.shape == (T + 1,)
        assert table.dtype == torch.float64
    assert (float(s.alpha[0]), float(s.sigma[0]), float(s.beta[0])) == (1.0, 0.0, 0.0)
    assert_close(s.alpha**2 + s.sigma**2, torch.ones(T + 1, dtype=torch.float64), rtol=0, atol=1e-15)
    assert (s.alpha.diff() < 0).all()
    assert (s.sigma.diff() > 0).all() or name == "linear"  # σ reaches 1 within rounding only where ᾱ vanishes
    assert (s.beta[1:] > 0).all()
    assert (s.beta <= MAX_BETA + 1e-12).all()
    assert math.isinf(float(s.snr[0]))
    assert_close(s.snr[1:], (s.alpha**2 / (1 - s.alpha**2))[1:], rtol=1e-9, atol=0)
    assert s.noise.a is s.alpha
    assert s.noise.b is s.sigma


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_are_products_of_beta(name: str) -> None:
    """ᾱ_t = Π (1 − β_i) and σ_t² = 1 − ᾱ_t by 50-digit decimals; and ``beta`` gives β back.

    σ is held to the last digits: taken as 1 − ᾱ in float64 it would lose four of them where β_1 = 1e-4.
    """
    beta = SCHEDULES[name](1000)
    s = make_schedule(name, 1000)
    with localcontext() as context:
        context.prec = 50
        bar = Decimal(1)
        for t, b in enumerate(beta.tolist(), start=1):
            bar *= 1 - Decimal(b)
            assert float(s.alpha[t] ** 2) == pytest.approx(float(bar), rel=1e-13, abs=0)
            assert float(s.sigma[t] ** 2) == pytest.approx(float(1 - bar), rel=1e-14, abs=0)
    assert_close(s.beta[1:], beta, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(("T", "bar"), [(10, 0.904), (100, 0.3636), (200, 0.1322), (500, 0.00635), (1000, 4.036e-5)])
def test_unscaled_linear_leaves_signal(T: int, bar: float) -> None:
    """The step-count confound: ᾱ_T of DDPM's β for fewer steps than it was made for."""
    s = make_schedule("linear_unscaled", T)
    assert float(s.alpha[-1] ** 2) == pytest.approx(bar, rel=5e-4)
    assert (float(s.alpha[-1] ** 2) > RESIDUAL_SIGNAL) == (T < 1000)


@pytest.mark.parametrize(("T", "bar"), [(100, 2.04e-5), (200, 3.03e-5), (500, 3.77e-5), (1000, 4.036e-5)])
def test_scaled_linear_does_not(T: int, bar: float) -> None:
    """Scaling β by 1000/T keeps ᾱ_T near its value at 1000."""
    assert float(make_schedule("linear", T).alpha[-1] ** 2) == pytest.approx(bar, rel=2e-3)


@pytest.mark.parametrize("T", [2, 10, 19, 20])
def test_scaled_linear_is_refused_where_beta_reaches_one(T: int) -> None:
    """β_T = 20/T: the message names the schedule, T and the step."""
    with pytest.raises(ValueError, match=rf"'linear'.*T={T}: β_\d+"):
        make_schedule("linear", T)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [0, -3])
def test_no_schedule_without_steps(name: str, T: int) -> None:
    """T must be positive."""
    with pytest.raises(ValueError, match="at least 1"):
        make_schedule(name, T)


def test_prior_term() -> None:
    """L_T in bits a dimension, for MNIST's moments."""
    assert prior_bits(make_schedule("linear", 1000)) == pytest.approx(2.69e-5, rel=3e-3)
    assert prior_bits(make_schedule("linear_unscaled", 100)) == pytest.approx(0.306, abs=5e-4)
    assert prior_bits(make_schedule("cosine", 1000)) == pytest.approx(1.6e-9, rel=0.03)


def test_linear_at_a_thousand_steps_is_unscaled() -> None:
    """The scale is 1000/T, so the two agree at DDPM's own T; ends are the paper's."""
    a, b = make_schedule("linear", 1000), make_schedule("linear_unscaled", 1000)
    assert_close(a.alpha, b.alpha)
    assert float(b.beta[1]) == pytest.approx(1e-4, rel=1e-10)
    assert float(b.beta[-1]) == pytest.approx(0.02, rel=1e-10)


def test_cosine() -> None:
    """ᾱ_t = f(t)/f(0) wherever β is not clipped, which is everywhere but at T."""
    s = make_schedule("cosine", 1000)
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1000)]
    assert_close((s.alpha[:-1] ** 2), torch.tensor(f, dtype=torch.float64) / f[0], rtol=1e-9, atol=0)
    assert int((s.beta > MAX_BETA - 1e-9).sum()) == 1
    assert float(s.beta[-1]) == pytest.approx(MAX_BETA, rel=1e-12)


def test_sigmoid() -> None:
    """ᾱ falls from 1 to 0 as a logistic of slope 6 and is ½ half way; only the last β is clipped."""
    s = make_schedule("sigmoid", 1000)

    def logistic(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    expected = [(logistic(3) - logistic(6 * t / 1000 - 3)) / (logistic(3) - logistic(-3)) for t in range(1000)]
    assert_close(s.alpha[:-1] ** 2, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    assert float(s.alpha[500] ** 2) == pytest.approx(0.5, rel=1e-9)
    assert int((s.beta > MAX_BETA - 1e-9).sum()) == 1


def test_gain_of_eps() -> None:
    """How much an error of ε̂ is magnified in x̂₀: cosine 20291 at T and 642 at T − 1, linear 157 at T."""
    cosine, linear = (gain(make_schedule(name, 1000), "eps") for name in ("cosine", "linear"))
    assert float(cosine[-1]) == pytest.approx(20291, abs=0.5)
    assert float(cosine[-2]) == pytest.approx(642, abs=0.5)
    assert float(linear[-1]) == pytest.approx(157, abs=0.5)
