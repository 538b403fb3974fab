"""The bound, term by term, against closed forms for Gaussian data; the decoder against scipy; the flow's likelihood."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from ddpm.denoiser import Denoiser
from ddpm.likelihood import VARIANCES, Bound, bits, flow_bound, flow_log_likelihood, large, log_decoder, small
from ddpm.objective import OBJECTIVES
from ddpm.oracle import gaussian
from ddpm.schedule import Schedule, make_schedule

VARIANCE = 0.25
LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)

SIGNS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64)
"""x₀/std and ε with every sign: second moments exactly those of independent unit normals, so mean squares are too."""


def exact(s: Schedule, objective: str = "eps") -> Denoiser:
    return Denoiser(gaussian(s, objective, VARIANCE), s, objective)


def mean_terms(s: Schedule, bound: Bound) -> Tensor:
    """E L_{t−1} for t = 2 … T under N(0, ¼), exactly."""
    x0, eps = (SIGNS[:, i].view(4, 1, 1, 1).repeat(s.T - 1, 1, 1, 1) for i in (0, 1))
    t = torch.arange(2, s.T + 1).repeat_interleave(4)
    return bound.term(math.sqrt(VARIANCE) * x0, t, eps).view(-1, 4).mean(1)


@pytest.mark.parametrize(("variance", "expected"), [("small", 0.0), ("large", 0.4864)])
def test_with_the_true_image(variance: str, expected: float) -> None:
    """REFERENCE 2.8: x̂₀ = x₀ leaves nothing for β̃ and .4864 bits a dimension for β."""
    s = make_schedule("linear", 1000)
    x0 = torch.full((999, 1, 1, 1), 0.3, dtype=torch.float64)
    bound = Bound(exact(s), variance)
    found = bits(bound.term_of(x0, torch.arange(2, 1001), x0)).sum()
    assert float(found) == pytest.approx(expected, abs=5e-5)


def test_first_log_variance() -> None:
    """β̃₂ in place of β̃₁ = 0: −9.8167, not a clamped −46."""
    s = make_schedule("linear", 1000)
    assert float(small(s)[1]) == pytest.approx(-9.8167, abs=5e-5)
    assert float(large(s)[1]) == pytest.approx(math.log(1e-4), abs=1e-9)
    assert_close(small(s)[2:].exp(), (s.sigma[1:-1] / s.sigma[2:]) ** 2 * s.beta[2:], rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_terms_in_closed_form(objective: str, variance: str, schedule: str) -> None:
    """KL of two normals: variances β̃ and the model's, means α_{t−1} β_t/σ_t² (x₀ − x̂₀) apart."""
    s = make_schedule(schedule, 200)
    found = mean_terms(s, Bound(exact(s, objective), variance))
    for t in (2, 3, 50, 199, 200):
        a, b, past = float(s.alpha[t]), float(s.sigma[t]), float(s.alpha[t - 1])
        beta = 1 - (a / past) ** 2
        tilde = (1 - past**2) / b**2 * beta
        other = tilde if variance == "small" else beta
        error = VARIANCE * b**2 / (a**2 * VARIANCE + b**2)  # E|x₀ − x̂₀|²
        apart = (past * beta / b**2) ** 2 * error
        expected = (tilde / other - 1 - math.log(tilde / other) + apart / other) / 2
        assert float(found[t - 2]) == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_the_bound_closes_in_on_the_entropy() -> None:
    """N(0, ¼) has 1.0471 bits: the bound is above, and with β the nearer the more steps, within .005 with 4,000.

    β̃ would be right for a single image: near t = 1 it stays too narrow for data that vary, and a gap remains.
    """
    entropy = math.log2(2 * math.pi * math.e * VARIANCE) / 2
    assert entropy == pytest.approx(1.0471, abs=5e-5)
    gaps: dict[str, list[float]] = {name: [] for name in VARIANCES}
    for T in (250, 1000, 4000):
        s = make_schedule("cosine", T)
        x0 = torch.full((1, 1, 1, 1), math.sqrt(VARIANCE), dtype=torch.float64)
        # continuous data: the density of the best normal instead of a bin's mass
        left = VARIANCE * float(s.sigma[1]) ** 2 / (float(s.alpha[1]) ** 2 * VARIANCE + float(s.sigma[1]) ** 2)
        decoder = (math.log(2 * math.pi) + math.log(left) + 1) / 2
        for variance, found in gaps.items():
            bound = Bound(exact(s, "v"), variance)
            found.append(float(bits(bound.prior(x0) + mean_terms(s, bound).sum() + decoder)) - entropy)
    assert gaps["large"][0] > gaps["large"][1] > gaps["large"][2] > 0
    assert gaps["large"][2] < 5e-3
    assert all(small > 0.1 for small in gaps["small"])


def test_prior() -> None:
    """KL of N(α x₀, σ²) and N(0, 1), by torch."""
    s = make_schedule("linear_unscaled", 100)
    x0 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 1, 2, 2)
    q = torch.distributions.Normal(s.alpha[-1] * x0, s.sigma[-1])
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).flatten(1).mean(1)
    assert_close(Bound(exact(s)).prior(x0), expected, rtol=1e-9, atol=1e-12)
    none = make_schedule("flow", 100)
    assert Bound(exact(none, "v")).prior(x0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("scale", [1e-3, 0.0074, 0.1, 3.0])
def test_decoder_is_a_distribution(scale: float) -> None:
    """The masses of the 256 levels sum to 1, edge bins open; each is scipy's difference of two normal integrals."""
    for mean in (-1.3, -1.0, -0.2, 0.0, 0.999, 1.5):
        log = log_decoder(
            LEVELS, torch.full((256,), mean, dtype=torch.float64), torch.tensor(math.log(scale), dtype=torch.float64)
        )
        assert float(log.exp().sum()) == pytest.approx(1, abs=1e-9)
        edges = stats.norm(mean, scale).cdf(LEVELS[:-1].numpy() + 1 / 255)
        assert log.exp()[1:-1].tolist() == pytest.approx((edges[1:] - edges[:-1]).tolist(), abs=1e-12)
        assert log.isfinite().all()


def test_bins_are_two_over_255_wide() -> None:
    """A bin's mass is its density times 2/255: 6.994 bits, not 7."""
    x = LEVELS[60:200]
    density = torch.distributions.Normal(0.0, 0.5).log_prob(x)
    offset = bits(density - log_decoder(x, torch.zeros_like(x), torch.tensor(math.log(0.5))))
    assert offset.tolist() == pytest.approx([math.log2(255 / 2)] * len(x), abs=1e-4)
    assert math.log2(255 / 2) == pytest.approx(6.994, abs=5e-4)


def test_draws_are_unbiased() -> None:
    """One t an image, uniform or by importance: both agree with the whole sum within their standard errors."""
    s = make_schedule("cosine", 50)
    bound = Bound(exact(s, "v"))
    random = torch.Generator().manual_seed(0)
    x0 = LEVELS[torch.randint(60, 196, (4000, 1, 2, 2), generator=random)]
    terms = list(bound.whole(x0, lambda t: torch.randn(x0.shape, generator=random, dtype=torch.float64)))
    assert len(terms) == 50
    whole = torch.stack(terms).sum(0)
    second = torch.stack([term.square().mean().sqrt() for term in reversed(terms)])
    chance = torch.cat([second.new_zeros(1), second / second.sum()])
    uniform, t = bound.draw(x0, random)
    assert (int(t.min()), int(t.max())) == (1, 50)
    assert uniform.dtype == x0.dtype == torch.float64
    assert bound.draw(x0[:2].float(), random)[0].dtype == torch.float32
    important, _ = bound.draw(x0, random, chance)
    for found in (uniform, important):
        error = math.hypot(float(found.std()), float(whole.std())) / math.sqrt(len(x0))
        assert abs(float(found.mean() - whole.mean())) < 4 * error
    assert float(important.std()) < float(uniform.std()) / 2


@pytest.mark.parametrize("images", [1, 5])
def test_flow_likelihood(images: int) -> None:
    """log N(x; 0, α_t² v + σ_t²) at the start, from the change of variables along the flow, to 1e-4 bits."""
    s = make_schedule("cosine", 2000)
    x = torch.randn(images, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 2
    times = list(range(100, 2001, 2))
    found = flow_log_likelihood(exact(s), x, times, torch.Generator().manual_seed(1))
    spread = float((s.alpha[100] ** 2 * VARIANCE + s.sigma[100] ** 2).sqrt())
    expected = torch.distributions.Normal(0.0, spread).log_prob(x).flatten(1).mean(1)
    assert float(bits((found - expected).abs()).max()) < 1e-4


def test_what_the_bound_bounds() -> None:
    """Mean KL(q(x_t | x₀) ‖ N(0, α² v + σ²)) = log(√(α² v + σ²)/σ), to 1e-4 bits, which L_T and its terms exceed."""
    s = make_schedule("cosine", 2000)
    x0, eps = (SIGNS[:, i].view(4, 1, 1, 1) for i in (0, 1))
    times = list(range(100, 2001, 2))
    found = flow_bound(exact(s), math.sqrt(VARIANCE) * x0, eps, times, torch.Generator().manual_seed(1)).mean()
    total = float((s.alpha[100] ** 2 * VARIANCE + s.sigma[100] ** 2).sqrt())
    assert float(bits(found - math.log(total / float(s.sigma[100])))) == pytest.approx(0, abs=1e-4)
    bound = Bound(exact(s))
    above = mean_terms(s, bound)[99:].sum() + bound.prior(math.sqrt(VARIANCE) * x0).mean()  # L_t for t ≥ 100
    assert float(found) < float(above) < float(found) + 0.02


def test_a_clipped_bound() -> None:
    """x̂₀ beyond [−1, 1] is as good as at its edge."""
    s = make_schedule("cosine", 50)
    x0, t = torch.ones(3, 1, 2, 2, dtype=torch.float64), torch.tensor([2, 20, 50])
    wild, tame = (Denoiser(lambda x, u, c=c: torch.full_like(x, c), s, "x0") for c in (7.0, 1.0))
    assert_close(Bound(wild, clip=True).term(x0, t, x0), Bound(tame).term(x0, t, x0))
    assert bool((Bound(wild).term(x0, t, x0) > Bound(tame).term(x0, t, x0)).all())


def test_one_step() -> None:
    """With T = 1 there is a decoder and nothing else, of finite variance."""
    s = make_schedule("cosine", 1)
    x0 = torch.zeros(2, 1, 2, 2)
    bound = Bound(Denoiser(lambda x, u: torch.zeros_like(x), s, "x0"))
    (only,) = bound.whole(x0, torch.ones_like(x0).mul)
    assert only.isfinite().all()


@pytest.mark.parametrize(("v", "variance"), [(-1.0, "small"), (1.0, "large")])
def test_learned_variance(v: float, variance: str) -> None:
    """At its ends the learned variance gives the terms of the fixed ones, the decoder's included."""
    s = make_schedule("linear", 50)
    t = torch.arange(1, 51)
    x0, found = torch.rand(2, 50, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    learned = Bound(exact(s)).term_of(x0, t, found, torch.full_like(x0, v))
    assert_close(learned, Bound(exact(s), variance).term_of(x0, t, found), rtol=1e-9, atol=1e-12)


def test_the_best_variance_is_the_reverse_process_own() -> None:
    """Of N(0, v) data p(x_{t−1} | x_t) is normal of variance β̃ + (α_{t−1} β_t/σ_t²)² Var(x₀ | x_t)."""
    s, t = make_schedule("cosine", 100), 20
    bound = Bound(exact(s, "v"))
    x0 = math.sqrt(VARIANCE) * SIGNS[:, 0].view(4, 1, 1, 1)
    eps = SIGNS[:, 1].view(4, 1, 1, 1)
    at = torch.full((4,), t)
    found, _ = bound.denoiser(s.alpha[t] * x0 + s.sigma[t] * eps, at)
    places = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    terms = torch.stack([bound.term_of(x0, at, found, torch.full_like(x0, float(v))).mean() for v in places])
    best = float(places[terms.argmin()])
    a, b, past, beta = float(s.alpha[t]), float(s.sigma[t]), float(s.alpha[t - 1]), float(s.beta[t])
    left = VARIANCE * b**2 / (a**2 * VARIANCE + b**2)
    tilde = (1 - past**2) / b**2 * beta
    wanted = math.log(tilde + (past * beta / b**2) ** 2 * left)
    assert best == pytest.approx(2 * (wanted - math.log(tilde)) / (math.log(beta) - math.log(tilde)) - 1, abs=2e-3)


def test_variances_at_the_first_steps() -> None:
    """β̃₂ stands in for β̃₁, also where there are two steps alone; index 0 repeats 1."""
    s = make_schedule("cosine", 2)
    second = s.sigma[1] ** 2 / s.sigma[2] ** 2 * s.beta[2]
    assert_close(small(s), second.log().expand(3), rtol=1e-12, atol=0)
    assert_close(large(s), s.beta[[1, 1, 2]].log(), rtol=1e-12, atol=0)


def test_a_bin_that_is_too_narrow_for_its_digits() -> None:
    """Its mass is next to nothing, but no logarithm of 0."""
    scale = torch.tensor(30.0)
    assert log_decoder(torch.tensor(0.0), torch.tensor(0.0), scale).isfinite()
