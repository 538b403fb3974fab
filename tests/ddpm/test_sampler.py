"""Samplers, against the exact variance of their output for Gaussian data, and against theory."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from bench.theory.numbers import output_variance
from ddpm.denoiser import Denoiser
from ddpm.mix import Mix
from ddpm.objective import OBJECTIVES
from ddpm.oracle import gaussian
from ddpm.sampler import CLIPS, SAMPLERS, Step, evaluations, make_sampler, sample
from ddpm.schedule import SCHEDULES, Schedule, make_schedule
from ddpm.spacing import linspace
from tests.pretend import StaticOutput

VARIANCE = 0.25
SINGLE = [name for name in SAMPLERS if not make_sampler(name).jumps]
"""Samplers that tell the network of one time."""
PLAIN = [name for name in SINGLE if not make_sampler(name).learned and name != "renoise"]
"""Samplers that ask nothing of the network but x̂₀; `renoise` wants that of a consistency function."""

TABLE = {
    10: (0.10422, 0.35852, 0.13076),
    20: (0.15051, 0.29845, 0.18529),
    50: (0.19642, 0.26788, 0.22270),
    100: (0.21898, 0.25865, 0.23605),
    250: (0.23602, 0.25335, 0.24430),
    1000: (0.24613, 0.25075, 0.24850),
}
"""Steps → output variance of ancestral β̃, ancestral β and DDIM η = 0 for data N(0, ¼), linear schedule, T = 1000."""


def respace(T: int, steps: int) -> list[int]:
    """Even times, which no schedule matters to."""
    return linspace(make_schedule("cosine", T), steps)


def oracle(schedule: Schedule, objective: str = "eps", variance: float = VARIANCE) -> Denoiser:
    """The exact denoiser of Gaussian data."""
    return Denoiser(gaussian(schedule, objective, variance), schedule, objective)


def silent(s: int) -> Tensor:
    """A source of noise that must not be asked."""
    raise AssertionError(f"noise was asked for at s={s}")


def seeded(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Callable[[int], Tensor]:
    """A source of reproducible noise."""
    generator = torch.Generator().manual_seed(5)
    return lambda s: torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("sampler", SINGLE)
def test_nothing_is_kept_in_the_network_s_own_memory(sampler: str, clip: bool | str) -> None:
    """A captured graph returns the same memory each time: what a sampler needs later it must have a copy of."""

    def net(x: Tensor, u: Tensor) -> Tensor:
        """An output and a variance that differ at each call."""
        return torch.cat([x.tanh() + u.view(-1, 1, 1, 1), (x + u.view(-1, 1, 1, 1)).sin()], 1)

    s = make_schedule("cosine", 50)
    for objective in ("v", "x0", "eps"):
        ends = []
        for one in (net, StaticOutput(net)):
            x = torch.randn((4, 1, 6, 6), generator=torch.Generator().manual_seed(1))
            walk = sample(Denoiser(one, s, objective), x, respace(50, 6), sampler, seeded(x.shape, x.dtype), clip=clip)
            ends.append(torch.stack([torch.stack([step.x, step.x0]) for step in list(walk)]))
        assert torch.equal(*ends)


@pytest.mark.parametrize("steps", TABLE)
def test_output_variance(steps: int) -> None:
    """The whole table to its last digit; DDIM with η = 1 is the β̃ column."""
    s = make_schedule("linear", 1000)
    times = respace(1000, steps)
    small, large, deterministic = TABLE[steps]
    found = output_variance(oracle(s), times, "ancestral")
    assert found == pytest.approx(small, abs=6e-6)
    assert output_variance(oracle(s), times, "ancestral_beta") == pytest.approx(large, abs=6e-6)
    assert output_variance(oracle(s), times, "ddim", eta=0.0) == pytest.approx(deterministic, abs=6e-6)
    assert output_variance(oracle(s), times, "ddim", eta=1.0) == pytest.approx(found, rel=1e-10)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_output_variance_is_the_same_for_every_objective(objective: str) -> None:
    """One oracle, any parametrisation."""
    found = output_variance(oracle(make_schedule("linear", 1000), objective), respace(1000, 50), "ancestral")
    assert found == pytest.approx(TABLE[50][0], abs=6e-6)


def order_of_convergence(sampler: str, eta: float = 0.0) -> float:
    """The slope of log |variance error| against log(1/steps)."""
    denoiser = oracle(make_schedule("linear", 1000))
    steps = [100, 200, 333, 500]
    errors = [abs(output_variance(denoiser, respace(1000, n), sampler, eta) - VARIANCE) for n in steps]
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


@pytest.mark.parametrize("sampler", PLAIN)
def test_every_sampler_converges_to_the_data(sampler: str) -> None:
    """Given the exact denoiser, more steps approach the data's variance at first order or better.

    The last step, to the clean image, loses about 1e-4 of it whatever the method.
    """
    denoiser, rule = oracle(make_schedule("linear", 1000)), make_sampler(sampler)
    if rule.order == 1 and not rule.corrects:
        assert order_of_convergence(sampler) > 0.85
    else:
        errors = [abs(output_variance(denoiser, respace(1000, n), sampler) - VARIANCE) for n in (50, 100, 500)]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 2e-3


def test_ddim_is_first_order() -> None:
    """Slope 1, Euler's: 2 would be another method and 0 a bias."""
    assert order_of_convergence("ddim") == pytest.approx(1, abs=0.05)


def test_eta_interpolates_in_the_standard_deviation() -> None:
    """η = ½ has a quarter of β̃ in each step (OpenAI, diffusers), not half of it."""
    step = make_sampler("ddim").step
    at = (0.6, 0.8, 0.8, 0.6)
    whole = step(*at, 1.0)
    assert step(*at, 0.5).c == pytest.approx(whole.c / 2)
    assert whole.c**2 == pytest.approx(0.36 / 0.64 * (1 - 0.36 / 0.64))  # β̃ for these two times
    # Run end to end, the recursion for the variance with that quarter gives the sampler's own.
    s = make_schedule("linear", 1000)
    alpha, sigma, times = s.alpha.tolist(), s.sigma.tolist(), respace(1000, 10)
    variance = 1.0
    for t, past in zip(times, [*times[1:], 0], strict=True):
        total = alpha[t] ** 2 * VARIANCE + sigma[t] ** 2
        fresh = 0.25 * (sigma[past] / sigma[t]) ** 2 * (1 - (alpha[t] / alpha[past]) ** 2)
        keep = alpha[past] * alpha[t] * VARIANCE / total + math.sqrt(sigma[past] ** 2 - fresh) * sigma[t] / total
        variance = keep**2 * variance + fresh
    assert output_variance(oracle(s), times, "ddim", eta=0.5) == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_step_rules(schedule: str) -> None:
    """Coefficients of each rule between any two times: DDPM's two variances on one mean, and DDIM's family."""
    s = make_schedule(schedule, 100)
    for t, past in [(2, 1), (50, 49), (50, 10), (100, 99), (100, 1)]:
        at = tuple(float(k) for k in (s.alpha[t], s.sigma[t], s.alpha[past], s.sigma[past]))
        ratio = (at[0] / at[2]) ** 2
        mean = Mix(at[2], math.sqrt(ratio) * at[3] ** 2 / at[1])
        tilde = at[3] ** 2 / at[1] ** 2 * (1 - ratio)
        for name, variance in {"ancestral": tilde, "ancestral_beta": 1 - ratio}.items():
            found = make_sampler(name).step(*at, 0.3)
            assert found[:2] == pytest.approx(mean[:2], rel=1e-9)
            assert found.c**2 == pytest.approx(variance, rel=1e-9)
        found = make_sampler("ddim").step(*at, 0.3)
        assert found == pytest.approx((at[2], math.sqrt(at[3] ** 2 - 0.09 * tilde), 0.3 * math.sqrt(tilde)), rel=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_last_step_returns_the_estimate(sampler: str, eta: float) -> None:
    """At t = 0 every rule is x̂₀, with no noise."""
    assert make_sampler(sampler).step(0.9, math.sqrt(0.19), 1.0, 0.0, eta) == Mix(1.0, 0.0, 0.0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_samplers_that_say_so_use_eta(sampler: str, eta: float) -> None:
    """``uses_eta`` is what keeps a grid from running the same cell twice."""
    at = (0.6, 0.8, 0.8, 0.6)
    row = make_sampler(sampler)
    assert (row.step(*at, eta) != row.step(*at, 0.5)) == row.uses_eta


@pytest.mark.parametrize("sampler", PLAIN)
def test_walk(sampler: str) -> None:
    """One step per time, ending at 0; noise, if any, asked for each step to a positive time; the input left alone."""
    s = make_schedule("linear", 50)
    times = respace(50, 7)
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before, asked = x.clone(), []

    def noise(past: int) -> Tensor:
        asked.append(past)
        return torch.zeros_like(x)

    steps: list[Step] = list(sample(oracle(s), x, times, sampler, noise, eta=1.0))
    assert [step.t for step in steps] == [*times[1:], 0]
    draws = make_sampler(sampler).step(0.6, 0.8, 0.8, 0.6, 1.0).c > 0
    assert asked == (times[1:] if draws else [])
    assert torch.equal(x, before)
    assert torch.equal(steps[-1].x, steps[-1].x0)
    assert all(step.x.shape == x.shape and step.x.dtype == x.dtype for step in steps)


def test_deterministic_ddim_asks_for_no_noise() -> None:
    """η = 0: the source of noise is never touched."""
    s = make_schedule("linear", 50)
    steps = list(sample(oracle(s), torch.ones(1, 1, 2, 2), respace(50, 5), "ddim", silent, eta=0.0))
    assert len(steps) == 5


@pytest.mark.parametrize("sampler", PLAIN)
def test_one_step(sampler: str) -> None:
    """With one step the sample is x̂₀(x_T)."""
    s = make_schedule("linear", 1000)
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (only,) = sample(oracle(s), x, respace(1000, 1), sampler, silent, eta=1.0)
    expected = s.alpha[-1] * VARIANCE / (s.alpha[-1] ** 2 * VARIANCE + s.sigma[-1] ** 2) * x
    assert only.t == 0
    assert_close(only.x, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("sampler", PLAIN)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_sample_alike(objective: str, sampler: str, clip: bool) -> None:
    """Same oracle, same noise: the whole trajectory agrees with the x₀ objective's, whatever was regressed on."""
    s = make_schedule("linear", 200)
    x = 2 * torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    walks = [
        [step.x for step in sample(oracle(s, o), x, respace(200, 20), sampler, seeded(x.shape), eta=0.5, clip=clip)]
        for o in (objective, "x0")
    ]
    assert_close(torch.stack(walks[0]), torch.stack(walks[1]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("sampler", PLAIN)
def test_clipping_holds_the_image_in_range(sampler: str) -> None:
    """An estimate outside [−1, 1] is clamped, and every step then leads to an x̂₀ in range."""
    s = make_schedule("linear", 100)
    denoiser = Denoiser(lambda x, u: torch.full_like(x, 5.0), s, "x0")
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    *_, last = sample(denoiser, x, respace(100, 10), sampler, seeded(x.shape), eta=1.0)
    assert torch.equal(last.x, torch.ones_like(x))
    *_, free = sample(denoiser, x, respace(100, 10), sampler, seeded(x.shape), eta=1.0, clip=False)
    assert torch.equal(free.x, torch.full_like(x, 5.0))


def test_clipping_corrects_the_noise_as_well() -> None:
    """ε̂ is what is left of x_t once the clamped x̂₀ is taken away, so that (x̂₀, ε̂) still add up to x_t."""
    s = make_schedule("linear", 100)
    denoiser = Denoiser(lambda x, u: torch.full_like(x, -7.0), s, "x0")
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = [90, 40, 10]
    for t, step in zip(times, sample(denoiser, x, times, "ddim", silent), strict=True):
        expected = -s.alpha[step.t] + s.sigma[step.t] * (x + s.alpha[t]) / s.sigma[t]
        assert_close(step.x, expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(step.x0, -torch.ones_like(x))
        x = step.x


@pytest.mark.parametrize("sampler", PLAIN)
def test_clipping_is_inert_inside_the_range(sampler: str) -> None:
    """No estimate leaves [−1, 1] here, so clipping changes nothing but rounding."""
    s = make_schedule("cosine", 100)
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    runs = [
        list(sample(oracle(s, variance=0.01), x, respace(100, 10), sampler, seeded(x.shape), eta=0.5, clip=clip))
        for clip in (False, True)
    ]
    assert max(float(step.x0.abs().max()) for step in runs[0]) < 1
    assert_close(runs[1][-1].x, runs[0][-1].x, rtol=0, atol=1e-10)


def end_of_walk(sampler: str, steps: int, *, T: int = 4096, until: int = 1024, spec: str = "cosine") -> float:
    """x at t = ``until``, reached from x_T = 1 in so many equal steps, for N(0, ¼): short of the last, infinite one."""
    s = make_schedule(spec, T)
    times = list(range(T - T // 16, 0, -((T - T // 16 - until) // steps)))
    times = [t for t in times if t >= until]
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for step in sample(oracle(s), x, [*times, 1], sampler, silent, clip=False):
        if step.t == until:
            return float(step.x)
    raise AssertionError("the walk did not come by")


def exact_walk(T: int = 4096, until: int = 1024, spec: str = "cosine") -> float:
    """The same by the probability-flow equation: for N(0, v) x_t/√(α² v + σ²) does not change."""
    s = make_schedule(spec, T)
    spread = (s.alpha**2 * VARIANCE + s.sigma**2).sqrt()
    return float(spread[until] / spread[T - T // 16])


@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("dpmpp_3m", 3), ("unipc", 3)]
)
def test_order_of_convergence(sampler: str, order: int) -> None:
    """The error at a fixed time falls as the theory's power of the number of steps."""
    steps = [352, 704, 1408] if order == 3 else [88, 176, 352]
    errors = [abs(end_of_walk(sampler, n) - exact_walk()) for n in steps]
    assert -float(np.polyfit(np.log(steps), np.log(errors), 1)[0]) == pytest.approx(order, abs=0.15)


def test_euler_is_ddim() -> None:
    """Euler's method in σ/α is DDIM with η = 0, to the last bit."""
    s = make_schedule("cosine", 100)
    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    walks = [list(sample(oracle(s), x, respace(100, 9), name, silent)) for name in ("euler", "ddim")]
    assert all(torch.equal(a.x, b.x) for a, b in zip(*walks, strict=True))


def test_a_second_order_sde_needs_fewer_steps() -> None:
    """The extrapolated x̂₀ brings the stochastic sampler's variance nearer the data's, from some number of steps."""
    denoiser = oracle(make_schedule("karras", 1000))
    for steps in (50, 100, 200):
        plain = abs(output_variance(denoiser, respace(1000, steps), "ancestral") - VARIANCE)
        better = abs(output_variance(denoiser, respace(1000, steps), "dpmpp_2m_sde") - VARIANCE)
        assert better < plain / 5


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("sampler", PLAIN)
def test_evaluations(sampler: str, steps: int) -> None:
    """The network is evaluated as often as is said."""
    s, calls = make_schedule("cosine", 100), 0

    def net(x: Tensor, u: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.zeros_like(x)

    x = torch.zeros(1, 1, 2, 2)
    list(sample(Denoiser(net, s, "x0"), x, respace(100, steps), sampler, seeded(x.shape, torch.float32)))
    assert calls == evaluations(sampler, steps)


@pytest.mark.parametrize("clip", CLIPS)
def test_jump_tells_the_network_where_it_goes(clip: bool | str) -> None:
    """(t/T, s/T) at each step, however x̂₀ is clipped."""
    s, told = make_schedule("cosine", 100), list[Tensor]()

    def net(x: Tensor, u: Tensor) -> Tensor:
        told.append(u)
        return torch.zeros_like(x)

    x = torch.zeros(2, 1, 2, 2)
    list(sample(Denoiser(net, s, "x0"), x, [100, 40, 10], "jump", silent, clip=clip))
    assert_close(torch.stack(told), torch.tensor([[1.0, 0.4], [0.4, 0.1], [0.1, 0]])[:, None].expand(3, 2, 2))


def test_which_samplers_want_a_map_to_the_data() -> None:
    assert [name for name in SAMPLERS if make_sampler(name).maps is True] == ["renoise"]


def test_churn() -> None:
    """Noise is added to reach σ/α times 1 + min(churn/S, √2 − 1) to the nearest step; the variance stays right."""
    s = make_schedule("karras", 2000)
    asked: list[int] = []

    def noise(at: int) -> Tensor:
        asked.append(at)
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    list(sample(oracle(s), x, [1500, 1000, 500], "heun(churn=0.6)", noise))
    ups = [at - 2001 for at in asked]
    assert len(ups) == 3
    ratio = s.sigma / s.alpha
    for t, up in zip([1500, 1000, 500], ups, strict=True):
        assert float(ratio[up] / ratio[t]) == pytest.approx(1.2, rel=2e-3)
    asked.clear()
    list(sample(oracle(s), x, [1000], "heun(churn=40.0)", noise))
    assert float(ratio[asked[0] - 2001] / ratio[1000]) == pytest.approx(math.sqrt(2), rel=2e-3)
    assert output_variance(oracle(s), respace(2000, 200), "heun(churn=20.0)") == pytest.approx(VARIANCE, rel=0.03)


def test_heun_from_no_signal() -> None:
    """Where σ/α is infinite the first step is DDIM's, and finite."""
    s = make_schedule("cosine(zero_snr=true)", 100)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for sampler in ("heun", "dpmpp_2m", "dpmpp_3m"):
        first, *rest = sample(oracle(s, "v"), x, respace(100, 10), sampler, silent)
        (expected, *_) = sample(oracle(s, "v"), x, respace(100, 10), "ddim", silent)
        assert torch.equal(first.x, expected.x)
        assert all(step.x.isfinite().all() for step in rest)


def test_unipc_from_no_signal() -> None:
    """The first step, which is infinitely long, is not taken again: the others are those of a walk from its end."""
    s = make_schedule("cosine(zero_snr=true)", 100)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    first, *rest = sample(oracle(s, "v"), x, [100, 80, 60, 30, 10], "unipc", silent)
    assert first.t == 80
    again = list(sample(oracle(s, "v"), first.x, [80, 60, 30, 10], "unipc", silent))
    assert_close(torch.stack([step.x for step in rest]), torch.stack([step.x for step in again]), rtol=0, atol=1e-14)


def test_churn_with_nowhere_to_go_draws_nothing() -> None:
    """At T, and where the next step is nearer to t than to where it should go."""
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for times, churn in (([100], 40.0), ([100, 50], 1e-4)):
        list(sample(oracle(make_schedule("karras", 100)), x, times, f"heun(churn={churn})", silent))


def test_dynamic_thresholding() -> None:
    """Imagen's: beyond the 99.5th percentile of |x̂₀| is cut, and the rest divided by it; within [−1, 1] nothing is."""
    s = make_schedule("linear", 100)
    wide = torch.linspace(-4, 4, 400, dtype=torch.float64).view(1, 1, 20, 20)
    inside = torch.linspace(-0.5, 0.5, 400, dtype=torch.float64).view(1, 1, 20, 20)
    x = torch.zeros(2, 1, 20, 20, dtype=torch.float64)
    denoiser = Denoiser(lambda x, u: torch.cat([wide, inside]), s, "x0")
    (only,) = sample(denoiser, x, [100], "ddim", silent, clip="dynamic")
    q = np.quantile(np.abs(np.linspace(-4, 4, 400)), 0.995)
    assert_close(only.x[0], (wide[0] / q).clamp(-1, 1))
    assert torch.equal(only.x[1], inside[0])


@pytest.mark.parametrize(("v", "like"), [(-1.0, "ancestral"), (1.0, "ancestral_beta")])
def test_learned_variance_has_the_two_fixed_ones_as_its_ends(v: float, like: str) -> None:
    """v = −1 is β̃ and v = 1 is β, but for the last step, which draws nothing; in between the logarithm is linear."""
    s = make_schedule("linear", 100)
    exact = gaussian(s, "eps", VARIANCE)

    def learned(value: float) -> Denoiser:
        return Denoiser(lambda x, u: torch.cat([exact(x, u), torch.full_like(x, value)], 1), s, "eps")

    x = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = [step.x for step in sample(learned(v), x, respace(100, 10), "ancestral_learned", seeded(x.shape))]
    expected = [step.x for step in sample(oracle(s), x, respace(100, 10), like, seeded(x.shape))]
    assert_close(torch.stack(found), torch.stack(expected), rtol=0, atol=1e-10)
    noise = lambda t: torch.ones_like(x)  # noqa: E731
    steps = [next(sample(learned(value), x, [60, 30], "ancestral_learned", noise)).x for value in (-1.0, 0.0, 1.0)]
    mean = next(sample(oracle(s), x, [60, 30], "ancestral", torch.zeros_like(x).mul)).x
    low, middle, high = (float((step - mean).log().mean()) for step in steps)
    assert middle == pytest.approx((low + high) / 2, rel=1e-9)


def test_learned_variance_must_have_been_learned() -> None:
    """A plain network has nothing to say of it."""
    x = torch.zeros(1, 1, 2, 2)
    with pytest.raises(
        ValueError, match=r"^sampler 'ancestral_learned' needs a network that has learned its variance$"
    ):
        list(sample(oracle(make_schedule("linear", 50)), x, [50, 20], "ancestral_learned", torch.zeros_like(x).mul))


def flow_errors(schedule: str, evaluated: int) -> dict[str, float]:
    """Sampler without noise → the relative error of where it leads x_T = 1, for so many evaluations where it can."""
    s = make_schedule(schedule, 1000)
    exact = math.sqrt(VARIANCE / float(s.alpha[-1] ** 2 * VARIANCE + s.sigma[-1] ** 2))
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    found = {}
    for name in ("ddim", "euler", "heun", "dpmpp_2m", "dpmpp_3m", "unipc"):
        steps = next((n for n in range(1, evaluated + 1) if evaluations(name, n) == evaluated), None)
        if steps is not None:
            *_, last = sample(oracle(s, "v"), x, respace(1000, steps), name, silent, clip=False)
            found[name] = abs(float(last.x) / exact - 1)
    return found


@pytest.mark.parametrize("evaluated", [15, 25, 51, 101])
def test_where_heun_has_the_smallest_error(evaluated: int) -> None:
    """On `linear` alone, as its docstring says."""
    best = {schedule: min((error, name) for name, error in flow_errors(schedule, evaluated).items())[1]
            for schedule in ("linear", "karras", "cosine")}  # fmt: skip
    assert best["linear"] == "heun"
    assert "heun" not in (best["karras"], best["cosine"])


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_the_first_of_few_steps_on_cosine(steps: int) -> None:
    """σ/α falls more than a thousandfold, which second order cannot follow."""
    s = make_schedule("cosine", 1000)
    first, second, *_ = respace(1000, steps)
    assert float(s.sigma[first] / s.alpha[first]) > 1000 * float(s.sigma[second] / s.alpha[second])
