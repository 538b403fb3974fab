"""The same network and noise through diffusers' schedulers.

Their index i is our t = i + 1: their table starts at the first noisy step, ours at the clean image. Their DDIM clips x̂₀
alone unless ``use_clipped_model_output`` is set; with it ε̂ is derived again, which is what our ``clip`` always does
(their DDPM does so too, as its mean is written in x̂₀ and x_t).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.models.attention import BasicTransformerBlock
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.denoiser import Denoiser, Net
from ddpm.nets import dit
from ddpm.objective import OBJECTIVES
from ddpm.sampler import extrapolate, sample
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import space

PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
T = 100
SHAPE = (2, 1, 6, 6)
LINEAR = (torch.linspace(1e-4, 0.02, T, dtype=torch.float64) * (1000 / T)).tolist()

# As shipped, diffusers rounds β and ᾱ to float32, so the two differ by that rounding, magnified where 1/√ᾱ is large.
# With its ᾱ replaced by ours in float64 what remains is the algebra alone.
PRECISION = {torch.float32: 2e-4, torch.float64: 1e-10}


class TinyNet:
    """A fixed smooth function of (x, t/T): one random convolution."""

    def __init__(self, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(3)
        self.weight = (0.3 * torch.randn(1, 1, 3, 3, generator=generator, dtype=torch.float64)).to(dtype)

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 1, H, W)."""
        bent = torch.tanh(torch.nn.functional.conv2d(x, self.weight, padding=1))
        return bent + 0.5 * x + 0.2 * torch.cos(5 * u)[:, None, None, None]


def same_tables(
    scheduler: DDPMScheduler | DDIMScheduler | LCMScheduler, schedule: Schedule, dtype: torch.dtype
) -> None:
    """In float64, give diffusers our ᾱ."""
    if dtype == torch.float64:
        scheduler.alphas_cumprod = schedule.alpha[1:] ** 2


def network_output(net: TinyNet, x: Tensor, index: int) -> Tensor:
    """The network at diffusers' index, through our time."""
    return net(x, torch.full((len(x),), index + 1).to(x.dtype) / T)


def start(dtype: torch.dtype) -> Tensor:
    """x_T."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def our_walk(
    net: Net,
    schedule: Schedule,
    objective: str,
    times: list[int],
    sampler: str,
    dtype: torch.dtype,
    **options: object,
) -> Tensor:
    """Every x of our trajectory, with noise from generator 1."""
    generator = torch.Generator().manual_seed(1)
    noise = lambda s: torch.randn(SHAPE, generator=generator, dtype=dtype)  # noqa: E731
    denoiser = Denoiser(net, schedule, objective)
    return torch.stack([step.x for step in sample(denoiser, start(dtype), times, sampler, noise, **options)])  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("steps", [10, 37, T])
@pytest.mark.parametrize("objective", PREDICTION)
@pytest.mark.parametrize(("sampler", "variance"), [("ancestral", "fixed_small"), ("ancestral_beta", "fixed_large")])
def test_ancestral(sampler: str, variance: str, objective: str, steps: int, clip: bool, dtype: torch.dtype) -> None:
    """DDPMScheduler with β̃ (``fixed_small``) and β (``fixed_large``), on our respaced times."""
    schedule, net = make_schedule("linear", T), TinyNet(dtype)
    times = space(schedule, steps)
    scheduler = DDPMScheduler(
        num_train_timesteps=T,
        trained_betas=LINEAR,
        variance_type=variance,
        clip_sample=clip,
        prediction_type=PREDICTION[objective],
    )
    same_tables(scheduler, schedule, dtype)
    scheduler.set_timesteps(timesteps=[t - 1 for t in times])
    x, generator, theirs = start(dtype), torch.Generator().manual_seed(1), []
    for index in scheduler.timesteps:
        x = scheduler.step(network_output(net, x, int(index)), index, x, generator=generator).prev_sample
        theirs.append(x)
    ours = our_walk(net, schedule, objective, times, sampler, dtype, clip=clip)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=PRECISION[dtype] * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("grid", ["respaced", "trailing", "leading"])
@pytest.mark.parametrize("objective", PREDICTION)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta: float, objective: str, grid: str, clip: bool, dtype: torch.dtype) -> None:
    """DDIMScheduler at η = 0, ½ and 1.

    It takes the previous time to be ``index − T // steps`` and not the next index it keeps, so only grids with equal
    gaps of that size can agree. 'trailing' and 'leading' with 20 steps of 100 have them. ``linspace`` with 10 has
    gaps of (100 − 1)/(10 − 1) = 11, which is what 100 // 9 gives: its indices are set by hand and 9 is declared. The
    last index falls below 0 then, as it should, and the step goes to the clean image.
    """
    schedule, net = make_schedule("linear", T), TinyNet(dtype)
    scheduler = DDIMScheduler(
        num_train_timesteps=T,
        trained_betas=LINEAR,
        clip_sample=clip,
        prediction_type=PREDICTION[objective],
        timestep_spacing="leading" if grid == "respaced" else grid,
    )
    same_tables(scheduler, schedule, dtype)
    if grid == "respaced":
        scheduler.timesteps = torch.tensor(space(schedule, 10)) - 1
        scheduler.num_inference_steps = 9
    else:
        scheduler.set_timesteps(20)
    times = (scheduler.timesteps + 1).tolist()
    x, generator, theirs = start(dtype), torch.Generator().manual_seed(1), []
    for index in scheduler.timesteps:
        out = network_output(net, x, int(index))
        x = scheduler.step(
            out, index, x, eta=eta, use_clipped_model_output=clip, generator=generator if eta else None
        ).prev_sample
        theirs.append(x)
    ours = our_walk(net, schedule, objective, times, "ddim", dtype, eta=eta, clip=clip)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=PRECISION[dtype] * float(expected.abs().max()))


def multistep(times: list[int], dtype: torch.dtype, **options: object) -> DPMSolverMultistepScheduler:
    """diffusers' multistep solver on our tables and times, its last step the one of first order to clean data."""
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=T, trained_betas=LINEAR, final_sigmas_type="zero", lower_order_final=True, **options
    )
    scheduler.set_timesteps(len(times))
    schedule = make_schedule("linear", T)
    scheduler.timesteps = torch.tensor(times) - 1
    scheduler.sigmas = torch.cat([(schedule.sigma / schedule.alpha)[times], torch.zeros(1, dtype=torch.float64)]).to(
        dtype
    )
    return scheduler


# diffusers' own use of numpy
copying = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@copying
@pytest.mark.parametrize("objective", PREDICTION)
@pytest.mark.parametrize(
    ("sampler", "algorithm", "order"),
    [("dpmpp_2m", "dpmsolver++", 2), ("dpmpp_2m_sde", "sde-dpmsolver++", 2), ("ddim", "dpmsolver++", 1)],
)
def test_multistep(sampler: str, algorithm: str, order: int, objective: str) -> None:
    """DPMSolverMultistepScheduler (midpoint), with and without noise.

    With ``final_sigmas_type="zero"`` its last step is of first order, as ours is. Its σ are given ours in float64; the
    step itself computes in that.
    """
    schedule, net = make_schedule("linear", T), TinyNet(torch.float64)
    times = space(schedule, 20)
    scheduler = multistep(
        times, torch.float64, algorithm_type=algorithm, solver_order=order, prediction_type=PREDICTION[objective]
    )
    x, generator, theirs = start(torch.float64), torch.Generator().manual_seed(1), []
    for index in scheduler.timesteps:
        noise = torch.randn(SHAPE, generator=generator, dtype=torch.float64)  # by itself it would draw in float32
        x = scheduler.step(network_output(net, x, int(index)), index, x, variance_noise=noise).prev_sample
        theirs.append(x)
    ours = our_walk(net, schedule, objective, times, sampler, torch.float64, clip=False)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@copying
def test_third_order_differs() -> None:
    """diffusers gives the second difference of three x̂₀ half the weight of a step of third order: it is of second.

    As do other codes after the authors' own. With half of it, ours is theirs.
    """
    schedule, net = make_schedule("linear", T), TinyNet(torch.float64)
    times = space(schedule, 20)
    scheduler = multistep(times, torch.float64, algorithm_type="dpmsolver++", solver_order=3)
    x = start(torch.float64)
    past: list[tuple[float, Tensor]] = []
    lambdas = (schedule.alpha / schedule.sigma).log()
    denoiser = Denoiser(net, schedule, "eps")
    for i, (t, s) in enumerate(itertools.pairwise(times[:-1])):
        index = scheduler.timesteps[i]
        x0, _ = denoiser(x, torch.full((len(x),), t))
        past = [*past[-2:], (float(lambdas[t]), x0)]
        bar = extrapolate(past, float(lambdas[s]))
        if len(past) == 3:  # minus half of the last term of Newton's form
            (l0, a), (l1, b), (l2, c) = reversed(past)
            h = float(lambdas[s]) - l0
            bend = ((a - b) / (l0 - l1) - (b - c) / (l1 - l2)) / (l0 - l2)
            bar = bar - (h**2 / -math.expm1(-h) / 2 - (h / -math.expm1(-h) - 1)) * bend
        ours = schedule.alpha[s] * bar + schedule.sigma[s] * (x - schedule.alpha[t] * bar) / schedule.sigma[t]
        x = scheduler.step(network_output(net, x, int(index)), index, x).prev_sample
        assert_close(ours, x, rtol=0, atol=1e-6 * float(x.abs().max()))


@copying
@pytest.mark.parametrize("objective", PREDICTION)
def test_unipc(objective: str) -> None:
    """UniPCMultistepScheduler of order 2 with B₂ on x̂₀, its last step of first order as ours is.

    Where our step from t to s ends, theirs goes on to correct when it is next called: what is compared is the x that
    the network sees, and the last one. Its third order (``solver_order=3``) is another method: a predictor of order 3.
    """
    schedule, net = make_schedule("linear", T), TinyNet(torch.float64)
    times = space(schedule, 20)
    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=T,
        trained_betas=LINEAR,
        final_sigmas_type="zero",
        solver_order=2,
        solver_type="bh2",
        prediction_type=PREDICTION[objective],
    )
    scheduler.set_timesteps(len(times))
    scheduler.timesteps = torch.tensor(times) - 1
    sigmas = (schedule.sigma / schedule.alpha)[times]
    scheduler.sigmas = torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
    x, theirs = start(torch.float64), []
    for index in scheduler.timesteps:
        x = scheduler.step(network_output(net, x, int(index)), index, x).prev_sample
        theirs.append(x)
    ours = our_walk(net, schedule, objective, times, "unipc", torch.float64, clip=False)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    uncorrected = our_walk(net, schedule, objective, times, "dpmpp_2m", torch.float64, clip=False)
    assert float((uncorrected - expected).abs().max()) > 1e-4


@copying
def test_heun() -> None:
    """HeunDiscreteScheduler: x/α is its sample, σ/α its σ; its last step too is Euler's."""
    schedule, net = make_schedule("linear", T), TinyNet(torch.float64)
    times = space(schedule, 12)
    scheduler = HeunDiscreteScheduler(num_train_timesteps=T, trained_betas=LINEAR, prediction_type="epsilon")
    scheduler.set_timesteps(12)
    sigmas = (schedule.sigma / schedule.alpha)[times]
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2), torch.zeros(1, dtype=torch.float64)])
    at = torch.tensor(times) - 1
    scheduler.timesteps = torch.cat([at[:1], at[1:].repeat_interleave(2)]).double()
    x = start(torch.float64) / schedule.alpha[times[0]]
    theirs = []
    for i, index in enumerate(scheduler.timesteps):
        alpha = schedule.alpha[int(index) + 1]
        x = scheduler.step(network_output(net, x * alpha, int(index)), index, x).prev_sample
        if i % 2 or i == len(scheduler.timesteps) - 1:
            theirs.append(x)
    ours = our_walk(net, schedule, "eps", times, "heun", torch.float64, clip=False)
    scale = schedule.alpha[[*times[1:], 0]].view(-1, 1, 1, 1, 1)
    expected = torch.stack(theirs) * scale
    assert_close(ours, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", PRECISION, ids=str)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("objective", PREDICTION)
def test_renoise(objective: str, steps: int, clip: bool, dtype: torch.dtype) -> None:
    """LCMScheduler. It mixes some of x into x̂₀ near t = 0; with so large a scale of its time that is none."""
    schedule, net = make_schedule("linear", T), TinyNet(dtype)
    times = space(schedule, steps, "trailing")
    scheduler = LCMScheduler(
        num_train_timesteps=T, trained_betas=LINEAR, clip_sample=clip, prediction_type=PREDICTION[objective],
        timestep_scaling=1e9,
    )  # fmt: skip
    same_tables(scheduler, schedule, dtype)
    scheduler.timesteps, scheduler.num_inference_steps = torch.tensor(times) - 1, steps
    x, generator, theirs = start(dtype), torch.Generator().manual_seed(1), []
    for index in scheduler.timesteps:
        x = scheduler.step(network_output(net, x, int(index)), index, x, generator=generator).prev_sample
        theirs.append(x)
    ours = our_walk(net, schedule, objective, times, "renoise", dtype, clip=clip)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=PRECISION[dtype] * float(expected.abs().max()))


@pytest.mark.parametrize("steps", [1, 2, 5, 50])
@pytest.mark.parametrize("sampler", ["ddim", "jump", "renoise"])
def test_the_straight_path(sampler: str, steps: int) -> None:
    """FlowMatchEulerDiscreteScheduler, whose x is ours times √((1 − u)² + u²).

    For `jump` its velocity is one that knows where the step ends; `renoise` is its ``stochastic_sampling``. It computes
    in float32.
    """
    schedule, plain = make_schedule("flow", T), TinyNet(torch.float32)
    times = space(schedule, steps, "trailing")

    def net(x: Tensor, u: Tensor) -> Tensor:
        return plain(x, u) if u.ndim == 1 else plain(x, u[:, 0]) + 0.3 * torch.sin(4 * u[:, 1])[:, None, None, None]

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=T, stochastic_sampling=sampler == "renoise")
    scheduler.set_timesteps(sigmas=[t / T for t in times])
    x, generator, theirs = start(torch.float32), torch.Generator().manual_seed(1), []
    for at, t, s in zip(scheduler.timesteps, times, [*times[1:], 0], strict=True):
        told = torch.tensor([[t, s]] * len(x)) / T
        out = net(x / math.hypot(1 - t / T, t / T), told if sampler == "jump" else told[:, 0])
        x = scheduler.step(out, at, x, generator=generator).prev_sample
        theirs.append(x / math.hypot(1 - s / T, s / T))
    ours = our_walk(net, schedule, "flow", times, sampler, torch.float32, clip=False)
    expected = torch.stack(theirs)
    assert_close(ours, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


class Given(nn.Module):
    """In place of an embedding of time and class: one that is given."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, *_: Tensor, hidden_dtype: torch.dtype) -> Tensor:
        """(B, width)."""
        return self.value


def test_dit_block() -> None:
    """BasicTransformerBlock as DiTTransformer2DModel has it (``ada_norm_zero``), with the same weights."""
    generator, width = torch.Generator().manual_seed(2), 64
    block = dit.Block(width).double()
    theirs = BasicTransformerBlock(
        width, width // dit.HEAD, dit.HEAD, activation_fn="gelu-approximate", num_embeds_ada_norm=3,
        attention_bias=True, norm_elementwise_affine=False, norm_type="ada_norm_zero", norm_eps=1e-6,
    ).double()  # fmt: skip
    with torch.no_grad():
        for value in block.parameters():
            value.copy_(torch.randn(value.shape, generator=generator, dtype=torch.float64) / width**0.5)
    told = torch.randn(2, width, generator=generator, dtype=torch.float64)
    theirs.norm1.emb = Given(told)
    state = {"norm1.linear": block.modulation.linear, "attn1.to_out.0": block.out, "ff.net.2": block.mlp[2],
             "ff.net.0.proj": block.mlp[0]}  # fmt: skip
    weights = {f"{name}.{k}": v for name, layer in state.items() for k, v in layer.state_dict().items()}
    for kind in ("weight", "bias"):
        for name, part in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
            weights[f"attn1.to_{name}.{kind}"] = part
    theirs.load_state_dict(weights)
    x = torch.randn(2, 9, width, generator=generator, dtype=torch.float64)
    assert_close(block(x, nn.functional.silu(told)), theirs(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_zero_terminal_snr(name: str) -> None:
    """Lin et al.'s rescaling as diffusers does it."""
    plain, ours = make_schedule(name, 1000), make_schedule(f"{name}(zero_snr=true)", 1000)
    theirs = (1 - rescale_zero_terminal_snr(plain.beta[1:])).cumprod(0)
    assert_close(ours.alpha[1:] ** 2, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 3, 10, 19, 50, 101, 250, 999, 1000])
def test_respaced_times_are_linspace(steps: int) -> None:
    """``linspace`` promises diffusers' ``linspace``, which for times half way between two goes to the even *index*."""
    scheduler = DDPMScheduler(num_train_timesteps=1000, timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    assert space(make_schedule("linear", 1000), steps) == (scheduler.timesteps + 1).tolist()


def test_one_step_starts_from_noise() -> None:
    """diffusers' one-step ``linspace`` is index 0, where the input would have to be almost clean: ours is T."""
    scheduler = DDPMScheduler(num_train_timesteps=1000, timestep_spacing="linspace")
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [0]
    assert space(make_schedule("linear", 1000), 1) == [1000]


@pytest.mark.parametrize(
    ("ours", "theirs"), [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")]
)
def test_schedules(ours: str, theirs: str) -> None:
    """The same β at T = 1000, to their float32."""
    ends = {"beta_start": 8.5e-4, "beta_end": 0.012} if ours == "scaled_linear" else {}
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule=theirs, **ends)
    schedule = make_schedule(ours, 1000)
    # 1 − ᾱ(t)/ᾱ(t−1) is taken in float64 there too, but stored in float32.
    assert_close(schedule.beta[1:].float(), scheduler.betas, rtol=1e-5, atol=1e-8)
    assert_close(schedule.alpha[1:].float() ** 2, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6)


def test_noising_and_velocity() -> None:
    """x_t and v as diffusers draws them."""
    schedule = make_schedule("cosine", 1000)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    scheduler.alphas_cumprod = schedule.alpha[1:] ** 2
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 6, 1, 4, 4, generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 2, 250, 500, 999, 1000])

    def at(column: Tensor) -> Tensor:
        return column[t][:, None, None, None]

    noise, v = schedule.noise, OBJECTIVES["v"].target(schedule)
    x_t = at(noise.a) * x0 + at(noise.b) * eps
    assert_close(x_t, scheduler.add_noise(x0, eps, t - 1), rtol=1e-9, atol=1e-12)
    assert_close(at(v.a) * x0 + at(v.b) * eps, scheduler.get_velocity(x0, eps, t - 1), rtol=1e-9, atol=1e-12)


def test_grids_that_diffusers_gets_wrong() -> None:
    """'trailing' gives another number of steps than asked, or a repeated one, for some n: ours never does."""
    wrong, schedule = 0, make_schedule("linear", 1000)
    for n in range(1, 1001):
        indices = np.round(np.arange(1000, 0, -1000 / n)).astype(int) - 1
        wrong += len(set(indices.tolist())) != n
        assert len(set(space(schedule, n, "trailing"))) == n
    assert wrong == 62
