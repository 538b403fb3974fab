"""Teaching, on Gaussian data N(0, s²), whose probability flow from t to r is known: x_r = x_t · √(V_r/V_t)."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.batch import Around, Batch, Path
from ddpm.denoiser import Denoiser, Net
from ddpm.mix import Table, unmix
from ddpm.nets import make_net
from ddpm.objective import OBJECTIVES, make_target
from ddpm.oracle import gaussian
from ddpm.sampler import sample
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import space
from ddpm.spec import parameters
from ddpm.teach import DISTANCES, TEACH, make_teach
from ddpm.train import Loss, Recipe, Trainer

S2 = 0.25


def variance(s: Schedule) -> Tensor:
    """V_t, of x_t, over t = 0 … T."""
    return s.alpha**2 * S2 + s.sigma**2


def speaking(s: Schedule, objective: str, x0_of: Any) -> Net:
    """A network whose output says x̂₀ = x0_of(x_t, t), at second times too where they are told."""
    table = Table(s.noise, make_target(s, objective))

    def net(x: Tensor, u: Tensor) -> Tensor:
        t = (u * s.T).round().long()
        first = t if t.ndim == 1 else t[:, 0]
        noise, target = table.at(first, x)
        x0 = x0_of(x, *t.unbind(1)) if t.ndim == 2 else x0_of(x, t)
        return target(x0, (x - noise.a * x0) / noise.b)

    return net


def flow_to_data(s: Schedule) -> Any:
    """The exact consistency function: (x_t, t) → x₀ at the end of its probability flow."""
    factor = (S2 / variance(s)).sqrt()
    return lambda x, t: factor[t].view(-1, *[1] * (x.ndim - 1)) * x


def batch_at(s: Schedule, t: Tensor, around: Around, objective: str = "v", seed: int = 0) -> Batch:
    """A batch of Gaussian data."""
    random = torch.Generator().manual_seed(seed)
    x0, eps = (torch.randn((len(t), 1, 2, 2), generator=random, dtype=torch.float64) for _ in range(2))
    return Batch(S2**0.5 * x0, eps, t, Path(s), Denoiser(gaussian(s, objective, S2), s, objective), around)


def regressed(teach: str, s: Schedule, around: Around) -> Tensor:
    """k over t = 1 … T: E[x̃₀ | x_t] = k_t x_t, exactly, since x̃₀ is linear in x₀ and ε."""
    t = torch.arange(1, s.T + 1)
    parts = []
    for x0, eps in ((1.0, 0.0), (0.0, 1.0)):
        ones = torch.ones((s.T, 1, 1, 1), dtype=torch.float64)
        batch = Batch(x0 * ones, eps * ones, t, Path(s), Denoiser(gaussian(s, "v", S2), s, "v"), around)
        parts.append(make_teach(teach).answer(batch).x0.flatten())
    return (parts[0] * s.alpha[1:] * S2 + parts[1] * s.sigma[1:]) / variance(s)[1:]


def test_data_is_what_it_was() -> None:
    """Not a bit differs from the loss without a row."""
    s = make_schedule("cosine", 20)
    batch = batch_at(s, torch.tensor([1, 7, 20]), Around())
    answer = make_teach("data").answer(batch)
    assert answer.x0 is batch.x0 is answer.made_of[0]
    assert answer.eps is batch.eps is answer.made_of[1]
    assert answer.factor is None


@pytest.mark.parametrize("teach", ["consistency"])
def test_the_start_is_diffusion_training(teach: str) -> None:
    """At distance t, r = 0, the loss and its gradient are those of the data."""
    s = make_schedule("cosine", 20)
    batch = batch_at(s, torch.tensor([1, 7, 20]), Around())
    found = []
    for name, around in (("data", Around()), (teach, Around(done=0.1))):
        k = torch.full((1,), 0.3, dtype=torch.float64, requires_grad=True)
        Loss(s, "v", "unit", name)(lambda x, u, k=k: k * x, batch.x0, batch.t, batch.eps, None, around).backward()
        found.append(k.grad)
    assert_close(*found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_pairs_lie_on_one_path(distance: str, objective: str) -> None:
    """x_r is of the same x₀ and ε, r < t; the answer is the network's own there, whatever the objective."""
    s = make_schedule("cosine", 40)
    seen: list[tuple[Tensor, Tensor]] = []

    def x0_of(x: Tensor, r: Tensor) -> Tensor:
        seen.append((x, r))
        return 0.7 * x

    t = torch.arange(1, 41)
    batch = batch_at(s, t, Around(speaking(s, objective, x0_of), done=0.99), objective)
    answer = make_teach(f'consistency(distance="{distance}")').answer(batch)
    ((x, r),) = seen
    at = Path(s).at(r, x)
    assert_close(x, at(batch.x0, batch.eps))
    assert (r <= (t - 1).clamp(min=1)).all()
    assert_close(answer.x0[1:], 0.7 * x[1:], rtol=0, atol=1e-5)
    assert_close(answer.x0[0], batch.x0[0])  # from the first step there is only the data
    assert_close(Path(s).at(t, x)(answer.x0, answer.eps), batch.x_t)


def test_distances() -> None:
    """By the papers' formulas: the share of the noise level that ECT takes away, and iCT's equal parts."""
    s, like = make_schedule("karras", 1000), torch.zeros((), dtype=torch.float64)
    path, t = Path(s), torch.tensor([100, 500, 900])
    level = path.levels(like)
    for k in (4, 6, 8):
        r = DISTANCES["ect"](path, t, k, like)
        share = 1 - (1 + 8 / (1 + level[t].exp())) / 2**k
        assert (level[r] <= share * level[t]).all()
        assert (level[r + 1] > share * level[t]).all()
        assert (t - DISTANCES["ict"](path, t, k, like) == max(1, 1000 // (10 * 2 ** (k - 1)))).all()
    assert (level[DISTANCES["ect"](path, t, 1, like)] <= level[t] / 2).all()


def test_consistency_leads_to_the_flow() -> None:
    """With the exact map as its own estimate the best answer is the exact map, the closer the shorter the distance."""
    off = []
    for T in (50, 100, 200):
        s = make_schedule("cosine", T)
        around = Around(speaking(s, "v", flow_to_data(s)), done=0.999)
        k = regressed('consistency(distance="ict",halvings=12)', s, around)
        exact = (S2 / variance(s)).sqrt()[1:]
        off.append(float((k / exact - 1).abs()[T // 10 :].max()))
    order = [math.log2(a / b) for a, b in itertools.pairwise(off)]
    assert off[-1] < 2e-4
    assert all(1.7 < one < 2.3 for one in order), "the error of one step is of second order in its length"


def test_a_consistency_function_in_few_steps() -> None:
    """Samples of the exact map have the data's variance in one, two or four steps, renoised or not."""
    s = make_schedule("cosine", 100)
    denoiser = Denoiser(speaking(s, "v", flow_to_data(s)), s, "v")
    random = torch.Generator().manual_seed(0)

    def noise(_: int) -> Tensor:
        return torch.randn((20_000, 1, 1, 1), generator=random, dtype=torch.float64)

    for steps in (1, 2, 4):
        *_, last = sample(denoiser, noise(0), space(s, steps, "trailing"), "renoise", noise, clip=False)
        assert float(last.x.var()) == pytest.approx(S2, rel=5 * (2 / 20_000) ** 0.5)
    *_, mean = sample(Denoiser(gaussian(s, "v", S2), s, "v"), noise(0), [100], "renoise", noise, clip=False)
    assert float(mean.x.var()) < 1e-3, "the mean of all data is no sample"


def straight_path(T: int) -> Schedule:
    """α = 1 − u, σ = u: the path of the papers on average velocities."""
    u = torch.arange(T + 1, dtype=torch.float64) / T
    return Schedule("straight", 1 - u, u)


def jump_on_it(x: Tensor, u: Tensor) -> Tensor:
    """The exact x̂₀ towards s for Gaussian data there, smooth in both times; of one time the posterior mean."""
    t, s = (one.view(-1, 1, 1, 1) for one in u.unbind(1))
    V_t, V_s = ((1 - one) ** 2 * S2 + one**2 for one in (t, s))
    return x * torch.where(t == s, (1 - t) * S2 / V_t, (t * (V_s / V_t).sqrt() - s) / (t - s + (t == s)))


def exact_jump(s: Schedule) -> Any:
    """The same on a table: (x_t, t, s) → x̂₀."""
    V = variance(s)

    def x0_of(x: Tensor, t: Tensor, to: Tensor) -> Tensor:
        left = s.sigma[to] / s.sigma[t]
        far = ((V[to] / V[t]).sqrt() - left) / (s.alpha[to] - left * s.alpha[t])
        return torch.where(t == to, s.alpha[t] * S2 / V[t], far).view(-1, 1, 1, 1) * x

    return x0_of


def bent(x: Tensor, u: Tensor) -> Tensor:
    """A smooth network of no meaning, told of two times."""
    t, s = (one.view(-1, 1, 1, 1) for one in u.unbind(1))
    return torch.tanh(x + t - 0.5 * s) + 0.3 * x.roll(1, -1) * s


def test_meanflow_is_the_papers() -> None:
    """Eq. 10 and 11 of arXiv 2505.13447: v − (t − r)(v ∂_z u + ∂_t u), by finite differences."""
    s = straight_path(50)
    random = torch.Generator().manual_seed(3)
    batch = batch_at(s, torch.arange(1, 51), Around(plain=bent, random=random), "flow")
    answer = make_teach("meanflow(ratio=0.5)").answer(batch)
    assert answer.second is not None
    jumps = answer.second < batch.t
    assert 20 <= int(jumps.sum()) <= 25
    assert torch.equal(answer.x0[~jumps], batch.x0[~jumps])
    t, r = (one[:, None, None, None].double() / 50 for one in (batch.t, answer.second))
    v, h = batch.eps - batch.x0, 1e-6

    def u_at(d: float) -> Tensor:
        return bent(batch.x_t + d * v, torch.cat([t + d, r], 1).flatten(1))

    expected = v - (t - r) * (u_at(h) - u_at(-h)) / (2 * h)
    assert_close((answer.eps - answer.x0)[jumps], expected[jumps], rtol=0, atol=1e-7)


def test_shortcut_is_the_papers() -> None:
    """Eq. 4 of arXiv 2410.12557: the mean of two steps' velocities, each told of its own end."""
    s = straight_path(64)
    random = torch.Generator().manual_seed(3)
    batch = batch_at(s, torch.full((40,), 64), Around(bent, random=random), "flow")
    answer = make_teach("shortcut(ratio=1.0,halvings=4)").answer(batch)
    assert answer.second is not None
    assert set((64 - answer.second).tolist()) == {64, 32, 16, 8}
    t, r = torch.ones(40, dtype=torch.float64), answer.second / 64
    m, least = (t + r) / 2, (answer.second == 56)
    first = bent(batch.x_t, torch.stack([t, torch.where(least, t, m)], 1))
    x_m = batch.x_t - (t - m).view(-1, 1, 1, 1) * first
    second = bent(x_m, torch.stack([m, torch.where(least, m, r)], 1))
    assert_close(answer.eps - answer.x0, (first + second) / 2, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("objective", "T", "limit"), [("x0", 40, 1e-9), ("v", 100, 2e-3), ("v", 400, 1.3e-4)])
def test_mean_velocity_leads_to_the_flow(objective: str, T: int, limit: float) -> None:
    """With the exact jump as its own estimate the best answer is the exact jump, but for α′ and σ′ of the table."""
    s = straight_path(T)
    net = jump_on_it if objective == "x0" else told_as(s, objective)
    t = torch.arange(T // 10, T + 1)
    parts = []
    for x0, eps in ((1.0, 0.0), (0.0, 1.0)):
        ones = torch.ones((len(t), 1, 1, 1), dtype=torch.float64)
        around = Around(plain=net, random=torch.Generator().manual_seed(1))
        batch = Batch(x0 * ones, eps * ones, t, Path(s), Denoiser(net, s, objective), around)
        answer = make_teach("meanflow(ratio=1.0)").answer(batch)
        parts.append(answer.x0.flatten())
    assert answer.second is not None
    k = (parts[0] * s.alpha[t] * S2 + parts[1] * s.sigma[t]) / variance(s)[t]
    exact = jump_on_it(
        torch.ones(len(t), 1, 1, 1, dtype=torch.float64), torch.stack([t, answer.second], 1).double() / T
    )
    assert_close(k, exact.flatten(), rtol=0, atol=limit)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", ["cosine", "karras"])
def test_shortcut_leads_to_the_flow(name: str, objective: str) -> None:
    """The exact jump teaches itself: two of it land where one does.

    The shortest jumps are two steps of plain DDIM. Their error is of first order in their length.
    """
    s, T, t = make_schedule(name, 512), 512, torch.arange(256, 513)
    off = []
    for halvings in (6, 7, 8):
        around = Around(speaking(s, objective, exact_jump(s)), random=torch.Generator().manual_seed(1))
        batch = batch_at(s, t, around, objective)
        answer = make_teach(f"shortcut(ratio=1.0,halvings={halvings})").answer(batch)
        assert answer.second is not None
        shortest = t - answer.second == T // 2 ** (halvings - 1)
        assert 20 < int(shortest.sum()) < 80
        exact = exact_jump(s)(batch.x_t, t, answer.second)
        assert_close(answer.x0[~shortest], exact[~shortest], rtol=0, atol=1e-8)
        off.append(float((answer.x0 - exact)[shortest].div(batch.x_t[shortest]).abs().max()))
    assert all(1.9 < a / b < 2.3 for a, b in itertools.pairwise(off))
    assert off[-1] < 2e-3


def told_as(s: Schedule, objective: str) -> Net:
    """The exact jump in an objective's words, smooth in u: for v on the straight path."""
    assert objective == "v"

    def net(x: Tensor, u: Tensor) -> Tensor:
        t, x0 = u[:, :1, None, None], jump_on_it(x, u)
        return (1 - t) * (x - (1 - t) * x0) / t - t * x0

    return net


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_jumps_along_the_exact_flow(steps: int) -> None:
    """However many: their end is x_T · s/√V_T, of the data's variance."""
    s = make_schedule("cosine", 100)
    denoiser = Denoiser(speaking(s, "v", exact_jump(s)), s, "v")
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(-1, 1, 1, 1)
    *_, last = sample(denoiser, x, space(s, steps, "trailing"), "jump", lambda t: x, clip=False)
    assert_close(last.x, x * (S2 / variance(s)[-1]).sqrt(), rtol=1e-9, atol=0)


TWO_TIMES = ["unet(blocks=1,inner=32,middle=1,second_time=true,width=8)", "dit(depth=1,second_time=true,width=32)"]


def made_up(name: str) -> nn.Module:
    """A small network with no weight at zero, told of two times."""
    torch.manual_seed(0)
    net = make_net(name, 1, 8).double()
    for value in net.state_dict().values():
        value.copy_(torch.randn(value.shape) / max(1, value[0].numel()) ** 0.5 if value.ndim > 1 else value + 0.1)
    return net


@pytest.mark.parametrize("name", TWO_TIMES)
def test_the_jvp_of_a_real_network(name: str) -> None:
    """x̂₀ and its derivative on the way, attention included, against a finite difference of the schedule's own."""
    s = make_schedule("cosine", 1000)
    net = made_up(name)
    x, v = (torch.randn((3, 1, 8, 8), dtype=torch.float64) for _ in range(2))
    t, to, h = torch.tensor([200, 500, 900]), torch.tensor([0, 300, 899]), 1e-4
    denoiser = Denoiser(net, s, "v")
    with torch.no_grad():
        found, rate = denoiser.moving(x, t, to, v)
        assert_close(found, denoiser.clean(x, t, to)[0], rtol=0, atol=1e-9)
        to_x0 = torch.stack(unmix(s.noise, make_target(s, "v"))[0][:2])

        def x0_at(d: float) -> Tensor:
            out = net(x + d * v, torch.stack([t.double() + d, to], 1) / 1000)
            mixed = to_x0[:, t] + d * (to_x0[:, t + 1] - to_x0[:, t - 1]) / 2
            return mixed[0].view(-1, 1, 1, 1) * (x + d * v) + mixed[1].view(-1, 1, 1, 1) * out

        assert_close(rate, (x0_at(h) - x0_at(-h)) / (2 * h), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TWO_TIMES)
def test_a_network_told_of_one_time(name: str) -> None:
    """(B,) means s = t. Another second time changes the output."""
    net, u = made_up(name), torch.tensor([0.3, 0.9], dtype=torch.float64)
    x = torch.randn((2, 1, 8, 8), dtype=torch.float64)
    assert torch.equal(net(x, u), net(x, torch.stack([u, u], 1)))
    assert not torch.allclose(net(x, u), net(x, torch.stack([u, u / 2], 1)))


def as_table(k: Tensor) -> Any:
    """(x_t, t) → k_t x_t, k over t = 1 … T."""
    return lambda x, t: k[t - 1].view(-1, *[1] * (x.ndim - 1)) * x


@pytest.mark.parametrize("T", [64, 100])
def test_progressive_distillation_halves_the_steps(T: int) -> None:
    """In one step a student, exact at each stage, gives what 64 steps of its first teacher do: nearly the flow."""
    s = make_schedule("cosine", T)
    teacher: Net = gaussian(s, "v", S2)
    x = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    *_, many = sample(Denoiser(teacher, s, "v"), x, space(s, 64, "trailing"), "ddim", lambda t: x, clip=False)
    rule = make_teach("progressive(first=32)")
    stages = [rule.stage(done / 60) for done in range(60)]
    assert stages == [done // 10 for done in range(60)]
    assert rule.stage(0.9999999) == 5
    for stage in range(6):
        k = regressed("progressive(first=32)", s, Around(teacher=teacher, done=(stage + 0.5) / 6))
        steps = 32 // 2**stage
        *_, few = sample(
            Denoiser(speaking(s, "v", as_table(k)), s, "v"), x, space(s, steps, "trailing"), "ddim", lambda t: x,
            clip=False,
        )  # fmt: skip
        assert_close(few.x, many.x, rtol=1e-9, atol=0)
        teacher = speaking(s, "v", as_table(k))
    assert float(k[-1]) == pytest.approx(S2**0.5, rel=0.05)


def test_reflow_pairs() -> None:
    """The teacher's own noise and sample make x_t and the target. More steps bring the sample closer to the flow."""
    s = make_schedule("cosine", 200)
    ends = []
    for steps in (5, 50, 200):
        batch = batch_at(s, torch.tensor([1, 70, 200]), Around(teacher=gaussian(s, "x0", S2)), "x0")
        answer = make_teach(f"reflow(steps={steps})").answer(batch)
        assert answer.made_of[1] is answer.eps is batch.eps
        assert answer.made_of[0] is answer.x0
        assert_close(answer.x0 / batch.eps, (answer.x0 / batch.eps).mean().expand_as(answer.x0))
        ends.append(abs(float((answer.x0 / batch.eps).mean()) / S2**0.5 - 1))
    assert ends[0] > ends[1] > ends[2]
    assert ends[2] < 0.03


def small(seed: int) -> nn.Module:
    """A network of a scale and a shift, for any t."""
    torch.manual_seed(seed)
    return PerPixel().double()


class PerPixel(nn.Module):
    """out = a x + b u + c."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2) → (B, C, H, W)."""
        u = u if u.ndim == 1 else 2 * u[:, 0] - u[:, 1]
        return self.k[0] * x + (self.k[1] * u + self.k[2]).view(-1, 1, 1, 1)


def trainer_of(teach: str, epochs: int = 4) -> Trainer:
    """Two steps an epoch, a teacher where there is one."""
    loss = Loss(make_schedule("cosine", 16), "v", "unit", teach)
    teacher = small(1) if loss.teach.teacher else None
    return Trainer(small(0), loss, Recipe(epochs, batch_size=8, ema=0.5), 0, teacher)


def taken(trainer: Trainer, steps: int) -> Trainer:
    """After so many more steps."""
    images = torch.linspace(-1, 1, 16 * 4, dtype=torch.float64).view(16, 1, 2, 2)
    list(itertools.islice(trainer.steps(images, lambda x: x), steps))
    return trainer


@pytest.mark.parametrize(("epochs", "after"), [(4, 3), (4, 2), (3, 1)])  # before, in and between stages of three
@pytest.mark.parametrize("teach", [name for name in TEACH if name != "data"])
def test_a_resumed_run_is_the_same_run(teach: str, epochs: int, after: int) -> None:
    """Teachers that change included; and the state of one who needs nothing has nothing more."""
    options = {"progressive": "(first=4)", "consistency": '(distance="ict")'}.get(teach, "")
    whole, first, second = (trainer_of(teach + options, epochs) for _ in range(3))
    taken(whole, 2 * epochs)
    taken(first, 2 * after)
    second.load_state({k: v.clone() for k, v in first.state().items()})
    assert second.stage == first.stage
    taken(second, 2 * (epochs - after))
    assert_close(dict(second.net.state_dict()), dict(whole.net.state_dict()), rtol=0, atol=0)
    extra = {name.partition(".")[0] for name in whole.state()} - {"net", "ema", "opt", "epoch", "ema_updates"}
    assert extra == ({"teacher", "stage"} if whole.loss.teach.stages > 1 else set())


def test_the_average_becomes_the_next_teacher() -> None:
    trainer = trainer_of("progressive(first=2)", epochs=2)  # two stages of two steps
    assert trainer.teacher is not None
    first = small(1).state_dict()["k"]
    assert_close(trainer.net.state_dict()["k"], first)  # the student starts as a copy
    taken(trainer, 2)
    assert_close(trainer.teacher.state_dict()["k"], first)
    average = trainer.ema.weights["k"].clone()
    trainer.optimisers.clear()  # so that the next step leaves the network as it begins
    taken(trainer, 1)
    assert_close(trainer.teacher.state_dict()["k"], average)
    assert_close(trainer.net.state_dict()["k"], average)
    assert not torch.equal(average, first)
    assert not any(p.requires_grad for p in trainer.teacher.parameters())


def test_the_learning_rate_begins_anew_in_each_stage() -> None:
    """Warm-up and half cosine, each as in a run of that length; one stage of all steps without stages."""

    def rates(teach: str, steps: int) -> list[float]:
        trainer = trainer_of(teach, epochs=steps // 2)
        trainer.recipe = replace(trainer.recipe, warmup=0.4)
        found = []
        for _ in trainer.steps(torch.zeros((16, 1, 2, 2), dtype=torch.float64), lambda x: x):
            found.append(trainer.optimisers[0].param_groups[0]["lr"])
        return found

    assert rates("progressive(first=4)", 30) == rates("data", 10) * 3
    assert len(set(rates("progressive(first=1)", 30))) > 20
    uneven = rates("progressive(first=4)", 16)  # stages of 6, 5 and 5 steps
    assert uneven == rates("data", 6) + uneven[6:11] * 2


@pytest.mark.parametrize(("T", "steps"), [(1000, 64), (1000, 16), (1000, 8), (50, 4), (50, 25), (50, 17), (60, 1)])
def test_progressive_trains_on_the_grid_that_samples_it(T: int, steps: int) -> None:
    """Whether or not N divides T. Drawn steps are moved up to the next of N; the teacher is asked at those of 2N."""
    s, asked = make_schedule("cosine", T), list[Tensor]()

    def x0_of(x: Tensor, t: Tensor) -> Tensor:
        asked.append(t)
        return 0.7 * x

    batch = batch_at(s, torch.arange(1, T + 1), Around(teacher=speaking(s, "v", x0_of)))
    answer = make_teach(f"progressive(first={steps},last={steps})").answer(batch)
    grid, finer = space(s, steps, "trailing"), space(s, 2 * steps, "trailing")
    assert answer.t.tolist() == [min(one for one in grid if one >= t) for t in range(1, T + 1)]
    assert torch.equal(asked[0], answer.t)
    assert asked[1].unique().tolist() == finer[:0:-2]


@pytest.mark.parametrize("T", [64, 1000])
def test_progressive_where_its_steps_are_all_of_one_length(T: int) -> None:
    """Not a bit differs from t, t − T/(2N), rounded up, and t − T/N."""
    s, every = make_schedule("cosine", T), torch.arange(1, T + 1)
    for steps in (n for n in range(1, T // 2 + 1) if T % n == 0):
        batch = batch_at(s, every, Around(teacher=gaussian(s, "v", S2)))
        answer = make_teach(f"progressive(first={steps},last={steps})").answer(batch)
        moved = replace(batch, t=-(-every // (T // steps)) * (T // steps))
        to = moved.t - T // steps
        assert torch.equal(answer.t, moved.t)
        assert torch.equal(answer.x0, moved.by_two_steps(batch.teacher, (moved.t + to + 1) // 2, to))


def test_classes_are_told_to_the_teacher_too() -> None:
    """Each image's own, as the network in training is."""
    seen: list[tuple[str, Tensor]] = []

    def net(name: str) -> Any:
        def evaluate(x: Tensor, u: Tensor, y: Tensor) -> Tensor:
            assert len(x) == len(u) == len(y)
            seen.append((name, y))
            return x

        return evaluate

    s, classes = make_schedule("cosine", 16), torch.tensor([3, 1])
    around = Around(net("own"), net("teacher"), classes, 0.9, torch.Generator().manual_seed(0), net("plain"))
    for teach in TEACH:
        make_teach(teach).answer(batch_at(s, torch.tensor([5, 9]), around))
    assert {name for name, _ in seen} == {"own", "teacher", "plain"}
    assert all(torch.equal(y, classes) or y in (3, 1) for _, y in seen)  # or some of the images


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ('consistency(distance="far")', "'far' is not there .choices: ect, ict"),
        ("consistency(halvings=0)", "^option 'halvings' of 'consistency' must be a whole number from 1 to 32, not 0$"),
        ("consistency(start=1.0)", "must be a finite number from 0 up to 1, not 1.0$"),
        ("shortcut(halvings=33)", "a whole number from 1 to 32, not 33$"),
        (
            "meanflow(ratio=0.0)",
            "^option 'ratio' of 'meanflow' must be a finite number above 0 and at most 1, not 0.0$",
        ),
        ("shortcut(ratio=1.5)", "above 0 and at most 1, not 1.5"),
        (
            "progressive(teacher=0.0)",
            "^option 'teacher' of 'progressive' must be a finite number between 0 and 1, not 0.0$",
        ),
        ("reflow(teacher=1.0)", "between 0 and 1, not 1.0$"),
        ("progressive(teacher=1.5)", "between 0 and 1, not 1.5$"),
        ("progressive(first=6,last=4)", "^first=6 is not last=4 doubled some number of times$"),
        (
            "progressive(first=1,last=0)",
            "^option 'last' of 'progressive' must be a whole number from 1 to 65536, not 0$",
        ),
        ("reflow(steps=0)", "a whole number from 1 to 65536, not 0$"),
        ("dat", "'dat' is not there .choices: data"),
    ],
)
def test_mistakes(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_teach(name)


@pytest.mark.parametrize("name", ["consistency(halvings=1)", "shortcut(halvings=1)", "reflow(steps=1)"])
def test_the_least_that_is_allowed(name: str) -> None:
    assert make_teach(name).extra > 0


def test_a_row_without_its_network_says_so() -> None:
    with pytest.raises(ValueError, match=r"^this row of TEACH needs a network that it was not given$"):
        make_teach("progressive").answer(batch_at(make_schedule("cosine", 64), torch.tensor([64]), Around()))


def test_what_rows_are_by_default() -> None:
    """As their docs and the studies have them: another default would be another study."""
    whole = {name: make_teach(name) for name in TEACH}
    assert {name: rule.extra for name, rule in whole.items()} == {
        "data": 0, "consistency": 0.75, "progressive": 2, "reflow": 8, "meanflow": 0.75, "shortcut": 0.5,
    }  # fmt: skip
    assert {name: rule.teacher for name, rule in whole.items() if rule.teacher} == {"progressive": 0.5, "reflow": 0.5}
    assert [name for name, rule in whole.items() if rule.second] == ["meanflow", "shortcut"]
    assert [name for name, rule in whole.items() if rule.maps] == ["consistency", "progressive", "reflow"]
    assert {name: rule.least for name, rule in whole.items() if rule.least > 1} == {
        "progressive": 128, "reflow": 8, "meanflow": 3,
    }  # fmt: skip
    assert {name: rule.only for name, rule in whole.items() if rule.only} == {"progressive": (1, "ddim", "trailing")}
    assert make_teach("progressive(first=8,last=2)").only == (2, "ddim", "trailing")
    assert {name: rule.stages for name, rule in whole.items() if rule.stages > 1} == {"progressive": 7}
    assert make_teach("meanflow(ratio=0.5)").extra == 1.5
    assert [name for name, rule in whole.items() if rule.coupled is True] == ["reflow"]
    halvings = {name: parameters(TEACH[name]).get("halvings") for name in TEACH}
    assert {name: default for name, default in halvings.items() if default} == {"consistency": 8, "shortcut": 7}


def test_the_last_stage_lasts_until_the_end() -> None:
    rule = make_teach("progressive(first=4)")
    assert [rule.stage(done) for done in (0.0, 0.33, 0.34, 0.66, 0.67, 1.0)] == [0, 0, 1, 1, 2, 2]


def test_epochs_of_the_teacher() -> None:
    """Its share, one at least, and one is left for the student; none where there is no teacher."""
    assert make_teach("data").teachers(8) == 0
    assert [make_teach("progressive").teachers(epochs) for epochs in (2, 3, 8)] == [1, 2, 4]
    assert make_teach("reflow(teacher=0.99)").teachers(8) == 7
    assert make_teach("reflow(teacher=0.01)").teachers(8) == 1


def test_what_a_small_budget_affords() -> None:
    """One epoch of plain training; with a teacher two at least, one for each; exactly the budget is affordable."""
    assert make_teach("data").affords(1) == 1
    assert make_teach("data").affords(3) == 3
    assert make_teach("progressive").affords(1) == 0
    assert make_teach("progressive").affords(2) == 0  # 1 + 5/3
    assert make_teach("progressive").affords(3) == 2
    assert make_teach("reflow(steps=3)").affords(3) == 2  # 1 + 2
    assert make_teach("reflow(steps=3)").cost(2) == 3


def test_the_factor_of_consistency() -> None:
    """τ_t/(τ_t − τ_r), τ = σ/α (ECT, iCT); none while r = 0."""
    s = make_schedule("cosine", 40)
    seen: list[Tensor] = []

    def x0_of(x: Tensor, r: Tensor) -> Tensor:
        seen.append(r)
        return x

    t = torch.arange(2, 41)
    row = make_teach("consistency(halvings=4,start=0.2)")
    batch = batch_at(s, t, Around(speaking(s, "v", x0_of), done=0.999))
    factor = row.answer(batch).factor
    tau = s.sigma / s.alpha
    assert factor is not None
    earlier = DISTANCES["ect"](Path(s), t, 4, batch.x0).clamp(min=0).minimum(t - 1)
    assert_close(factor[:-1], (tau[t] / (tau[t] - tau[earlier]))[:-1])  # at T no signal is left: τ is cut there
    assert torch.equal(seen[0], earlier.clamp(min=1))
    assert row.answer(replace(batch, around=Around(done=0.19))).factor is None


@pytest.mark.parametrize(("done", "k"), [(0.2, 1), (0.39, 1), (0.41, 2), (0.61, 3), (0.81, 4), (0.999, 4)])
def test_the_stages_of_consistency(done: float, k: int) -> None:
    """Four of equal length after the start, which ends at 0.2."""
    s, seen = make_schedule("cosine", 1000), list[Tensor]()

    def x0_of(x: Tensor, r: Tensor) -> Tensor:
        seen.append(r)
        return x

    t = torch.tensor([200, 500, 900])
    batch = batch_at(s, t, Around(speaking(s, "v", x0_of), done=done))
    make_teach('consistency(distance="ict",halvings=4,start=0.2)').answer(batch)
    assert torch.equal(t - seen[0], torch.full((3,), 1000 // (10 * 2 ** (k - 1))))


@pytest.mark.parametrize(
    ("name", "t", "r"),
    [
        ('consistency(distance="ict",start=0.2)', [1, 5, 50, 100], [0, 0, 0, 0]),  # the first step is 100 long
        ("consistency(halvings=32)", [1, 5, 50, 100], [0, 4, 49, 99]),  # the noise level falls by less than rounding
    ],
)
def test_earlier_times_at_the_edges(name: str, t: list[int], r: list[int]) -> None:
    """None below 0, where x₀ itself is the answer, and none at t."""
    s, seen = make_schedule("cosine", 1000), list[Tensor]()

    def x0_of(x: Tensor, at: Tensor) -> Tensor:
        seen.append(at)
        return 0 * x

    done = 0.21 if "ict" in name else 0.999
    batch = batch_at(s, torch.tensor(t), Around(speaking(s, "v", x0_of), done=done))
    batch = replace(batch, x0=batch.x0.float(), eps=batch.eps.float())
    answer = make_teach(name).answer(batch)
    assert seen[0].tolist() == [max(one, 1) for one in r]
    first = torch.tensor(r) == 0
    wanted = torch.where(first.view(-1, *[1] * (batch.x0.ndim - 1)), batch.x0, torch.zeros_like(batch.x0))
    assert_close(answer.x0, wanted)


def test_second_times_are_spread_below_t() -> None:
    """`meanflow`: uniform. `shortcut`: jumps of half to a hundredth of T, none of them empty."""
    s, around = make_schedule("flow", 64), Around(bent, None, None, 0.5, torch.Generator().manual_seed(0), bent)
    second = make_teach("meanflow(ratio=1.0)").answer(batch_at(s, torch.full((400,), 64), around, "flow")).second
    assert second is not None
    assert 25 < float(second.double().mean()) < 39
    assert int(second.max()) < 64
    short = make_schedule("flow", 16)  # its shortest jumps are less than a step, and take one
    second = make_teach("shortcut(ratio=1.0)").answer(batch_at(short, torch.full((400,), 16), around, "flow")).second
    assert second is not None
    assert set((16 - second).tolist()) == {16, 8, 4, 2, 1}


def test_pairs_of_reflow_are_made_without_clipping() -> None:
    """In the steps of the trailing grid, in the images' own precision."""
    s = make_schedule("cosine", 200)
    loud = Around(teacher=speaking(s, "x0", lambda x, t: 3 * x.sign()))
    batch = batch_at(s, torch.tensor([1, 70, 200]), loud, "x0")
    batch = replace(batch, eps=batch.eps.float(), denoiser=Denoiser(loud.teacher, s, "x0"))
    answer = make_teach("reflow(steps=3)").answer(batch)
    assert answer.x0.dtype == answer.eps.dtype == torch.float64
    *_, end = sample(
        batch.denoiser, batch.eps.double(), space(s, 3, "trailing"), "ddim", lambda t: torch.zeros(()), clip=False
    )
    assert_close(answer.x0, end.x)
    assert float(answer.x0.abs().max()) > 1


@pytest.mark.parametrize(
    ("teach", "epochs"),
    [
        ("data", 8),
        ("consistency(start=0.0)", 6),  # 4/3 an epoch: 6 cost 8
        ("consistency(start=0.25)", 6),  # 5/4 an epoch: 6 cost 7.5, and 7 cost 8.75
        ("progressive", 6),  # 3 of the teacher's, 3 of 5/3
        ("reflow(steps=6)", 4),  # 2 of the teacher's, 2 of 3
        ("reflow(steps=30)", 0),  # 1 and 11
        ("shortcut(ratio=0.5)", 6),
    ],
)
def test_epochs_that_are_affordable(teach: str, epochs: int) -> None:
    """At the time of eight epochs of plain training, the teacher's included; a training step is three evaluations."""
    rule = make_teach(teach)
    assert rule.affords(8) == epochs
    assert rule.cost(epochs) <= 8 < rule.cost(epochs + 1) or epochs == 0


@pytest.mark.parametrize("teach", [name for name in TEACH if name != "meanflow"])
def test_extra_evaluations_are_those_that_are_made(teach: str) -> None:
    """Over a whole run, beside the network's own in each step. (`meanflow` has a derivative, which is not one.)"""
    s, images, seen = make_schedule("cosine", 64), 8, [0]
    rule = make_teach(teach)

    def net(x: Tensor, u: Tensor) -> Tensor:
        seen[0] += len(x)
        return torch.zeros_like(x)

    whole = 100
    for i in range(whole):
        around = Around(net, net, None, (i + 0.5) / whole, torch.Generator().manual_seed(i), net)
        rule.answer(batch_at(s, torch.arange(1, images + 1) * 8, around))
    assert seen[0] / (whole * images) == pytest.approx(rule.extra)


def test_a_share_of_a_batch_is_one_image_at_least() -> None:
    batch = batch_at(make_schedule("cosine", 20), torch.arange(1, 21), Around(random=torch.Generator().manual_seed(0)))
    assert [len(batch.some(share)) for share in (0.001, 0.1, 0.5, 1.0)] == [1, 2, 10, 20]
    assert sorted(batch.some(1.0).tolist()) == list(range(20))


@pytest.mark.parametrize(
    ("objective", "schedule", "low", "high"),
    [
        ("previous", "linear", 100, 300), ("mean", "linear", 100, 300), ("eps", "cosine", 30, 50),
        ("v", "linear", 0.98, 1.02), ("v", "cosine", 0.98, 1.02),
    ],
)  # fmt: skip
def test_what_an_output_that_is_too_large_does_to_pairs(objective: str, schedule: str, low: float, high: float) -> None:
    """Eight unclipped steps of a teacher whose output is 1% too large, over those of the exact one."""
    s = make_schedule(schedule, 1000)
    exact = gaussian(s, objective, S2)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    ends = []
    for factor in (1.01, 1.0):
        teacher = Denoiser(lambda x, u, factor=factor: factor * exact(x, u), s, objective)
        *_, last = sample(teacher, x, space(s, 8, "trailing"), "ddim", lambda t: x, clip=False)
        ends.append(float(last.x))
    assert low < abs(ends[0] / ends[1]) < high
