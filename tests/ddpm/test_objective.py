"""Objectives and weights: every row inverts, all rows describe one estimate, and weights mean one thing everywhere."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ddpm.denoiser import Denoiser
from ddpm.mix import Mix, determinant, posterior_std, unmix
from ddpm.objective import MAX_GAIN, OBJECTIVES, WEIGHTS, check, default_weight, gain, loss_weight, make_target
from ddpm.oracle import gaussian
from ddpm.schedule import SCHEDULES, Schedule, make_schedule
from ddpm.train import Loss

VARIANCE = 0.25
IMPOSSIBLE = {("eps", "flow"), ("score", "flow")}
"""With no signal left in x_T, ε alone says nothing about x₀."""
PAIRS = [pair for pair in itertools.product(OBJECTIVES, SCHEDULES) if pair not in IMPOSSIBLE]


def draws(s: Schedule, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """t = 1 … T with an x₀ in [−1, 1] and an ε for each, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(s.T, 1, 3, 3, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(s.T, 1, 3, 3, generator=generator, dtype=torch.float64)
    return torch.arange(1, s.T + 1), x0, eps


def per_t(column: Tensor) -> Tensor:
    """A table over t = 0 … T, shaped to multiply images at t = 1 … T."""
    return column[1:, None, None, None]


def oracle_posterior_mean(s: Schedule, objective: str, x_t: Tensor) -> Tensor:
    """μ̃_t(x_t, x̂₀) by DDPM's eq. 7, with x̂₀ from the exact network of the named objective."""
    denoiser = Denoiser(gaussian(s, objective, VARIANCE), s, objective)
    x0, _ = denoiser(x_t, torch.arange(1, s.T + 1))
    bar = s.alpha**2
    of_x0 = bar[:-1].sqrt() * s.beta[1:] / (1 - bar[1:])
    of_xt = (1 - s.beta[1:]).sqrt() * (1 - bar[:-1]) / (1 - bar[1:])
    return of_x0[:, None, None, None] * x0 + of_xt[:, None, None, None] * x_t


@pytest.mark.parametrize("T", [50, 1000])
@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
def test_every_target_inverts(objective: str, schedule: str, T: int) -> None:
    """From the target itself, (x̂₀, ε̂) = (x₀, ε) at every t, in float64."""
    s = make_schedule(schedule, T)
    t, x0, eps = draws(s)
    noise, target = s.noise, OBJECTIVES[objective].target(s)
    x_t = per_t(noise.a) * x0 + per_t(noise.b) * eps
    out = per_t(target.a) * x0 + per_t(target.b) * eps
    found_x0, found_eps = Denoiser(lambda x, u: out, s, objective)(x_t, t)
    # An output is rounded in its 16th digit, and that is magnified by up to 2e4 (the cosine schedule's last ε).
    assert_close(found_x0, x0, rtol=0, atol=1e-10)
    assert_close(found_eps, eps, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
def test_float32_error_is_the_gain_times_rounding(objective: str, schedule: str) -> None:
    """The tables are solved in float64 and cast once, so float32 costs what |σ/D| says and no more."""
    s = make_schedule(schedule, 1000)
    t, x0, eps = draws(s)
    target = OBJECTIVES[objective].target(s)
    x_t = per_t(s.noise.a) * x0 + per_t(s.noise.b) * eps
    out = (per_t(target.a) * x0 + per_t(target.b) * eps).float()
    found, _ = Denoiser(lambda x, u: out, s, objective)(x_t.float(), t)
    assert found.dtype == torch.float32
    to_x0_from_xt = (target.b / determinant(s.noise, target)).abs()[1:]
    bound = 16 * torch.finfo(torch.float32).eps * (1 + gain(s, objective) + to_x0_from_xt)
    assert ((found.double() - x0).abs().amax((1, 2, 3)) < bound).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_targets_in_closed_form(schedule: str) -> None:
    """The coefficients (a, b, c) of each target, from the papers."""
    s = make_schedule(schedule, 100)
    alpha, sigma, past, past_sigma = s.alpha[1:], s.sigma[1:], s.alpha[:-1], s.sigma[:-1]
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    mean = (past, alpha * past_sigma**2 / (past * sigma))
    tilde = past_sigma**2 / sigma**2 * s.beta[1:]
    expected = {
        "eps": (zero, one, zero),
        "x0": (one, zero, zero),
        "v": (-sigma, alpha, zero),
        "score": (zero, -1 / sigma, zero),
        "flow": (-one, one, zero),
        "mean": (*mean, zero),
        "previous": (*mean, tilde.sqrt()),
    }
    for name, columns in expected.items():
        for found, column in zip(OBJECTIVES[name].target(s), columns, strict=True):
            assert_close(found[1:], column, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
def test_one_oracle_one_posterior_mean(objective: str, schedule: str) -> None:
    """Every objective's exact network gives the same μ̃, to 1e-10: its own x̂₀ = α v x_t/(α² v + σ²) put into eq. 7."""
    s = make_schedule(schedule, 1000)
    x_t = torch.randn(1000, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shrink = s.alpha * VARIANCE / (s.alpha**2 * VARIANCE + s.sigma**2)
    bar = s.alpha**2
    of_x0 = bar[:-1].sqrt() * s.beta[1:] / (1 - bar[1:])
    of_xt = (1 - s.beta[1:]).sqrt() * (1 - bar[:-1]) / (1 - bar[1:])
    expected = (of_x0 * shrink[1:] + of_xt)[:, None, None, None] * x_t
    assert float((oracle_posterior_mean(s, objective, x_t) - expected).abs().max()) <= 1e-10


def test_oracle_estimates_are_conditional_means() -> None:
    """The Gaussian oracle's error is uncorrelated with x_t, which is what makes it the least-squares estimate."""
    s = make_schedule("linear", 1000)
    one = torch.ones(1000, 1, 1, 1, dtype=torch.float64)
    x0, eps = Denoiser(gaussian(s, "eps", VARIANCE), s, "eps")(one, torch.arange(1, 1001))
    total = per_t(s.alpha) ** 2 * VARIANCE + per_t(s.sigma) ** 2
    assert_close(x0 * total, per_t(s.alpha) * VARIANCE, rtol=1e-9, atol=1e-12)
    assert_close(eps * total, per_t(s.sigma), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("t", "expected"), [(1, 0.99960), (100, 0.68530), (500, 0.02088), (1000, 1.009e-5)])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_optimal_eps_error(objective: str, t: int, expected: float) -> None:
    """E|ε − ε̂|² of the exact denoiser for N(0, ¼), whichever objective it is read through."""
    s = make_schedule("linear", 1000)
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    _, eps = Denoiser(gaussian(s, objective, VARIANCE), s, objective)(one, torch.tensor([t]))
    k, alpha, sigma = float(eps), float(s.alpha[t]), float(s.sigma[t])
    # ε̂ = k x_t is linear, so the error follows from the coefficients of ε and of x₀ in ε − k(α x₀ + σ ε).
    assert (1 - k * sigma) ** 2 + (k * alpha) ** 2 * VARIANCE == pytest.approx(expected, rel=5e-4, abs=5e-9)


@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
def test_error_ratios(objective: str, schedule: str) -> None:
    """|out − y|² = (D/σ)² |x̂₀ − x₀|² = (D/α)² |ε̂ − ε|² for any output; the ratio to x₀ is SNR for ε, SNR + 1 for v."""
    s = make_schedule(schedule, 200)
    t, x0, eps = draws(s)
    noise, target = s.noise, OBJECTIVES[objective].target(s)
    x_t = per_t(noise.a) * x0 + per_t(noise.b) * eps
    error = torch.randn(x0.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out = per_t(target.a) * x0 + per_t(target.b) * eps + error
    found_x0, found_eps = Denoiser(lambda x, u: out, s, objective)(x_t, t)
    squared = error.square().sum((1, 2, 3))
    d = determinant(noise, target)[1:]
    some = s.alpha[1:] > 0  # without signal ε̂ is x_t, whatever the output
    assert_close(squared, (d / s.sigma[1:]) ** 2 * (found_x0 - x0).square().sum((1, 2, 3)), rtol=1e-7, atol=0)
    in_eps = (d / s.alpha[1:]) ** 2 * (found_eps - eps).square().sum((1, 2, 3))
    assert_close(squared[some], in_eps[some], rtol=1e-7, atol=0)
    ratio = {"eps": s.snr, "v": s.snr + 1, "x0": torch.ones_like(s.snr)}.get(objective)
    if ratio is not None:
        assert_close(1 / gain(s, objective) ** 2, ratio[1:], rtol=1e-9, atol=0)


def test_irreducible_part_of_previous() -> None:
    """Loss of ``previous`` minus ``mean`` at the seed's weight: β̃/(2β), .4952 a dimension, 388.3 an image."""
    s = make_schedule("linear", 1000)
    c = OBJECTIVES["previous"].target(s).c
    extra = float((loss_weight(s, "previous", "demo") * c**2)[1:].mean())
    assert extra == pytest.approx(0.4952, abs=5e-5)
    assert 784 * extra == pytest.approx(388.3, abs=0.05)
    tilde = (1 - s.alpha[:-1] ** 2) / (1 - s.alpha[1:] ** 2) * s.beta[1:]
    assert extra == pytest.approx(float((tilde / (2 * s.beta[1:])).mean()), rel=1e-9)


def test_first_posterior_variance_that_is_not_zero() -> None:
    """log β̃₂ = −9.8167, the value a bound uses for the first step's log variance too."""
    s = make_schedule("linear", 1000)
    std = posterior_std(*(float(k) for k in (s.alpha[2], s.sigma[2], s.alpha[1], s.sigma[1])))
    assert 2 * torch.tensor(std).log().item() == pytest.approx(-9.8167, abs=5e-5)


@pytest.mark.parametrize(("t", "expected"), [(1, 0.50005), (100, 0.01008), (250, 0.00534), (1000, 0.01020)])
def test_seed_weight_on_eps(t: int, expected: float) -> None:
    """The seed's L₁ as a loss on ε: β/(2α(1 − ᾱ)) with the paper's α_t = 1 − β_t."""
    s = make_schedule("linear", 1000)
    found = float(loss_weight(s, "eps", "demo")[t])
    assert found == pytest.approx(expected, abs=5e-6)
    beta, bar = float(s.beta[t]), float(s.alpha[t] ** 2)
    assert found == pytest.approx(beta / (2 * (1 - beta) * (1 - bar)), rel=1e-9)


@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_weight_is_a_weight(objective: str, weight: str, schedule: str) -> None:
    """Finite and positive at t = 1 … T wherever there is signal, zero at t = 0, which is never trained."""
    s = make_schedule(schedule, 1000)
    table = loss_weight(s, objective, weight)
    assert table.shape == (1001,)
    assert table.dtype == torch.float64
    assert float(table[0]) == 0
    assert table[1:].isfinite().all()
    assert (table[1:] >= 0).all()
    assert (table[1:][s.snr[1:] > 0] > 0).all()


@pytest.mark.parametrize("weight", [name for name, row in WEIGHTS.items() if row.of is not None])
@pytest.mark.parametrize("pair", list(itertools.pairwise(OBJECTIVES)))
def test_named_weights_mean_the_same_everywhere(weight: str, pair: tuple[str, str]) -> None:
    """λ (D/σ)², the factor on |x̂₀ − x₀|², does not depend on the objective."""
    s = make_schedule("cosine", 300)
    first, second = (loss_weight(s, o, weight)[1:] / gain(s, o) ** 2 for o in pair)
    assert_close(first, second, rtol=1e-8, atol=0)


def test_weights_in_closed_form() -> None:
    """The published forms: weight 1 on ε is SNR on x₀; min-SNR on ε, x₀ and v (Hang et al., table of section 3)."""
    s = make_schedule("cosine", 1000)
    snr = s.snr[1:]
    one, low = torch.ones_like(snr), snr.clamp(max=5)
    expected = {
        ("eps", "unit"): one,
        ("v", "unit"): one,
        ("eps", "snr"): one,
        ("x0", "snr"): snr,
        ("v", "snr"): snr / (snr + 1),
        ("eps", "min_snr"): low / snr,
        ("x0", "min_snr"): low,
        ("v", "min_snr"): low / (snr + 1),
        ("score", "snr"): s.sigma[1:] ** 2,
        ("flow", "snr"): snr / (snr.sqrt() + 1) ** 2,
        ("x0", "truncated_snr"): snr.clamp(min=1),
        ("v", "truncated_snr"): snr.clamp(min=1) / (snr + 1),
        ("eps", "p2"): 1 / (1 + snr),
        ("x0", "p2"): snr / (1 + snr),
        ("x0", "edm"): snr + 4,
        ("edm", "edm"): one,
        ("x0", "min_snr(gamma=2.5)"): snr.clamp(max=2.5),
        ("eps", "p2(gamma=0.5,k=3)"): (3 + snr) ** -0.5,
        ("previous", "demo"): 1 / (2 * s.beta[1:]),
        ("mean", "demo"): 1 / (2 * s.beta[1:]),
    }
    for (objective, weight), table in expected.items():
        assert_close(loss_weight(s, objective, weight)[1:], table, rtol=1e-8, atol=0)


def test_weights_of_the_bound() -> None:
    """(SNR_{t−1} − SNR_t)/2 on x₀, which on the posterior's mean is 1/(2β̃); and that times a logistic."""
    s = make_schedule("linear", 1000)
    found = loss_weight(s, "x0", "vlb")
    assert_close(found[2:], (s.snr[1:-1] - s.snr[2:]) / 2, rtol=1e-7, atol=0)
    tilde = posterior_std(s.alpha[1:], s.sigma[1:], s.alpha[:-1], s.sigma[:-1]) ** 2
    assert_close(loss_weight(s, "mean", "vlb")[2:], 1 / (2 * tilde[1:]), rtol=1e-9, atol=0)
    assert float(found[1]) == pytest.approx(1 / (2 * math.exp(-9.8167)), rel=1e-4)  # β̃₂ for β̃₁ = 0
    logistic = 1 / (1 + s.snr[1:] * math.exp(-2))
    assert_close(loss_weight(s, "x0", "sigmoid")[1:], found[1:] * logistic, rtol=1e-12, atol=0)


def test_eps_weight_of_the_seeds_loss() -> None:
    """REFERENCE 2.5: L₁ with σ² = β weighs ε by β/(2α(1 − ᾱ))."""
    found = loss_weight(make_schedule("linear", 1000), "eps", "demo")
    for t, expected in {1: 0.50005, 100: 0.01008, 250: 0.00534, 1000: 0.01020}.items():
        assert float(found[t]) == pytest.approx(expected, abs=6e-6)


@pytest.mark.parametrize("sigma_data", [0.5, 0.6162])
def test_edm_is_its_table(sigma_data: float) -> None:
    """Karras et al., table 1: c_skip and c_out out of the 2×2 solve, λ(σ) c_out² = 1, a target of unit variance."""
    s = make_schedule("karras", 100)
    target = make_target(s, f"edm(sigma_data={sigma_data})")
    to_x0, _ = unmix(s.noise, target)
    sigma = (s.sigma / s.alpha)[1:]  # of the unscaled image: x_t/α_t = x₀ + σ ε
    total = sigma**2 + sigma_data**2
    assert_close(to_x0.a[1:] * s.alpha[1:], sigma_data**2 / total)
    assert_close(to_x0.b[1:], sigma * sigma_data / total.sqrt() * torch.sign(to_x0.b[1:]))
    weight = loss_weight(s, f"edm(sigma_data={sigma_data})", f"edm(sigma_data={sigma_data})")
    assert_close(weight[1:], torch.ones(100, dtype=torch.float64))
    assert_close((target.a * sigma_data) ** 2 + target.b**2, torch.ones(101, dtype=torch.float64))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_preconditioning_any_objective_is_edm_with_its_weight(objective: str) -> None:
    """y − (its best linear guess from x_t), over its spread, is ± the target of ``edm``; so the loss differs in λ."""
    s, sigma_data = make_schedule("cosine", 50), 0.5
    y, edm = make_target(s, objective), make_target(s, "edm")
    total = s.alpha**2 * sigma_data**2 + s.sigma**2
    slope = (y.a * s.alpha * sigma_data**2 + y.b * s.sigma) / total  # cov(y, x_t)/var(x_t)
    rest = Mix(y.a - slope * s.alpha, y.b - slope * s.sigma)
    spread = (rest.a**2 * sigma_data**2 + rest.b**2).sqrt()
    sign = torch.sign(rest.a * edm.a + rest.b * edm.b)
    assert_close((rest.a / spread)[1:], (sign * edm.a)[1:], rtol=1e-7, atol=1e-9)
    assert_close((rest.b / spread)[1:], (sign * edm.b)[1:], rtol=1e-7, atol=1e-9)
    # λ |r F + k x − y|² = λ r² |F − target|², and what λ becomes through D is the same
    weight = loss_weight(s, objective, "snr") * spread**2
    assert_close(weight[1:], loss_weight(s, "edm", "snr")[1:], rtol=1e-7, atol=0)


def test_options_in_a_name() -> None:
    """One row, many targets and weights; the plain name is the default."""
    s = make_schedule("cosine", 20)
    assert torch.equal(make_target(s, "edm").b, make_target(s, "edm(sigma_data=0.5)").b)
    assert not torch.equal(make_target(s, "edm").b, make_target(s, "edm(sigma_data=1.0)").b)
    assert default_weight("edm(sigma_data=1.0)") == "unit"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_defaults_exist(objective: str) -> None:
    """The weight a row names is a row itself."""
    assert OBJECTIVES[objective].weight in WEIGHTS


def test_impossible_cells_are_refused_before_training() -> None:
    """With no signal left at T, ε says nothing about x₀: refused by name, with the step; x₀ and v still work."""
    angle = torch.linspace(0, 1, 51, dtype=torch.float64) * torch.pi / 2
    alpha = angle.cos()
    alpha[-1] = 0.0
    zero_snr = Schedule("zero_snr", alpha, angle.sin())
    for refuse in (check, lambda s, o: Denoiser(lambda x, u: x, s, o), lambda s, o: Loss(s, o, "unit")):
        with pytest.raises(ValueError, match=r"'eps' .*'zero_snr' with T=50.*t=50"):
            refuse(zero_snr, "eps")
    for objective in ("x0", "v", "mean", "previous", "flow", "edm"):
        check(zero_snr, objective)
    for objective, schedule in IMPOSSIBLE:
        with pytest.raises(ValueError, match="cannot be inverted"):
            check(make_schedule(schedule, 1000), objective)


def test_gains_beyond_float32_are_refused() -> None:
    """Unscaled linear β at T = 4000 leaves ᾱ_T ≈ 3e-18: not singular, and still useless for ε."""
    s = make_schedule("linear_unscaled", 4000)
    assert float(gain(s, "eps").max()) > MAX_GAIN
    with pytest.raises(ValueError, match="cannot be inverted"):
        check(s, "eps")
    check(s, "v")


def test_the_largest_gain_that_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit itself is; what is no number at all is the worst of all."""
    s = make_schedule("cosine", 3)
    gains = torch.tensor([1.0, MAX_GAIN, 2.0], dtype=torch.float64)
    monkeypatch.setattr("ddpm.objective.gain", lambda s, objective: gains)
    check(s, "eps")
    gains[2] = math.nan
    with pytest.raises(ValueError, match=r"\|σ/D\| = nan at t=3 "):
        check(s, "eps")


def test_options_out_of_bounds_are_refused() -> None:
    s = make_schedule("cosine", 10)
    with pytest.raises(
        ValueError, match=r"^option 'sigma_data' of 'edm' must be a finite number from 1e-06 to 1e\+06,"
    ):
        make_target(s, "edm(sigma_data=0.0)")
    with pytest.raises(ValueError, match=r"^option 'gamma' of 'min_snr' must be a finite number above 0, not 0\.0$"):
        loss_weight(s, "x0", "min_snr(gamma=0.0)")


@pytest.mark.parametrize(
    ("schedule", "T", "weight", "t"), [("flow", 50, "p2(k=0.0)", 50), ("linear", 1000, "p2(k=0.0,gamma=-77.1)", 1)]
)
def test_a_weight_that_is_not_finite_is_refused(schedule: str, T: int, weight: str, t: int) -> None:
    """1/SNR where no signal is left; SNR to a high power at the first step alone. The line says at which step."""
    said = f"weight '{weight}' of objective 'v' is not finite on schedule '{schedule}' at t={t}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        loss_weight(make_schedule(schedule, T), "v", weight)


@pytest.mark.parametrize(("objective", "schedule"), PAIRS)
def test_usual_cells_are_not(objective: str, schedule: str) -> None:
    """Every row works at T = 1000 on every schedule."""
    check(make_schedule(schedule, 1000), objective)


def test_network_sees_the_share_of_steps() -> None:
    """t = 1 … T reaches the network as t/T in (0, 1]."""
    seen: list[Tensor] = []

    def net(x: Tensor, u: Tensor) -> Tensor:
        seen.append(u)
        return x

    x = torch.zeros(3, 1, 2, 2)
    Denoiser(net, make_schedule("cosine", 10), "v")(x, torch.tensor([1, 5, 10]))
    assert_close(seen[0], torch.tensor([0.1, 0.5, 1.0]))


def test_the_bounds_weight_where_there_are_one_or_two_steps() -> None:
    """β̃₂ stands in for β̃₁, and β₁ where there is no second step."""
    two = make_schedule("cosine", 2)
    alpha, sigma, beta = two.alpha, two.sigma, two.beta
    tilde = sigma[1] ** 2 / sigma[2] ** 2 * beta[2]
    for t in (1, 2):
        expected = (alpha[t - 1] * beta[t] / sigma[t] ** 2) ** 2 / (2 * tilde)
        assert_close(loss_weight(two, "x0", "vlb")[t], expected, rtol=1e-9, atol=0)
    one = make_schedule("linear(start=0.0005,end=0.001)", 1)
    expected = (one.beta[1] / one.sigma[1] ** 2) ** 2 / (2 * one.beta[1])
    assert_close(loss_weight(one, "x0", "vlb")[1], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_target_is_tabulated_in_all_three(name: str) -> None:
    """(T + 1,) float64 each, so that tables can be made of them."""
    assert all(k.shape == (6,) and k.dtype == torch.float64 for k in make_target(make_schedule("cosine", 5), name))
