"""Teaching, on Gaussian data N(0, s²), whose probability flow from t to r is known: x_r = x_t · √(V_r/V_t)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.denoiser import Denoiser, Net
from ddpm.mix import Table
from ddpm.objective import OBJECTIVES, make_target
from ddpm.oracle import gaussian
from ddpm.sampler import sample
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import space
from ddpm.teach import DISTANCES, TEACH, Around, Batch, Path, make_teach
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


def as_table(k: Tensor) -> Any:
    """(x_t, t) → k_t x_t, k over t = 1 … T."""
    return lambda x, t: k[t - 1].view(-1, *[1] * (x.ndim - 1)) * x


def test_progressive_distillation_halves_the_steps() -> None:
    """In one step a student, exact at each stage, gives what 64 steps of its first teacher do: nearly the flow."""
    s = make_schedule("cosine", 64)
    teacher: Net = gaussian(s, "v", S2)
    x = torch.ones((1, 1, 1, 1), dtype=torch.float64)
    *_, many = sample(Denoiser(teacher, s, "v"), x, space(s, 64, "trailing"), "ddim", lambda t: x, clip=False)
    rule = make_teach("progressive(first=32)")
    assert rule.stage is not None
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
        """(B, C, H, W), (B,) → (B, C, H, W)."""
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


@pytest.mark.parametrize("teach", [name for name in TEACH if name != "data"])
def test_a_resumed_run_is_the_same_run(teach: str) -> None:
    """Teachers that change included; and the state of one who needs nothing has nothing more."""
    options = {"progressive": "(first=4)", "consistency": '(distance="ict")'}.get(teach, "")
    whole, first, second = (trainer_of(teach + options) for _ in range(3))
    taken(whole, 8)
    taken(first, 6)
    second.load_state({k: v.clone() for k, v in first.state().items()})
    taken(second, 2)
    assert_close(dict(second.net.state_dict()), dict(whole.net.state_dict()), rtol=0, atol=0)
    extra = {name.partition(".")[0] for name in whole.state()} - {"net", "ema", "opt", "epoch", "ema_updates"}
    assert extra == ({"teacher", "stage"} if whole.loss.teach.stage else set())


def test_the_average_becomes_the_next_teacher() -> None:
    trainer = trainer_of("progressive(first=2)", epochs=2)  # two stages of two steps
    assert trainer.teacher is not None
    first = small(1).state_dict()["k"]
    assert_close(trainer.net.state_dict()["k"], first)  # the student starts as a copy
    taken(trainer, 2)
    assert_close(trainer.teacher.state_dict()["k"], first)
    average = trainer.ema.weights["k"].clone()
    taken(trainer, 1)
    assert_close(trainer.teacher.state_dict()["k"], average)
    assert not torch.equal(average, first)
    assert not any(p.requires_grad for p in trainer.teacher.parameters())


def test_classes_are_told_to_the_teacher_too() -> None:
    """Each image's own, as the network in training is."""
    seen: list[tuple[str, Tensor]] = []

    def net(name: str) -> Any:
        def evaluate(x: Tensor, u: Tensor, y: Tensor) -> Tensor:
            seen.append((name, y))
            return x

        return evaluate

    s, classes = make_schedule("cosine", 16), torch.tensor([3, 1])
    around = Around(net("own"), net("teacher"), classes, done=0.9)
    for teach in TEACH:
        make_teach(teach).answer(batch_at(s, torch.tensor([5, 9]), around))
    assert {name for name, _ in seen} == {"own", "teacher"}
    assert all(torch.equal(y, classes) for _, y in seen)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ('consistency(distance="far")', "'far' is not there .choices: ect, ict"),
        ("consistency(halvings=0)", "halvings of 1 or more"),
        ("consistency(start=1.0)", "start from 0 up to 1"),
        ("dat", "'dat' is not there .choices: data"),
    ],
)
def test_mistakes(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_teach(name)
