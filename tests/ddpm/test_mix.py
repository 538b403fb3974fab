"""The algebra of mixes, against DDPM's and DDIM's closed forms written out in the papers' own symbols."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ddpm.mix import Mix, Table, bridge, determinant, posterior_std, slope, unmix
from ddpm.schedule import SCHEDULES, Schedule, make_schedule

exact = settings(derandomize=True, deadline=None, max_examples=100, database=None)
unit = st.floats(0, 1)
signed = st.floats(-3, 3)


@st.composite
def three_times(draw: st.DrawFn) -> list[tuple[float, float]]:
    """(α, σ) at three times r < s < t of a variance-preserving process, kept apart enough not to measure rounding."""
    angles = sorted(draw(st.lists(st.integers(1, 155), min_size=3, max_size=3, unique=True)))
    return [(math.cos(k / 100), math.sin(k / 100)) for k in angles]


def neighbours(s: Schedule) -> tuple[torch.Tensor, ...]:
    """(α_t, σ_t, α_{t−1}, σ_{t−1}) for t = 1 … T."""
    return s.alpha[1:], s.sigma[1:], s.alpha[:-1], s.sigma[:-1]


@pytest.mark.parametrize("T", [50, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stride", [1, 7])
def test_bridge_is_ddpm_posterior(name: str, T: int, stride: int) -> None:
    """η = 1 is eq. 7 of DDPM, also on a coarser grid, where β becomes 1 − ᾱ_t/ᾱ_s."""
    s = make_schedule(name, T)
    bar_t, bar_s = s.alpha[stride:] ** 2, s.alpha[:-stride] ** 2
    beta = 1 - bar_t / bar_s
    of_x0 = bar_s.sqrt() * beta / (1 - bar_t)
    of_xt = (1 - beta).sqrt() * (1 - bar_s) / (1 - bar_t)
    variance = (1 - bar_s) / (1 - bar_t) * beta

    mix = bridge(s.alpha[stride:], s.sigma[stride:], s.alpha[:-stride], s.sigma[:-stride])
    # Eq. 7 speaks of x_t where the mix speaks of the ε inside it: substitute x_t = √ᾱ_t x₀ + √(1−ᾱ_t) ε.
    expected = (of_x0 + of_xt * bar_t.sqrt(), of_xt * (1 - bar_t).sqrt(), variance)
    torch.testing.assert_close((mix.a, mix.b, mix.c**2), expected, rtol=1e-9, atol=1e-12)
    assert float(mix.c[0]) == 0.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_bridge_without_noise_is_ddim(name: str) -> None:
    """η = 0 reuses ε: x_s = α_s x₀ + σ_s ε (DDIM, eq. 13)."""
    at, sigma_t, alpha_s, sigma_s = neighbours(make_schedule(name, 100))
    mix = bridge(at, sigma_t, alpha_s, sigma_s, eta=0.0)
    assert (mix.c == 0).all()
    torch.testing.assert_close(mix.a, alpha_s)
    torch.testing.assert_close(mix.b, sigma_s, rtol=1e-14, atol=0)


@exact
@given(three_times(), unit)
def test_bridge_keeps_the_marginal(times: list[tuple[float, float]], eta: float) -> None:
    """Whatever η, x_s given x₀ is N(α_s x₀, σ_s²): DDIM's family shares DDPM's marginals."""
    _, (alpha_s, sigma_s), (alpha_t, sigma_t) = times
    mix = bridge(alpha_t, sigma_t, alpha_s, sigma_s, eta)
    assert mix.a == alpha_s
    assert mix.b**2 + mix.c**2 == pytest.approx(sigma_s**2, rel=1e-12)


@exact
@given(three_times(), unit)
def test_eta_is_linear_in_the_standard_deviation(times: list[tuple[float, float]], eta: float) -> None:
    """σ = η √β̃ (DDIM, eq. 16), not a variance linear in η."""
    _, s, t = times
    full = bridge(*t, *s, eta=1.0).c
    assert bridge(*t, *s, eta=eta).c == pytest.approx(eta * full, rel=1e-12)
    assert full == pytest.approx(posterior_std(*t, *s), rel=1e-12)
    half = bridge(*t, *s, eta=0.5).c ** 2
    assert half == pytest.approx(full**2 / 4, rel=1e-12)  # √½ of it, were the variance linear


@exact
@given(st.integers(1, 157), unit)
def test_the_last_step_is_the_clean_image(angle: int, eta: float) -> None:
    """σ_s = 0 leaves x₀ alone, exactly, for every η, for floats and for tensors."""
    alpha_t, sigma_t = math.cos(angle / 100), math.sin(angle / 100)
    assert bridge(alpha_t, sigma_t, 1.0, 0.0, eta) == Mix(1.0, 0.0, 0.0)
    table = bridge(*(torch.tensor([k], dtype=torch.float64) for k in (alpha_t, sigma_t, 1.0, 0.0)), eta)
    assert [float(k) for k in table] == [1.0, 0.0, 0.0]


@exact
@given(three_times())
def test_forward_process_composes(times: list[tuple[float, float]]) -> None:
    """Noising to s and on to t is noising to t: scale by α_t/α_s, add variance 1 − (α_t/α_s)²."""
    _, (alpha_s, sigma_s), (alpha_t, sigma_t) = times
    ratio = alpha_t / alpha_s
    to_s = Mix(alpha_s, sigma_s)
    assert ratio * to_s.a == pytest.approx(alpha_t)
    assert (ratio * to_s.b) ** 2 + (1 - ratio**2) == pytest.approx(sigma_t**2, rel=1e-12)


@exact
@given(three_times(), st.sampled_from([0.0, 1.0]))
def test_reverse_process_composes(times: list[tuple[float, float]], eta: float) -> None:
    """From t to s to r is from t to r: given x₀ the posterior (η = 1) is a Markov chain, and so is η = 0."""
    r, s, t = times
    first, second, whole = bridge(*t, *s, eta), bridge(*s, *r, eta), bridge(*t, *r, eta)
    # The noise inside x_s is (b ε + c z)/σ_s, a unit normal that is only partly the old ε.
    carried = second.b / s[1]
    assert whole.a == second.a
    assert carried * first.b == pytest.approx(whole.b, rel=1e-9)
    assert (carried * first.c) ** 2 + second.c**2 == pytest.approx(whole.c**2, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_joint_distribution_is_the_chains(name: str) -> None:
    """(X_{t−1}, X_t) drawn from independent ε and z has the covariance of the forward chain.

    The trap: one ε for both gives covariance σ_s σ_t, and two independent ones give zero.
    """
    at, sigma_t, alpha_s, sigma_s = neighbours(make_schedule(name, 100))
    zero = torch.zeros_like(at)
    # The chain's own construction from two unit normals: X_s = α_s x₀ + σ_s e, X_t = (α_t/α_s) X_s + √β e'.
    ratio = at / alpha_s
    chain = torch.stack([torch.stack([sigma_s, zero]), torch.stack([ratio * sigma_s, (1 - ratio**2).sqrt()])])
    mix = bridge(at, sigma_t, alpha_s, sigma_s)
    drawn = torch.stack([torch.stack([mix.b, mix.c]), torch.stack([sigma_t, zero])])

    def covariance(rows: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ikt,jkt->tij", rows, rows)

    torch.testing.assert_close(covariance(drawn), covariance(chain), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(mix.a, alpha_s)  # so the part from x₀ agrees as well
    wrong = sigma_s * sigma_t
    assert ((wrong - covariance(chain)[:, 0, 1]).abs()[1:] > 1e-6).all()
    assert (covariance(chain)[1:, 0, 1] > 1e-6 * at[1:])[at[1:] > 0].all()


def test_joint_distribution_by_sampling() -> None:
    """The same, through calls on tensors: sample moments within five standard errors of the chain's."""
    s = make_schedule("linear", 50)
    t, count = 20, 200_000
    generator = torch.Generator().manual_seed(0)
    eps, z = torch.randn(2, count, 1, 1, 1, generator=generator, dtype=torch.float64)
    x0 = torch.full_like(eps, 0.3)
    to_t = Mix(float(s.alpha[t]), float(s.sigma[t]))
    to_s = bridge(to_t.a, to_t.b, float(s.alpha[t - 1]), float(s.sigma[t - 1]))
    x_t, x_s = to_t(x0, eps), to_s(x0, eps, z)
    ratio, variance = float(s.alpha[t] / s.alpha[t - 1]), float(s.sigma[t - 1] ** 2)
    residual = x_t - ratio * x_s  # the chain's increment: independent of x_s, variance β_t
    assert float(x_s.mean()) == pytest.approx(0.3 * to_s.a, abs=5 * (variance / count) ** 0.5)
    assert float(x_s.var()) == pytest.approx(variance, rel=5 * (2 / count) ** 0.5)
    assert float(residual.var()) == pytest.approx(float(s.beta[t]), rel=5 * (2 / count) ** 0.5)
    assert abs(float(torch.corrcoef(torch.stack([residual.flatten(), x_s.flatten()]))[0, 1])) < 5 / count**0.5


@exact
@given(signed, signed, signed, signed, signed, signed)
def test_unmix_inverts(a: float, b: float, c: float, d: float, x0: float, eps: float) -> None:
    """Cramer's rule takes (noise(x₀, ε), target(x₀, ε)) back to x₀ and ε, for any two mixes that are not parallel."""
    noise, target = Mix(a, b), Mix(c, d)
    assume(abs(determinant(noise, target)) >= 0.1)
    to_x0, to_eps = unmix(noise, target)
    values = [torch.tensor(k, dtype=torch.float64) for k in (x0, eps)]
    x_t, out = noise(*values), target(*values)
    assert float(to_x0(x_t, out)) == pytest.approx(x0, abs=1e-10)
    assert float(to_eps(x_t, out)) == pytest.approx(eps, abs=1e-10)


def test_unmix_ignores_the_drawn_part() -> None:
    """E[z | x_t] = 0: a drawn target is inverted as its mean."""
    noise = Mix(0.8, 0.6)
    assert unmix(noise, Mix(0.9, 0.3, 5.0)) == unmix(noise, Mix(0.9, 0.3))


def test_determinant_of_parallel_mixes_is_zero() -> None:
    """A target proportional to x_t says nothing about x₀."""
    assert determinant(Mix(0.8, 0.6), Mix(1.6, 1.2)) == pytest.approx(0, abs=1e-15)


def test_mix_without_z_is_its_mean() -> None:
    """c matters only when z is given."""
    x0, eps, z = torch.eye(3, dtype=torch.float64)
    mix = Mix(2.0, 3.0, 5.0)
    assert mix(x0, eps, z).tolist() == [2, 3, 5]
    assert mix(x0, eps).tolist() == [2, 3, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_table_gathers_per_image(dtype: torch.dtype) -> None:
    """Each image of a batch gets its own t's coefficients, rounded once from float64; scalars spread over t."""
    a = torch.rand(11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = Table(Mix(a, a**2), Mix(a**3, 0.5, a**4))
    t = torch.tensor([10, 0, 3, 3])
    like = torch.zeros(4, 2, 5, 5, dtype=dtype)
    for _ in range(2):  # the second call reads the cast that the first one kept
        first, second = table.at(t, like)
        columns = [first.a, first.b, first.c, second.a, second.b, second.c]
        zero = torch.zeros_like(a)
        for column, whole in zip(columns, [a, a**2, zero, a**3, zero + 0.5, a**4], strict=True):
            assert column.shape == (4, 1, 1, 1)
            assert column.dtype == dtype
            assert torch.equal(column.flatten(), whole[t].to(dtype))


def test_table_keeps_types_apart() -> None:
    """A float32 batch in between does not cost a float64 batch its digits."""
    a = torch.full((3,), 1 / 3, dtype=torch.float64)
    table = Table(Mix(a, a))
    t = torch.tensor([1])
    table.at(t, torch.zeros(1, 1))
    assert float(table.at(t, torch.zeros(1, 1, dtype=torch.float64))[0].a) == 1 / 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_floats_and_tensors_agree(name: str) -> None:
    """The sampler's floats and the objective's tables go through the same formula."""
    s = make_schedule(name, 60)
    grid = bridge(*neighbours(s), 0.7)
    for i, (past, now) in enumerate(pairwise(zip(s.alpha.tolist(), s.sigma.tolist(), strict=True))):
        assert bridge(*now, *past, 0.7) == pytest.approx(tuple(float(k[i]) for k in grid), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("T", [3, 10])
def test_the_slope_of_a_square_is_exact(T: int) -> None:
    """Second order: 2t for t², also at both ends. The row of t = 0 repeats that of t = 1."""
    t = torch.arange(T + 1, dtype=torch.float64)
    torch.testing.assert_close(slope(t**2), torch.cat([2 * t[1:2], 2 * t[1:]]), rtol=1e-14, atol=0)


def test_two_steps_have_no_slope() -> None:
    with pytest.raises(ValueError, match=r"^a derivative by t needs T of 3 or more, not 2$"):
        slope(torch.zeros(3))
