"""Held-out errors and likelihoods, each worked out again from the parts that it is made of."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.images import datasets
from bench.score import heldout
from bench.score.heldout import HeldOut, likelihood, pick
from ddpm.denoiser import Denoiser
from ddpm.likelihood import Bound, flow_bound
from ddpm.oracle import gaussian
from ddpm.schedule import make_schedule
from ddpm.spacing import space
from tests import small

CPU, T = torch.device("cpu"), 12
SCHEDULE = make_schedule("cosine", T)
pictures = partial(small.pictures, side=4, seed=8)


def poor() -> Denoiser:
    """One that is wrong by an eighth, and clips nothing."""
    right = gaussian(SCHEDULE, "eps", 0.25)
    return Denoiser(lambda x, u: 1.125 * right(x, u), SCHEDULE, "eps")


def test_images_are_picked_by_the_generator() -> None:
    images = pictures(30)
    found = pick(images, 7, torch.Generator().manual_seed(3))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(3))[:7]
    assert torch.equal(found, datasets.to_float(images[order]))
    assert len(pick(images, 99, torch.Generator())) == 30


@pytest.mark.parametrize("count", [270, 1200])
def test_errors_by_hand(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One t for each image, spread evenly; parts of 250 images count by their size."""
    monkeypatch.setattr(heldout, "HELD_OUT", 600)
    images, n = pictures(count), min(count, 600)
    held, denoiser = HeldOut(images, SCHEDULE, CPU), poor()
    random = torch.Generator().manual_seed(0)
    x0 = pick(images, 600, random)
    eps = torch.randn(x0.shape, generator=random)
    t = torch.tensor([math.floor((i + 0.5) / n * T) + 1 for i in range(n)])
    assert torch.equal(held.x0, x0)
    assert torch.equal(held.eps, eps)
    assert torch.equal(held.t, t)
    alpha, sigma = (c[t].float().view(-1, 1, 1, 1) for c in (SCHEDULE.alpha, SCHEDULE.sigma))
    x_t = alpha * x0 + sigma * eps
    torch.testing.assert_close(held.x_t, x_t)
    eps_found = 1.125 * gaussian(SCHEDULE, "eps", 0.25)(x_t, t / T)
    x0_found = (x_t - sigma * eps_found) / alpha
    bound = Bound(denoiser)
    nats = bound.prior(x0) + T * bound.term_of(x0, t, x0_found.clamp(-1, 1))
    each = nats.double().numpy() / math.log(2)
    found = held(denoiser)
    assert found == pytest.approx(
        {
            "eps_mse": float((eps_found - eps).square().mean()),
            "x0_mse": float((x0_found - x0).square().mean()),
            "bpd": each.mean(),
            "bpd_se": math.sqrt(np.square(np.diff(each)).mean() / 2 / n),
        },
        rel=1e-4,
    )


def test_a_learned_variance_is_in_the_bound() -> None:
    right = gaussian(SCHEDULE, "eps", 0.25)
    denoiser = Denoiser(lambda x, u: torch.cat([right(x, u), 0.5 + 0.1 * x], 1), SCHEDULE, "eps")
    held = HeldOut(pictures(40), SCHEDULE, CPU)
    found = denoiser.estimate(held.x_t, held.t)
    assert found.v is not None
    bound = Bound(denoiser)
    terms = bound.term_of(held.x0, held.t, found.x0.clamp(-1, 1), found.v)
    nats = bound.prior(held.x0) + T * terms
    assert held(denoiser)["bpd"] == pytest.approx(float(nats.mean()) / math.log(2), rel=1e-5)
    assert not torch.allclose(terms, bound.term_of(held.x0, held.t, found.x0.clamp(-1, 1)))


def test_float32_is_multiplied_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever engine trains: never in TF32."""
    asked: list[tuple[str, torch.device]] = []

    def noted(how: str, device: torch.device) -> Any:
        asked.append((how, device))
        return nullcontext()

    monkeypatch.setattr(heldout, "multiplying", noted)
    HeldOut(pictures(20), SCHEDULE, CPU)(poor())
    likelihood(poor(), pictures(20), 20, CPU)
    assert asked == [("ieee", CPU)] * 2


def test_nothing_is_left_to_differentiate() -> None:
    seen: list[bool] = []

    def net(x: Tensor, u: Tensor) -> Tensor:
        seen.append(torch.is_inference_mode_enabled())
        return x

    HeldOut(pictures(20), SCHEDULE, CPU)(Denoiser(net, SCHEDULE, "eps"))
    assert all(seen)


@pytest.mark.parametrize(("count", "schedule"), [(130, "cosine"), (25, "sigmoid(zero_snr=true)")])
def test_a_likelihood_by_hand(count: int, schedule: str) -> None:
    """Every term of one draw of noise; the flow from x₁ along `karras` times, in parts of 100 images."""
    images, n = pictures(count), count - 5
    s = make_schedule(schedule, T)
    right = gaussian(s, "v", 0.25)
    # pixels that depend on others: there the flow depends on what is drawn
    denoiser = Denoiser(lambda x, u: 1.125 * right(x, u) + 0.2 * x.roll(1, -1), s, "v")
    random = torch.Generator().manual_seed(0)
    x0 = pick(images, n, random)
    bound = Bound(denoiser, clip=True)
    terms = {t: bound.term(x0, torch.full((n,), t), torch.randn(x0.shape, generator=random)) for t in range(T, 0, -1)}
    prior, decoder = bound.prior(x0), terms[1]
    eps, signs = torch.randn(x0.shape, generator=random), torch.Generator().manual_seed(0)
    times = [t for t in reversed(space(s, T, "karras")) if float(s.alpha[t]) > 0]
    assert (len(times) < T) == (float(s.alpha[T]) == 0)
    parts = [slice(i, i + 100) for i in range(0, n, 100)]
    flow = torch.cat([flow_bound(denoiser, x0[part], eps[part], times, signs) for part in parts])
    found = likelihood(denoiser, images, n, CPU)
    for name, nats in (
        ("bound", prior + sum(terms.values())), ("prior", prior), ("decoder", decoder), ("flow", flow + decoder),
    ):  # fmt: skip
        each = nats.double() / math.log(2)
        assert getattr(found, name) == pytest.approx(float(each.mean()), rel=1e-5), name
        assert getattr(found, f"{name}_se") == pytest.approx(float(each.std()) / math.sqrt(n), rel=1e-5), name
    assert found.n == n
    assert found.terms == pytest.approx([float(terms[t].mean()) / math.log(2) for t in range(1, T + 1)], rel=1e-5)


def test_the_flow_takes_no_more_steps_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []
    plain = heldout.space

    def space_of(schedule: object, steps: int, spacing: str) -> list[int]:
        asked.append((steps, spacing))
        return plain(SCHEDULE, steps, spacing)

    monkeypatch.setattr(heldout, "space", space_of)
    monkeypatch.setattr(heldout, "FLOW_STEPS", 5)
    likelihood(poor(), pictures(20), 20, CPU)
    assert asked == [(5, "karras")]


def test_what_is_not_finite_is_not_told() -> None:
    """A network that breaks off: no bound and no flow, but the prior needs no network."""
    found = likelihood(Denoiser(lambda x, u: x * math.nan, SCHEDULE, "eps"), pictures(20), 20, CPU)
    assert (found.bound, found.bound_se, found.flow, found.flow_se) == (None, None, None, None)
    assert found.prior is not None
    assert found.prior_se is not None
