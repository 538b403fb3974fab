"""Training: the loss is the paper's, draws are shared and complete, and a resumed run is the same run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm import train
from ddpm.denoiser import Denoiser, Net
from ddpm.likelihood import Bound
from ddpm.mix import bridge, determinant
from ddpm.nets import NETS, make_net
from ddpm.objective import OBJECTIVES, WEIGHTS, loss_weight
from ddpm.oracle import gaussian
from ddpm.schedule import Schedule, make_schedule
from ddpm.train import OPTIMISERS, Ema, Loss, Recipe, Trainer

DRAWN = [name for name, row in OBJECTIVES.items() if (row.target(make_schedule("cosine", 5)).c != 0).any()]


class TinyNet(nn.Module):
    """Two small convolutions with the time added in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.time = nn.Linear(1, 4)
        self.last = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 1, H, W)."""
        return self.last(torch.tanh(self.first(x) + self.time(u[:, None])[:, :, None, None]))


class Recorder(nn.Module):
    """A network that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 1, H, W)."""
        self.seen.append((x.detach().clone(), u.clone()))
        return self.scale * x


class PerStep(nn.Module):
    """out = k_t x_t with one free k per step: enough to be exact for Gaussian data of one variance."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.zeros(steps + 1))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 1, H, W)."""
        t = (u * (len(self.k) - 1)).round().long()
        return self.k[t][:, None, None, None] * x


def tiny(seed: int = 0, dtype: torch.dtype = torch.float32) -> TinyNet:
    """A reproducible tiny network."""
    torch.manual_seed(seed)
    return TinyNet().to(dtype)


def as_is(images: Tensor) -> Tensor:
    """Images that are floats in [−1, 1] already."""
    return images


def pictures(count: int, side: int = 6) -> Tensor:
    """Reproducible images in [−1, 1]."""
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(7)) * 2 - 1


def batch(s: Schedule) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x₀, t, ε and z in float64, with every t from 1 to T."""
    generator = torch.Generator().manual_seed(3)
    x0, eps, z = torch.randn(3, s.T, 1, 5, 5, generator=generator, dtype=torch.float64)
    return x0, torch.arange(1, s.T + 1), eps, z


def finish(trainer: Trainer, images: Tensor, prepare: Callable[[Tensor], Tensor] = as_is) -> Trainer:
    """The trainer after its last step."""
    for _ in trainer.steps(images, prepare):
        pass
    return trainer


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name not in DRAWN])
def test_loss_is_the_x0_form(objective: str, weight: str, schedule: str) -> None:
    """λ |out − y|² = λ (D/σ)² |x̂₀ − x₀|², with x̂₀ as the denoiser reads the same output."""
    s = make_schedule(schedule, 60)
    x0, t, eps, _ = batch(s)
    net = tiny(dtype=torch.float64)
    x_t = s.alpha[t][:, None, None, None] * x0 + s.sigma[t][:, None, None, None] * eps
    with torch.no_grad():
        found = Loss(s, objective, weight)(net, x0, t, eps)
        estimate, _ = Denoiser(net, s, objective)(x_t, t)
    d = determinant(s.noise, OBJECTIVES[objective].target(s))
    factor = (loss_weight(s, objective, weight) * (d / s.sigma) ** 2)[t]
    expected = (factor[:, None, None, None] * (estimate - x0).square()).mean()
    assert_close(found, expected, rtol=1e-8, atol=0)


def test_seed_loss_as_written_in_the_seed() -> None:
    """L₁ = |X_{t−1} − μ(X_t, t)|²/(2β_t), X_{t−1} drawn from q(x_{t−1} | x_t, x₀) by DDPM's eq. 7."""
    s = make_schedule("linear", 60)
    x0, t, eps, z = batch(s)
    net = tiny(dtype=torch.float64)

    def at(column: Tensor) -> Tensor:
        return column[:, None, None, None]

    bar, past = s.alpha[1:] ** 2, s.alpha[:-1] ** 2
    beta = 1 - bar / past
    x_t = at(bar.sqrt()) * x0 + at((1 - bar).sqrt()) * eps
    mean = at(past.sqrt() * beta / (1 - bar)) * x0 + at((1 - beta).sqrt() * (1 - past) / (1 - bar)) * x_t
    drawn = mean + at(((1 - past) / (1 - bar) * beta).sqrt()) * z
    expected = ((drawn - net(x_t, t.double() / s.T)).square() / (2 * at(beta))).mean()
    loss = Loss(s, "previous", "demo")
    assert loss.draws
    assert_close(loss(net, x0, t, eps, z), expected, rtol=1e-9, atol=0)


def test_simple_loss_as_written_in_ddpm() -> None:
    """L_simple, eq. 14, which is the seed's L₂ too."""
    s = make_schedule("linear", 60)
    x0, t, eps, _ = batch(s)
    net = tiny(dtype=torch.float64)
    bar = (s.alpha[1:] ** 2)[:, None, None, None]
    expected = (eps - net(bar.sqrt() * x0 + (1 - bar).sqrt() * eps, t.double() / s.T)).square().mean()
    loss = Loss(s, "eps", "unit")
    assert not loss.draws
    assert_close(loss(net, x0, t, eps), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_previous_and_mean_have_one_expected_gradient(weight: str) -> None:
    """Averaged over z and −z the gradients are equal, exactly, and the losses differ by λ β̃ z²: nothing to learn."""
    s = make_schedule("linear", 60)
    x0, t, eps, z = batch(s)

    def value(objective: str, fresh: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        net = tiny(dtype=torch.float64)
        loss = Loss(s, objective, weight)(net, x0, t, eps, fresh)
        loss.backward()
        return loss.detach(), [p.grad for p in net.parameters() if p.grad is not None]

    plus, minus, mean = value("previous", z), value("previous", -z), value("mean", None)
    assert len(mean[1]) == 6
    for a, b, c in zip(plus[1], minus[1], mean[1], strict=True):
        assert_close((a + b) / 2, c, rtol=1e-9, atol=1e-9 * float(c.abs().max()))
        assert not torch.allclose(a, c, rtol=1e-6, atol=0)
    c_t = bridge(s.alpha[1:], s.sigma[1:], s.alpha[:-1], s.sigma[:-1]).c
    # The two targets share D, so every weight is the same table for both, ``unit`` included.
    floor = (loss_weight(s, "previous", weight)[1:] * c_t**2)[:, None, None, None] * z.square()
    assert_close((plus[0] + minus[0]) / 2 - mean[0], floor.mean(), rtol=1e-7, atol=1e-10 * float(mean[0]))


# for edm the best output is 0 where its σ_data is the data's own
@pytest.mark.parametrize("objective", [*(name for name in OBJECTIVES if name != "edm"), "edm(sigma_data=1.0)"])
def test_oracle_minimises_the_loss(objective: str) -> None:
    """Moving the Gaussian oracle's output up or down by a factor raises the loss, over many shared draws."""
    s = make_schedule("linear", 50)
    generator = torch.Generator().manual_seed(0)
    x0, eps, z = torch.randn(3, 4000, 1, 4, 4, generator=generator, dtype=torch.float64)
    t = torch.randint(1, 51, (4000,), generator=generator)
    exact = gaussian(s, objective, 0.25)
    loss = Loss(s, objective, "snr")
    low, best, high = (float(loss(lambda x, u, k=k: k * exact(x, u), x0 / 2, t, eps, z)) for k in (0.9, 1.0, 1.1))
    assert best < min(low, high)


def test_every_step_is_trained() -> None:
    """Drawn times are all of 1 … T, evenly, T included and 0 not."""
    s = make_schedule("cosine", 6)
    net = Recorder()
    trainer = Trainer(net, Loss(s, "v", "unit"), Recipe(epochs=30, batch_size=64), seed=0)
    finish(trainer, pictures(64, side=1))
    t = (torch.cat([u for _, u in net.seen]) * 6).round().long()
    assert len(t) == 30 * 64
    counts = torch.bincount(t, minlength=7)
    assert counts[0] == 0
    assert len(counts) == 7
    expected = len(t) / 6
    assert float(((counts[1:] - expected) ** 2 / expected).sum()) < 20.5  # χ² with 5 degrees of freedom, p = .001


def test_noise_is_standard_normal_and_fresh() -> None:
    """From black images x_t = −α_t + σ_t ε: ε has unit moments and is new at every step."""
    s = make_schedule("cosine", 6)
    net = Recorder()
    finish(Trainer(net, Loss(s, "v", "unit"), Recipe(epochs=4, batch_size=50), seed=0), -torch.ones(100, 1, 8, 8))
    eps = []
    for x_t, u in net.seen:
        t = (u * 6).round().long()
        eps.append(((x_t + s.alpha[t][:, None, None, None]) / s.sigma[t][:, None, None, None]).flatten(1))
    every = torch.cat(eps)
    n = every.numel()
    assert abs(float(every.mean())) < 5 / n**0.5
    assert abs(float(every.var()) - 1) < 5 * (2 / n) ** 0.5
    assert float(torch.pdist(every).min()) > 1


def test_epochs_visit_each_image_once() -> None:
    """Every epoch is a permutation, a new one each time, less the last partial batch; steps count from 1."""
    batches: list[list[int]] = []

    def prepare(images: Tensor) -> Tensor:
        batches.append(images.flatten().tolist())
        return images.float()

    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    trainer = Trainer(
        Recorder(), Loss(make_schedule("cosine", 5), "x0", "unit"), Recipe(epochs=2, batch_size=3), seed=0
    )
    steps = list(trainer.steps(images, prepare))
    assert [(s.epoch, s.index, s.of) for s in steps] == [(e, i, 3) for e in (1, 2) for i in (1, 2, 3)]
    assert [s.ends_epoch for s in steps] == [False, False, True] * 2
    assert trainer.epoch == 2
    first, second = (list(itertools.chain(*half)) for half in (batches[:3], batches[3:]))
    assert len(set(first)) == len(set(second)) == 9
    assert first != second
    assert all(s.loss.shape == () and not s.loss.requires_grad for s in steps)
    assert list(trainer.steps(images, prepare)) == []


def test_batches_larger_than_the_data() -> None:
    """Few images are one batch."""
    trainer = Trainer(tiny(), Loss(make_schedule("cosine", 5), "x0", "unit"), Recipe(epochs=2, batch_size=128), seed=0)
    assert [s.of for s in trainer.steps(pictures(5), as_is)] == [1, 1]


def test_objectives_share_draws() -> None:
    """Same seed: images, t and ε are the same bits whatever is regressed on, also where a target draws its own z."""
    seen = {}
    for objective in OBJECTIVES:
        net = Recorder()
        s = make_schedule("linear", 50)
        finish(Trainer(net, Loss(s, objective, "snr"), Recipe(epochs=2, batch_size=4), seed=11), pictures(12))
        seen[objective] = net.seen
    first, *rest = seen.values()
    assert len(first) == 6
    for other in rest:
        for (x, u), (y, w) in zip(first, other, strict=True):
            assert torch.equal(x, y)
            assert torch.equal(u, w)


class RecordingLoss(Loss):
    """A loss that keeps the ε and z it is given."""

    seen: list[tuple[Tensor, Tensor]]

    def __call__(self, net: Net, x0: Tensor, t: Tensor, eps: Tensor, z: Tensor | None = None, *around: Any) -> Tensor:
        """As the loss, on the record."""
        assert z is not None
        self.seen.append((eps, z))
        return super().__call__(net, x0, t, eps, z)


@pytest.mark.parametrize("objective", DRAWN)
def test_z_is_fresh(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's own z is unit normal, uncorrelated with ε, and comes from a stream of its own in each epoch.

    Sharing ε's stream would reuse the same random bits at a shift, which no elementwise correlation shows.
    """
    seeds: list[int] = []

    def watched(*args: Any, **kwargs: Any) -> torch.Generator:
        generator = make_generator(*args, **kwargs)
        seeds.append(generator.initial_seed())
        return generator

    make_generator = train.random_stream
    monkeypatch.setattr(train, "random_stream", watched)
    loss = RecordingLoss(make_schedule("linear", 50), objective, "demo")
    loss.seen = []
    finish(Trainer(tiny(), loss, Recipe(epochs=3, batch_size=32), seed=0), pictures(64))
    eps, z = (torch.cat(column).flatten() for column in zip(*loss.seen, strict=True))
    n = len(z)
    assert abs(float(z.mean())) < 5 / n**0.5
    assert abs(float(z.var()) - 1) < 5 * (2 / n) ** 0.5
    assert abs(float(torch.corrcoef(torch.stack([eps, z]))[0, 1])) < 5 / n**0.5
    assert len(seeds) == len(set(seeds)) == 3 * 3  # images and noise, z, and which classes are not told


def test_seeds_differ() -> None:
    """Another seed, other draws; and a run is a function of its seed, not of the global generator."""
    seen = []
    for seed, outside in [(0, 1), (0, 2), (1, 1)]:
        net = Recorder()
        trainer = Trainer(net, Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=1, batch_size=4), seed)
        torch.manual_seed(outside)
        finish(trainer, pictures(4))
        seen.append(net.seen[0][0])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_learning_rate() -> None:
    """Linear warm-up to the peak, then half a cosine down to almost nothing over *all* epochs."""
    recipe = Recipe(epochs=2, batch_size=1, lr=3e-3, warmup=0.05)
    trainer = Trainer(tiny(), Loss(make_schedule("linear", 50), "eps", "unit"), recipe, seed=0)
    rates = [trainer.optimisers[0].param_groups[0]["lr"] for _ in trainer.steps(pictures(100), as_is)]
    assert len(rates) == 200
    assert rates[:10] == pytest.approx([3e-3 * (k + 1) / 10 for k in range(10)])
    assert rates[10:] == pytest.approx([3e-3 * (1 + math.cos(math.pi * k / 190)) / 2 for k in range(190)])
    assert max(rates) == pytest.approx(3e-3)
    assert 0 < rates[-1] < 1e-3 * recipe.lr
    assert rates[100] > recipe.lr / 2  # the second epoch starts half way down, not afresh


@pytest.mark.parametrize("epochs", [1, 2])
def test_learning_rate_of_very_short_runs(epochs: int) -> None:
    """One step in all divides by nothing, and every rate is positive."""
    trainer = Trainer(
        tiny(), Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=epochs, batch_size=4, lr=1.0), seed=0
    )
    rates = [trainer.optimisers[0].param_groups[0]["lr"] for _ in trainer.steps(pictures(4), as_is)]
    assert rates == pytest.approx([1.0] * epochs)


def test_ema_of_a_constant_is_the_constant() -> None:
    """A fixed point to the bit, whatever the decay and however often."""
    net = tiny()
    ema = Ema(net, 0.995)
    for _ in range(50):
        ema.update()
    assert list(ema.weights) == list(net.state_dict())
    for name, value in net.state_dict().items():
        assert torch.equal(ema.weights[name], value)


def test_ema_after_k_updates() -> None:
    """From 0 towards 1: 1 − d^k at a constant decay d."""
    net = nn.Linear(3, 2).double()
    nn.init.zeros_(net.weight)
    ema = Ema(net, 0.1)  # below the warm-up's first value, 2/11, so the decay is constant
    nn.init.ones_(net.weight)
    for k in range(1, 8):
        ema.update()
        assert_close(ema.weights["weight"], torch.full_like(net.weight, 1 - 0.1**k), rtol=1e-12, atol=1e-12)


def test_ema_warms_up() -> None:
    """The decay is (1 + k)/(10 + k) until that exceeds the recipe's: never 0, which would forget, nor above it."""
    net = nn.Linear(3, 2).double()
    nn.init.zeros_(net.weight)
    ema = Ema(net, 0.5)
    nn.init.ones_(net.weight)
    left = 1.0
    for k in range(1, 20):
        ema.update()
        left *= min(0.5, (1 + k) / (10 + k))
        assert_close(ema.weights["weight"], torch.full_like(net.weight, 1 - left), rtol=1e-12, atol=1e-12)


def test_ema_is_not_the_network() -> None:
    """The average has its own memory, and training moves it by the recipe's decay."""
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recipe = Recipe(epochs=1, batch_size=4, ema=0.1)
    trainer = finish(Trainer(net, Loss(make_schedule("linear", 50), "eps", "unit"), recipe, seed=0), pictures(4))
    for name, value in net.state_dict().items():
        assert not torch.equal(value, before[name])
        assert_close(trainer.ema.weights[name], 0.1 * before[name] + 0.9 * value)


def run(name: str, seed: int, optimiser: str) -> Trainer:
    """A short run of a registered network from initial weights that are its own."""
    torch.manual_seed(seed)
    net = make_net(name, 1, 28)
    with torch.no_grad():
        for parameter in net.parameters():  # some layers start at zero, which would hide others from the gradient
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape))
    recipe = Recipe(epochs=3, batch_size=4, optimiser=optimiser)
    return Trainer(net, Loss(make_schedule("linear", 50), "previous", "snr"), recipe, seed=0)


def to_bytes_and_back(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Through a file's bytes, which hold tensors in plain row order whatever their layout in memory."""
    return load(save({name: value.contiguous() for name, value in state.items()}))


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy in memory."""
    return {name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize("keep", [copied, to_bytes_and_back])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", NETS)
def test_a_resumed_run_is_the_same_run(
    name: str, optimiser: str, keep: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    """Stopped after any epoch and resumed in a fresh process, every tensor ends up the same bits."""
    images = pictures(8, side=28)
    whole = run(name, 0, optimiser)
    states = [keep(whole.state()) for step in whole.steps(images, as_is) if step.ends_epoch]
    assert len(states) == 3
    assert {"epoch", "ema_updates"} < set(states[0])
    for state in states[:2]:
        resumed = run(name, 1, optimiser)  # other initial weights: all that matters is in the state
        resumed.load_state(state)
        losses = [step.loss for step in resumed.steps(images, as_is)]
        assert len(losses) == 2 * (3 - int(state["epoch"]))
        end = keep(resumed.state())
        assert set(end) == set(states[2])
        differing = [key for key, value in states[2].items() if not torch.equal(end[key], value)]
        assert differing == []


def test_losses_that_were_seen_are_kept() -> None:
    """A choice of t that learns goes on from what it knew."""
    loss, recipe = Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(2, batch_size=4, timesteps="importance")
    first, second = (Trainer(tiny(seed), loss, recipe, seed=0) for seed in (0, 1))
    list(itertools.islice(first.steps(pictures(8), as_is), 2))
    second.load_state(to_bytes_and_back(first.state()))
    found, expected = second.times.state(), first.times.state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) and value.any() for name, value in expected.items())


def test_muon_is_for_matrices_and_adamw_for_the_rest() -> None:
    """At one learning rate and one weight decay; none of either where there is nothing for it."""
    recipe = Recipe(1, lr=0.03, weight_decay=0.2, optimiser="muon")
    matrix, vector = nn.Linear(32, 32, bias=False), nn.LayerNorm(3)
    for net, kinds in ((matrix, ["Muon"]), (vector, ["AdamW"]), (nn.Sequential(matrix, vector), ["Muon", "AdamW"])):
        made = OPTIMISERS["muon"](net, recipe)
        assert [type(one).__name__ for one in made] == kinds
        groups = [group for one in made for group in one.param_groups]
        assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.03, 0.2)] * len(kinds)
        assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_another_way_to_evaluate_is_the_one_that_is_used() -> None:
    """A compiled network, say. The network itself is trained."""
    net, calls = tiny(), 0

    def evaluate(x: Tensor, u: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return net(x, u)

    loss, recipe = Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=1, batch_size=4)
    list(Trainer(net, loss, recipe, seed=0).steps(pictures(8), as_is, evaluate))
    assert calls == 2


@pytest.mark.parametrize("teach", ["data", "shortcut"])
def test_each_kind_of_draw_has_a_stream_of_its_own(teach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, t and ε; targets; classes; second times, where there are any. Another number is another study."""
    streams: list[int] = []
    plain = train.random_stream

    def noted(device: torch.device, seed: int, epoch: int, stream: int) -> torch.Generator:
        streams.append(stream)
        return plain(device, seed, epoch, stream)

    monkeypatch.setattr(train, "random_stream", noted)
    net = make_net("unet(width=8,inner=8,blocks=1,middle=1,second_time=true)", 1, 8)
    loss, recipe = Loss(make_schedule("linear", 50), "eps", "unit", teach), Recipe(epochs=1, batch_size=4)
    list(itertools.islice(Trainer(net, loss, recipe, seed=0).steps(pictures(8, side=8), as_is), 1))
    assert streams == ([0, 1, 2] if teach == "data" else [0, 1, 2, 3])


def test_a_state_of_another_network_is_refused() -> None:
    """Loaded by name and shape, so a mix-up is an error and not a silent start from scratch."""
    other = Trainer(Recorder(), Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=1), seed=0)
    mine = Trainer(tiny(), Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=1), seed=0)
    with pytest.raises((KeyError, RuntimeError)):
        mine.load_state(other.state())


def test_state_before_the_first_step() -> None:
    """Epoch 0 is a resume point as well: initial weights, no optimiser state."""
    images = pictures(8)
    loss, recipe = Loss(make_schedule("linear", 50), "eps", "unit"), Recipe(epochs=1, batch_size=4)
    first, second = Trainer(tiny(0), loss, recipe, seed=0), Trainer(tiny(1), loss, recipe, seed=0)
    second.load_state(to_bytes_and_back(first.state()))
    a, b = finish(first, images).state(), finish(second, images).state()
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_frozen_parameters_stay(optimiser: str) -> None:
    """ScoreNet's frequencies are not trained, and not decayed either."""
    torch.manual_seed(0)
    net = make_net("scorenet", 1, 28)
    before = net.state_dict()["embed.0.W"].clone()
    recipe = Recipe(epochs=1, batch_size=2, weight_decay=0.5, optimiser=optimiser)
    trainer = finish(
        Trainer(net, Loss(make_schedule("linear", 50), "eps", "unit"), recipe, seed=0), pictures(4, side=28)
    )
    assert torch.equal(net.state_dict()["embed.0.W"], before)
    assert torch.equal(trainer.ema.weights["embed.0.W"], before)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_finds_the_oracle(objective: str) -> None:
    """One free factor per step, data N(0, ¼), few steps: training ends at the exact E[target | x_t]."""
    s = make_schedule("cosine", 4)
    net = PerStep(4)
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
    recipe = Recipe(epochs=300, batch_size=64, lr=5e-2 if objective == "score" else 2e-2)
    weight = "snr" if objective == "score" else "unit"  # 1/σ is large at t = 1
    finish(Trainer(net, Loss(s, objective, weight), recipe, seed=0), images)
    exact = gaussian(s, objective, 0.25)
    one = torch.ones(4, 1, 1, 1, dtype=torch.float64)
    expected = exact(one, torch.arange(1, 5) / 4).flatten()
    assert_close(net.k.detach()[1:].double(), expected, rtol=0.01, atol=0.02)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_goes_down(objective: str) -> None:
    """A tiny convolutional network on a handful of pictures learns something under every objective."""
    recipe = Recipe(epochs=60, batch_size=32, lr=1e-2)
    images = pictures(1).repeat(64, 1, 1, 1)
    trainer = Trainer(tiny(), Loss(make_schedule("linear", 50), objective, "snr"), recipe, seed=0)
    losses = torch.stack([step.loss for step in trainer.steps(images, as_is)])
    assert losses.isfinite().all()
    assert float(losses[-10:].mean()) < 0.9 * float(losses[:10].mean())


class TwoHalves(nn.Module):
    """A tiny network with a second half of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.variance = tiny(0, torch.float64), tiny(1, torch.float64)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 2, H, W)."""
        return torch.cat([self.mean(x, u), self.variance(x, u)], 1)


@pytest.mark.parametrize("objective", ["eps", "x0", "v"])
def test_hybrid_loss(objective: str) -> None:
    """L + λ T L_t (Improved DDPM, eq. 16); the bound moves the variance's half alone."""
    s = make_schedule("linear", 60)
    x0, t, eps, _ = batch(s)
    net, loss = TwoHalves(), Loss(s, objective, "unit")
    both = loss(net, x0, t, eps)
    plain = loss(net.mean, x0, t, eps)
    x_t = s.alpha[t][:, None, None, None] * x0 + s.sigma[t][:, None, None, None] * eps
    denoiser = Denoiser(net, s, objective)
    found = denoiser.estimate(x_t, t)
    terms = Bound(denoiser).term_of(x0, t, found.x0, found.v)
    assert_close(both, plain + 1e-3 * 60 * terms.mean(), rtol=1e-10, atol=0)
    both.backward()
    moved = [p.grad.clone() for p in net.mean.parameters() if p.grad is not None]
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.variance.parameters())
    net.zero_grad()
    plain.backward()
    for a, p in zip(moved, net.mean.parameters(), strict=True):
        assert p.grad is not None
        assert_close(a, p.grad, rtol=1e-12, atol=0)


def test_muon_serves_a_network_without_matrices() -> None:
    assert len(OPTIMISERS["muon"](nn.GroupNorm(1, 4), Recipe(1, optimiser="muon"))) == 1
