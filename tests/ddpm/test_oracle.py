"""Exact denoisers, against brute force, against one another, and by what samplers make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.testing import assert_close

from ddpm import oracle
from ddpm.denoiser import Denoiser
from ddpm.objective import OBJECTIVES
from ddpm.oracle import Mixture, gaussian
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space

S = make_schedule("cosine", 100)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read(net: oracle.Net | Mixture, objective: str, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    return Denoiser(net, S, objective)(x, t)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_component_is_the_gaussian(objective: str) -> None:
    """N(0, v) as a mixture of one, and as one of two halves that are the same."""
    x, t = draw(100, 1, 2, 2), torch.arange(1, 101)
    expected = read(gaussian(S, objective, 0.3), objective, x, t)
    for count in (1, 2):
        mixture = Mixture(S, objective, torch.zeros(count, 1, 2, 2, dtype=torch.float64), 0.3)
        for found, wanted in zip(read(mixture, objective, x, t), expected, strict=True):
            assert_close(found, wanted, rtol=0, atol=1e-8)


def test_against_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bayes' rule written out, in chunks that do not divide the number of components."""
    monkeypatch.setattr(oracle, "CHUNK", 3)
    means, variances = draw(8, 1, 2, 2, seed=1), torch.linspace(0, 0.7, 8, dtype=torch.float64)
    weights = torch.linspace(1, 3, 8, dtype=torch.float64)
    mixture = Mixture(S, "x0", means, variances, weights)
    x = draw(5, 1, 2, 2, seed=2)
    for t in (1, 30, 60, 100):
        alpha, sigma = float(S.alpha[t]), float(S.sigma[t])
        found = mixture(x, torch.tensor([t / 100], dtype=torch.float64))
        for image, wanted in zip(x, found, strict=True):
            spread = alpha**2 * variances + sigma**2
            squared = (image - alpha * means).square().sum((1, 2, 3))
            log = weights.log() - squared / (2 * spread) - 2 * spread.log()
            share = torch.softmax(log, 0)
            each = means + (alpha * variances / spread).view(-1, 1, 1, 1) * (image - alpha * means)
            assert_close(wanted, (share.view(-1, 1, 1, 1) * each).sum(0), rtol=1e-9, atol=1e-9)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of uint8 images: whole, or three at a time."""
    images = torch.randint(0, 256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    net, x, u = Mixture(S, "eps", images), draw(6, 1, 4, 4), torch.full((6,), 0.4, dtype=torch.float64)
    whole = net(x, u)
    monkeypatch.setattr(oracle, "CHUNK", 3)
    assert_close(net(x, u), whole, rtol=1e-10, atol=1e-10)


def test_little_noise_leaves_the_nearest_image() -> None:
    """At t = 1 of a data set E[x₀ | x_t] is the image that x_t was made from; at T it is their mean."""
    images = torch.randint(0, 256, (50, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clean = images.double() / 127.5 - 1
    s = make_schedule("karras", 100)
    net = Denoiser(Mixture(s, "x0", images), s, "x0")
    x0, _ = net(s.alpha[1] * clean + s.sigma[1] * draw(50, 1, 6, 6), torch.ones(50, dtype=torch.long))
    assert_close(x0, clean, rtol=0, atol=1e-8)
    far, _ = net(draw(50, 1, 6, 6), torch.full((50,), 100))
    assert_close(far, clean.mean(0).expand_as(far), rtol=0, atol=0.1)


def test_float32_and_far_away() -> None:
    """Exponents of thousands neither overflow nor vanish."""
    net = Mixture(S, "x0", draw(10, 1, 28, 28).float())
    for t in (1, 50, 100):
        assert net(100 * draw(2, 1, 28, 28, seed=5).float(), torch.full((2,), t / 100)).isfinite().all()


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    """2 E|a − b| − E|a − a'| − E|b − b'|: zero only for equal distributions (Székely & Rizzo)."""
    n, m = len(a), len(b)
    within = cdist(a, a).sum() / (n * (n - 1)) + cdist(b, b).sum() / (m * (m - 1))
    return float(2 * cdist(a, b).mean() - within)


MEANS = torch.tensor([[-0.8, -0.8], [0.8, -0.3], [0.1, 0.9]], dtype=torch.float64).view(3, 1, 1, 2)
VARIANCES = torch.tensor([0.01, 0.04, 0.02], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def from_mixture(n: int, seed: int) -> np.ndarray:
    random = torch.Generator().manual_seed(seed)
    which = torch.multinomial(WEIGHTS, n, replacement=True, generator=random)
    noise = torch.randn(n, 2, generator=random, dtype=torch.float64)
    return (MEANS[which].flatten(1) + VARIANCES[which].sqrt()[:, None] * noise).numpy()


def sampled(sampler: str, steps: int, n: int = 1000) -> np.ndarray:
    s = make_schedule("karras", 1000)
    random = torch.Generator().manual_seed(12)
    net = Denoiser(Mixture(s, "eps", MEANS, VARIANCES, WEIGHTS), s, "eps")
    x = torch.randn(n, 1, 1, 2, generator=random, dtype=torch.float64)
    noise = lambda t: torch.randn(x.shape, generator=random, dtype=torch.float64)  # noqa: E731
    *_, last = sample(net, x, space(s, steps), sampler, noise, clip=False)
    return last.x.flatten(1).numpy()


@pytest.fixture(scope="module")
def null() -> float:
    """The energy distance that two samples of the mixture exceed once in fifty times."""
    pairs = [(from_mixture(1000, seed=k), from_mixture(1000, seed=100 + k)) for k in range(1, 51)]
    return float(np.quantile([energy_distance(*pair) for pair in pairs], 0.98))


@pytest.mark.parametrize(
    ("sampler", "few", "enough"), [("ancestral", 5, 500), ("ddim", 4, 250), ("dpmpp_2m", 3, 100), ("heun", 2, 100)]
)
def test_samplers_reach_the_mixture(sampler: str, few: int, enough: int, null: float) -> None:
    """A two-sample test against its own null: passed with enough steps, failed with too few."""
    truth = from_mixture(1000, seed=0)
    assert energy_distance(sampled(sampler, enough), truth) < null
    assert energy_distance(sampled(sampler, few), truth) > 3 * null


def test_means_are_data_and_not_weights() -> None:
    """They are not kept with a checkpoint; what comes out is of the type of what goes in."""
    net = Mixture(S, "eps", draw(3, 1, 2, 2))
    assert not net.state_dict()
    x = draw(2, 1, 2, 2).float()
    assert net(x, torch.tensor([0.5])).dtype == torch.float32
    assert oracle._as_float(net.means, x).dtype == torch.float32
