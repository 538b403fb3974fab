"""Choices of t: each as it is distributed by theory, and importance sampling unbiased."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from ddpm.batch import Around
from ddpm.schedule import make_schedule
from ddpm.timestep import TIMESTEPS, Importance, make_timesteps
from ddpm.train import Loss, Recipe, Trainer

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TIMESTEPS)
@pytest.mark.parametrize("T", [1, 2, 7, 1000])
def test_every_choice_is_in_range_and_reaches_both_ends(name: str, T: int) -> None:
    """Whole numbers from 1 to T, both ends included (a known mistake elsewhere never trains t = T); seeded."""
    chosen = make_timesteps(name, T, CPU)
    drawn = torch.cat([chosen.draw(64, random) for random in [generator()] for _ in range(500)])
    assert drawn.dtype == torch.int64
    assert (int(drawn.min()), int(drawn.max())) == (1, T) or (name == "logit_normal" and T == 1000)
    assert torch.equal(
        make_timesteps(name, T, CPU).draw(64, generator(3)), make_timesteps(name, T, CPU).draw(64, generator(3))
    )


def test_uniform() -> None:
    """Each t is as likely as any other (χ²)."""
    drawn = make_timesteps("uniform", 20, CPU).draw(20_000, generator())
    assert stats.chisquare(torch.bincount(drawn, minlength=21)[1:]).pvalue > 1e-3


def test_stratified() -> None:
    """One in each of B parts of the range, so their mean varies far less; over batches each t is as likely as any."""
    chosen, random = make_timesteps("stratified", 1000, CPU), generator()
    batches = torch.stack([chosen.draw(50, random) for _ in range(2000)])
    assert (((batches - 1) // 20) == torch.arange(50)).all()
    assert float(batches.double().mean(1).std()) < 1000 / math.sqrt(12 * 50) / 5
    counts = torch.bincount(batches.flatten() % 20)
    assert stats.chisquare(counts * (2000 / counts.sum())).pvalue > 1e-3


def test_logit_normal() -> None:
    """logit(t/T) is normal with the options' mean and deviation."""
    for options, mean, std in (("", 0.0, 1.0), ("(mean=-1.0,std=0.5)", -1.0, 0.5)):
        drawn = make_timesteps(f"logit_normal{options}", 100_000, CPU).draw(20_000, generator())
        assert stats.kstest(torch.logit((drawn - 0.5) / 100_000), stats.norm(mean, std).cdf).pvalue > 1e-3


def test_importance_is_uniform_until_it_knows() -> None:
    """Ten losses are needed at every t."""
    chosen = Importance(5, CPU)
    t = torch.arange(1, 6).repeat(9)
    chosen.observe(t, t.float())
    chosen.observe(torch.tensor([1, 2, 3, 4]), torch.ones(4))
    assert chosen.p()[1:].tolist() == pytest.approx([0.2] * 5)
    assert chosen.factor(t).tolist() == pytest.approx([1] * 45)
    chosen.observe(torch.tensor([5]), torch.ones(1))
    assert chosen.p()[1:].tolist() != pytest.approx([0.2] * 5)


def test_importance_by_hand() -> None:
    """p_t ∝ √E[L²], a thousandth uniform; the factor is 1/(T p)."""
    chosen = Importance(4, CPU)
    for k in range(10):
        chosen.observe(torch.arange(1, 5), torch.tensor([1.0, 2.0, 3.0, 4.0]) * (1 + k % 2))
    root = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    expected = 0.999 * root / root.sum() + 0.001 / 4
    assert chosen.p()[1:].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert float(chosen.p()[0]) == 0
    assert chosen.factor(torch.tensor([1, 4])).tolist() == pytest.approx(
        (1 / (4 * expected[[0, 3]])).tolist(), rel=1e-5
    )


def test_importance_keeps_the_last_ten() -> None:
    """Against a plain loop over lists, with a t many times in one batch, and with one too often to keep all."""
    chosen, kept = Importance(3, CPU), {t: [0.0] * 10 for t in (1, 2, 3)}
    seen, random = dict.fromkeys(kept, 0), generator(1)
    for size in (1, 4, 7, 40, 3, 64):
        t = torch.randint(1, 4, (size,), generator=random)
        losses = torch.rand(size, generator=random)
        chosen.observe(t, losses)
        for at, loss in zip(t.tolist(), losses.tolist(), strict=True):
            kept[at][seen[at] % 10] = loss
            seen[at] += 1
    assert chosen.seen[1:].tolist() == list(seen.values())
    for t, losses_at in kept.items():
        assert chosen.losses[t].tolist() == pytest.approx(losses_at)


class Linear(nn.Module):
    """out = k x: one number to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) → (B, 1, H, W)."""
        return self.k * x


def gradients(name: str, batches: int) -> Tensor:
    """The gradient of k over many batches, the network standing still."""
    net, T = Linear(), 20
    trainer = Trainer(net, Loss(make_schedule("linear_unscaled", T), "x0", "snr"), Recipe(epochs=1, timesteps=name), 0)
    if name == "importance":
        for t in range(1, T + 1):  # losses about as they are, so that p is far from uniform
            trainer.times.observe(torch.full((10,), t), torch.full((10,), 10.0 / t))
    random, found = generator(2), []
    for _ in range(batches):
        x0, eps = torch.randn(2, 32, 1, 2, 2, generator=random)
        t = trainer.times.draw(32, random)
        seen = trainer.times.state() and {k: v.clone() for k, v in trainer.times.state().items()}
        trainer._loss(net, x0, t, eps, None, Around()).backward()
        for key, value in seen.items():  # what is learnt is put back: p stays as it is
            trainer.times.state()[key].copy_(value)
        assert net.k.grad is not None
        found.append(net.k.grad.clone())
        net.k.grad = None
    return torch.stack(found).double()


@pytest.mark.parametrize("name", ["stratified", "importance"])
def test_unbiased(name: str) -> None:
    """The expected gradient is that of uniform t, within five standard errors."""
    plain, other = gradients("uniform", 3000), gradients(name, 3000)
    error = math.hypot(float(plain.std()), float(other.std())) / math.sqrt(3000)
    assert abs(float(plain.mean() - other.mean())) < 5 * error
    assert float(other.std()) < float(plain.std())


@pytest.mark.parametrize("name", TIMESTEPS)
def test_a_resumed_run_is_the_same_run(name: str) -> None:
    """What was learnt of the losses is part of the state."""
    images = torch.rand(64, 1, 2, 2, generator=generator(4)) * 2 - 1

    def trainer() -> Trainer:
        return Trainer(
            Linear(),
            Loss(make_schedule("cosine", 4), "eps", "unit"),
            Recipe(epochs=4, batch_size=16, timesteps=name),
            0,
        )

    whole = trainer()
    halves: dict[str, Tensor] = {}
    for step in whole.steps(images, lambda x: x):
        if step.ends_epoch and step.epoch == 2:
            halves = {k: v.clone() for k, v in whole.state().items()}
    again = trainer()
    again.load_state(halves)
    for _ in again.steps(images, lambda x: x):
        pass
    assert again.state().keys() == whole.state().keys()
    assert all(torch.equal(v, again.state()[k]) for k, v in whole.state().items())


@pytest.mark.parametrize("name", ["uniform", "stratified", "logit_normal"])
def test_draws_are_where_training_is(name: str) -> None:
    """On the device that was named: ``meta`` stands for any that is not the CPU."""
    meta = torch.device("meta")
    chosen = make_timesteps(name, 10, meta)
    assert chosen.device == meta
    assert chosen.draw(5, generator()).device == meta
    assert chosen.factor(torch.ones(3)).device == meta


def test_draws_are_these_functions_of_the_generator() -> None:
    """So that seeded runs stay what they were: one uniform number a batch in float32, and σ(mean + std · normal)."""
    found = make_timesteps("stratified", 100, CPU).draw(4, generator(5))
    u = torch.rand(1, generator=generator(5), dtype=torch.float32)
    assert found.tolist() == [int(100 * (i + float(u)) / 4) + 1 for i in range(4)]
    with_default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(make_timesteps("stratified", 100, CPU).draw(4, generator(5)), found)
    finally:
        torch.set_default_dtype(with_default)
    found = make_timesteps("logit_normal(mean=0.5,std=2.0)", 1000, CPU).draw(6, generator(5))
    normal = torch.randn(6, generator=generator(5))
    assert torch.equal(found, (1000 * torch.sigmoid(0.5 + 2 * normal)).floor().long() + 1)


def test_a_choice_that_does_not_reweight_has_factor_one() -> None:
    """In the shape of its argument."""
    factor = make_timesteps("uniform", 10, CPU).factor(torch.tensor([1, 5, 10]))
    assert factor.tolist() == [1.0, 1.0, 1.0]
    assert not make_timesteps("uniform", 10, CPU).reweights


def test_a_share_of_one_is_the_last_step() -> None:
    """The logistic of a large number is 1 in float32."""
    drawn = make_timesteps("logit_normal(mean=40.0)", 10, CPU).draw(50, generator())
    assert drawn.tolist() == [10] * 50


def test_what_importance_learns_is_kept_where_training_is() -> None:
    """Under names that a resumed run finds; chances in the device's widest type."""
    meta = torch.device("meta")
    chosen = make_timesteps("importance", 5, meta)
    chosen.observe(torch.ones(4, dtype=torch.long, device=meta), torch.ones(4, device=meta))
    assert {name: value.device for name, value in chosen.state().items()} == {"losses": meta, "seen": meta}
    here = Importance(5, CPU)
    here.observe(torch.tensor([1, 2]), torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert here.p().dtype == torch.float64
    assert here.state()["losses"].dtype == torch.float32
    assert here.state()["seen"].tolist() == [0, 1, 1, 0, 0, 0]
