"""Schedules, against plain products and the numbers published or computed for them."""

from __future__ import annotations

import math
import re
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy import stats
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
    assert (s.beta <= MAX_BETA + 1e-12).all() or name == "flow"  # which leaves no signal at T
    assert math.isinf(float(s.snr[0]))
    assert_close(s.snr[1:], (s.alpha**2 / (1 - s.alpha**2))[1:], rtol=1e-9, atol=0)
    assert s.noise.a is s.alpha
    assert s.noise.b is s.sigma


def even(start: float, end: float) -> torch.Tensor:
    return torch.linspace(start, end, 1000, dtype=torch.float64)


BETA = {
    "linear": even(1e-4, 0.02),
    "linear_unscaled": even(1e-4, 0.02),
    "scaled_linear": even(8.5e-4**0.5, 0.012**0.5) ** 2,
    "quadratic": even(0.01, 0.02**0.5) ** 2,
    "linear(end=0.01,start=0.001)": even(1e-3, 0.01),
}
"""Schedules that are given as β, at T = 1000."""


@pytest.mark.parametrize("name", BETA)
def test_tables_are_products_of_beta(name: str) -> None:
    """ᾱ_t = Π (1 − β_i) and σ_t² = 1 − ᾱ_t by 50-digit decimals; and ``beta`` gives β back.

    σ is held to the last digits: taken as 1 − ᾱ in float64 it would lose four of them where β_1 = 1e-4.
    """
    beta = BETA[name]
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


@pytest.mark.parametrize("T", [2, 10, 19])
def test_scaled_linear_is_refused_where_beta_reaches_one(T: int) -> None:
    """β_T = 20/T, which must not exceed 1: the message names the schedule, T and the step."""
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


def test_laplace() -> None:
    """log SNR has a Laplace distribution over t: its quantiles, by scipy; only the last β is clipped."""
    for options, mu, b in (("", 0.0, 0.5), ("(b=0.75,mu=-1.0)", -1.0, 0.75)):
        s = make_schedule(f"laplace{options}", 1000)
        u = np.arange(1, 1000) / 1000
        expected = stats.laplace(mu, b).ppf(1 - u)
        assert_close(s.snr[1:-1].log(), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
        assert int((s.beta > MAX_BETA - 1e-9).sum()) == 1


def test_flow() -> None:
    """σ/α = u/(1 − u), which is that of (1 − u) x₀ + u ε; nothing of x₀ is left at T."""
    s = make_schedule("flow", 200)
    u = torch.arange(1, 200, dtype=torch.float64) / 200
    assert_close((s.sigma / s.alpha)[1:-1], u / (1 - u), rtol=1e-12, atol=0)
    assert (float(s.alpha[-1]), float(s.sigma[-1])) == (0.0, 1.0)


def test_karras() -> None:
    """σ/α from .002 to 80, even in its seventh root (EDM, eq. 5)."""
    s = make_schedule("karras", 18)
    root = ((s.sigma / s.alpha)[1:]) ** (1 / 7)
    assert float(root[0] ** 7) == pytest.approx(0.002, rel=1e-9)
    assert float(root[-1] ** 7) == pytest.approx(80, rel=1e-9)
    assert_close(root.diff(), torch.full((17,), float(root[-1] - root[0]) / 17, dtype=torch.float64), rtol=1e-9, atol=0)
    s = make_schedule("karras(rho=3.0,sigma_max=10.0,sigma_min=0.1)", 5)
    assert (s.sigma / s.alpha)[1:].tolist()[::4] == pytest.approx([0.1, 10])


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_terminal_snr(name: str) -> None:
    """√ᾱ is shifted and stretched (Lin et al., algorithm 1): it ends at 0 and keeps its first value and its shape."""
    plain = make_schedule(name, 100)
    s = make_schedule(f"{name}(zero_snr=true)", 100)
    assert (float(s.alpha[-1]), float(s.sigma[-1])) == (0.0, 1.0)
    assert_close(s.alpha[1], plain.alpha[1])
    steps, before = -s.alpha[1:].diff(), -plain.alpha[1:].diff()
    assert_close(steps / steps.sum(), before / before.sum(), rtol=1e-9, atol=1e-12)
    assert float(s.beta[-1]) == 1


def test_cosine_unclipped_leaves_no_signal() -> None:
    """Without the clip at .999 the last β is 1, to rounding, and nothing else changes."""
    clipped, free = make_schedule("cosine", 1000), make_schedule("cosine(max_beta=1.0)", 1000)
    assert torch.equal(clipped.alpha[:-1], free.alpha[:-1])
    assert float(free.beta[-1]) == pytest.approx(1, abs=1e-12)
    assert float(free.alpha[-1]) < 1e-12
    s = make_schedule("cosine(s=0.1)", 1000)
    assert float(s.alpha[500] ** 2) == pytest.approx(
        (math.cos(0.6 / 1.1 * math.pi / 2) / math.cos(0.1 / 1.1 * math.pi / 2)) ** 2
    )


@pytest.mark.parametrize(
    "spec",
    [
        "linear(end=1.5)", "linear(start=0.5)", "sigmoid(end=1.0,start=1.0)", "karras(sigma_min=100.0)",
        "laplace(mu=-1e300)", "sigmoid(tau=0.001)",
    ],
)  # fmt: skip
def test_options_that_make_no_schedule(spec: str) -> None:
    """One line that names schedule and T, whatever is wrong inside."""
    with pytest.raises(ValueError, match=rf"schedule '{re.escape(spec)}' is undefined at T=100: .+"):
        make_schedule(spec, 100)


def test_zero_snr_of_one_step() -> None:
    """There is nothing to stretch."""
    with pytest.raises(ValueError, match="more than one step"):
        make_schedule("cosine(zero_snr=true)", 1)


def test_gain_of_eps() -> None:
    """How much an error of ε̂ is magnified in x̂₀: cosine 20291 at T and 642 at T − 1, linear 157 at T."""
    cosine, linear = (gain(make_schedule(name, 1000), "eps") for name in ("cosine", "linear"))
    assert float(cosine[-1]) == pytest.approx(20291, abs=0.5)
    assert float(cosine[-2]) == pytest.approx(642, abs=0.5)
    assert float(linear[-1]) == pytest.approx(157, abs=0.5)


def test_cut_off_after_some_steps() -> None:
    """The same process up to there."""
    s = make_schedule("cosine", 10)
    cut = s.until(4)
    assert (cut.name, cut.T) == ("cosine", 4)
    assert torch.equal(cut.alpha, s.alpha[:5])
    assert torch.equal(cut.sigma, s.sigma[:5])


def test_karras_of_one_and_two_steps() -> None:
    """One step has the most noise of all, two have the ends."""
    for T, noise in ((1, [80.0]), (2, [0.002, 80.0])):
        s = make_schedule("karras", T)
        assert_close((s.sigma / s.alpha)[1:], torch.tensor(noise, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("spec", "T", "said"),
    [
        ("linear(start=1.0,end=0.5)", 1000, "β_1 = 1 is not between 0 and 1"),
        ("linear_unscaled(start=1.0,end=0.5)", 2, "β_1 = 1 is not between 0 and 1"),
        ("linear_unscaled(start=0.5,end=1.5)", 2, "β_2 = 1.5 is not between 0 and 1"),
        ("sigmoid(start=-60.0)", 50, "β_1 = 0 is not between 0 and 1"),
        ("karras(sigma_min=1e-200)", 3, "ᾱ does not fall from one step to the next"),
        ("linear(zero_snr=true)", 1, "zero_snr needs more than one step"),
    ],
)
def test_why_there_is_no_such_schedule(spec: str, T: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'schedule {spec!r} is undefined at T={T}: {said}')}$"):
        make_schedule(spec, T)


def test_an_option_out_of_bounds() -> None:
    with pytest.raises(ValueError, match=r"^option 'start' of 'linear' must be a finite number above 0, not 0\.0$"):
        make_schedule("linear(start=0.0)", 1000)


def test_no_signal_at_the_last_step_alone() -> None:
    """β may be 1 there."""
    assert float(make_schedule("linear_unscaled(start=0.5,end=1.0)", 3).alpha[-1]) == 0
