"""What networks start from: the fit and E[x₀ | x_t] against brute force, and what a network on a base answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.testing import assert_close

from ddpm.base import BASES, LEAST, Base, Based, MixtureBase, base_of, k_means, make_based, mixture, principal
from ddpm.denoiser import Denoiser
from ddpm.nets import make_net
from ddpm.objective import OBJECTIVES
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space
from ddpm.spec import parameters

S = make_schedule("cosine", 100)
SMALL = "unet(blocks=1,inner=32,middle=1,width=8{})"
BASE = "mixture(components=3,rank=4,span=10)"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def same(x: Tensor) -> Tensor:
    return x


def correlated(count: int, pixels: int, seed: int = 0) -> Tensor:
    """Points whose coordinates hang together, off the origin."""
    return draw(count, pixels, seed=seed) @ draw(pixels, pixels, seed=seed + 1) / 3 + draw(pixels, seed=seed + 2)


def untrained(base: str, objective: str = "v", side: int = 8) -> Based:
    """A network that adds nothing yet, on a base that is not fitted."""
    net = make_based(SMALL.format(""), base, S, objective, 1, side)
    assert isinstance(net, Based)
    with torch.no_grad():
        for value in net.net.last.parameters():  # type: ignore[operator, union-attr]
            value.zero_()
    return net


def fitted(x: Tensor, components: int, rank: int, span: int) -> MixtureBase:
    base = MixtureBase(x.shape[1], components, rank, span).double()
    base.fit(x, same, seeded())
    return base


def covariance(base: MixtureBase, k: int) -> np.ndarray:
    """Of component k, written out over all pixels."""
    rank, basis = base.centres.shape[1], base.basis
    inside = basis[:, :rank] @ base.axes[:, k]
    rest = basis[:, rank:]
    left = torch.eye(len(basis), dtype=torch.float64) - basis @ basis.mT
    whole = inside * base.variances[k] @ inside.mT + rest * base.shared @ rest.mT + base.outside * left
    return np.asarray(whole)


@pytest.mark.parametrize("span", [6, 8])
def test_posterior_mean_against_brute_force(span: int) -> None:
    """Bayes' rule with whole covariances, by another library's densities."""
    base = fitted(correlated(60, 8), 3, 4, span)
    x = draw(5, 8, seed=9)
    for t in (1, 20, 60, 99):
        alpha, sigma = float(S.alpha[t]), float(S.sigma[t])
        means = [np.asarray(base.mean + base.basis[:, :4] @ base.centres[k]) for k in range(3)]
        spreads = [covariance(base, k) for k in range(3)]
        noisy = [alpha**2 * c + sigma**2 * np.eye(8) for c in spreads]
        likely = np.stack([
            np.exp(float(base.log_shares[k])) * multivariate_normal(alpha * means[k], noisy[k]).pdf(x.numpy())
            for k in range(3)
        ])  # fmt: skip
        each = [
            means[k] + alpha * (x.numpy() - alpha * means[k]) @ np.linalg.solve(noisy[k], spreads[k]) for k in range(3)
        ]
        wanted = (likely[..., None] * np.stack(each)).sum(0) / likely.sum(0)[:, None]
        a, s = torch.full((5, 1), alpha, dtype=torch.float64), torch.full((5, 1), sigma, dtype=torch.float64)
        assert_close(base.posterior_mean(x, a, s).numpy(), wanted, rtol=1e-8, atol=1e-8)


def test_one_component_is_wiener_filter() -> None:
    """The best linear estimate, from the images' own covariance, whatever the rank."""
    x = correlated(50, 6)
    for rank in (1, 6):
        base = fitted(x, 1, rank, 6)
        mean, cov = x.mean(0), (x - x.mean(0)).mT @ (x - x.mean(0)) / len(x)
        noisy, alpha, sigma = draw(4, 6, seed=5), torch.tensor([[0.6]]).double(), torch.tensor([[0.8]]).double()
        wanted = mean + 0.6 * (noisy - 0.6 * mean) @ torch.linalg.solve(0.36 * cov + 0.64 * torch.eye(6), cov)
        assert_close(base.posterior_mean(noisy, alpha, sigma), wanted, rtol=1e-8, atol=1e-8)


def test_the_fit_finds_a_mixture() -> None:
    """Three far-off components of different sizes: their centres, shares and covariances."""
    centres = torch.tensor([[9.0, 0, 0, 0], [0, 9.0, 0, 0], [-9.0, -9.0, 0, 0]]).double()
    sizes, scale = (2000, 1000, 1000), torch.tensor([1.0, 0.5, 0.3, 0.1])
    parts = [centres[i] + draw(sizes[i], 4, seed=i) * scale for i in range(3)]
    base = fitted(torch.cat(parts), 3, 4, 4)
    found = base.mean + base.centres @ base.basis.mT
    order = torch.cdist(centres, found).argmin(1)
    assert_close(found[order], centres, rtol=0, atol=0.1)
    assert_close(base.log_shares.exp()[order], torch.tensor([0.5, 0.25, 0.25]).double(), rtol=0, atol=1e-9)
    for k in order.tolist():
        np.testing.assert_allclose(np.diag(covariance(base, k)), [1, 0.25, 0.09, 0.01], rtol=0.15, atol=1e-3)


def test_small_components_borrow() -> None:
    """A component of one image has the mean covariance of all, not none; and a share of one image."""
    x = torch.cat([draw(200, 3), torch.full((1, 3), 50.0).double()])
    base = fitted(x, 2, 3, 3)
    alone = int(base.log_shares.argmin())
    assert base.variances[alone].max() > 0.3
    assert_close(base.log_shares[alone], torch.tensor(1 / 201).double().log())
    assert torch.isfinite(base.variances).all()
    assert torch.isfinite(base.log_shares).all()


def test_images_that_are_one_and_the_same() -> None:
    """All components but one are of no image: they stay where they began, and hardly count."""
    base = fitted(torch.full((20, 3), 2.0).double(), 3, 2, 3)
    assert_close(base.log_shares.exp().sort().values, torch.tensor([0.05, 0.05, 1.0]).double())
    assert_close(base.centres, torch.zeros(3, 2).double(), rtol=0, atol=1e-9)


def test_a_fit_is_decided_by_its_generator() -> None:
    """The same again from the same state, another from another; torch's own generator is left alone."""
    images = correlated(200, 64).view(200, 1, 8, 8)
    before = torch.get_rng_state()

    def centres(seed: int, span: int) -> Tensor:
        net = make_based(SMALL.format(""), f"mixture(components=5,rank=4,span={span})", S, "v", 1, 8).double()
        assert isinstance(net, Based)
        torch.set_rng_state(before)
        net.fit(images, same, seeded(seed))
        assert torch.equal(torch.get_rng_state(), before)
        found: Tensor = net.base.centres
        return found

    for span in (10, 64):
        assert torch.equal(centres(1, span), centres(1, span))
        assert not torch.equal(centres(1, span), centres(2, span))


def test_principal_components() -> None:
    """All of them, and the first of many, against numpy's."""
    x = correlated(400, 12) * torch.linspace(3, 0.1, 12)
    x = x - x.mean(0)
    exact = np.linalg.eigvalsh(np.cov(x.numpy().T, bias=True))[::-1]
    for count, near in ((12, 1e-9), (3, 0.02)):
        basis, variances = principal(x, count, seeded())
        np.testing.assert_allclose(variances, exact[:count], rtol=near, atol=1e-9)
        assert_close(basis.mT @ basis, torch.eye(count).double(), rtol=0, atol=1e-9)
        assert_close((x @ basis).var(0, correction=0), variances, rtol=1e-3, atol=1e-9)


def test_k_means_settles() -> None:
    """Every point is with its nearest centre, and every centre is the mean of its points."""
    y = torch.cat([draw(30, 2), draw(30, 2, seed=1) + 8, draw(30, 2, seed=2) - 8])
    nearest, centres = k_means(y, 3, seeded())
    assert torch.equal(nearest, torch.cdist(y, centres).argmin(1))
    for k in nearest.unique():
        assert_close(centres[k], y[nearest == k].mean(0))


@pytest.mark.parametrize("seed", range(5))
def test_k_means_of_points_at_unequal_distances(seed: int) -> None:
    """Near centres are told apart far from the origin, a point far from all has its own, and no centre is lost."""
    y = torch.cat([draw(40, 2, seed=seed), draw(40, 2, seed=seed + 9) + 5, torch.tensor([[300.0, 40.0]]).double()])
    nearest, centres = k_means(y, 4, seeded(seed))
    assert torch.equal(nearest, torch.cdist(y, centres).argmin(1))
    assert_close(centres[nearest[-1]], y[-1])
    alike = k_means(torch.full((6, 2), 7.0), 3, seeded(seed))[1]
    assert_close(alike, torch.full((3, 2), 7.0))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_untrained_network_answers_as_its_base(objective: str) -> None:
    """x̂₀ of a network that adds nothing is the base's, whatever the objective: at every t, and of every shape of t."""
    net = untrained(BASE, objective).double()
    net.fit(correlated(40, 64).view(40, 1, 8, 8), same, seeded())
    x = draw(100, 1, 8, 8)
    t = torch.arange(1, 101)
    found, _ = Denoiser(net, S, objective)(x, t)
    wanted = net.base.posterior_mean(x.flatten(1), S.alpha[1:, None], S.sigma[1:, None]).view_as(x)
    assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    assert_close(net(x[:4], torch.tensor([0.5]).double()), net(x[:4], torch.full((4,), 0.5).double()))


def test_the_network_sees_the_base_and_adds_to_it() -> None:
    """It is given x_t and the base's x̂₀, and what it says is added, whatever stands in its other channels."""
    seen: list[Tensor] = []

    class Three(torch.nn.Module):
        def forward(self, x: Tensor, u: Tensor) -> Tensor:
            seen.append(x)
            return torch.cat([torch.full_like(x[:, :1], 3.0), torch.full_like(x[:, 1:], torch.nan)], 1)

    base = mixture(64, components=2, rank=3, span=64).double()
    base.fit(correlated(30, 64).view(30, 1, 8, 8), same, seeded())
    net = Based(Three(), base, S, "x0")
    x = draw(2, 1, 8, 8)
    out = net(x, torch.tensor([0.3, 0.7]).double())
    assert torch.equal(seen[0][:, :1], x)
    assert_close(out, seen[0][:, 1:] + 3)


def test_classes_and_variance_pass_through() -> None:
    """A network that knows classes is told them; v keeps its place behind the output."""
    net = make_based(SMALL.format(",classes=10,variance=true"), BASE, S, "eps", 3, 8)
    assert isinstance(net, Based)
    for i, value in enumerate(net.net.parameters()):
        torch.nn.init.normal_(value, generator=seeded(i))
    x, u = torch.randn(2, 3, 8, 8, generator=seeded()), torch.tensor([0.5, 0.9])
    one, other = (net(x, u, torch.tensor(classes)) for classes in ([1, 2], [3, 2]))
    assert one.shape == (2, 6, 8, 8)
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_reduced_precision_leaves_the_base_alone() -> None:
    """In bfloat16, exponents of thousands would say nothing."""
    net = untrained(BASE, "x0")
    net.fit(correlated(40, 64).view(40, 1, 8, 8).float(), same, seeded())
    x, u = torch.randn(4, 1, 8, 8, generator=seeded()), torch.tensor([0.1])
    with torch.autocast("cpu", torch.bfloat16):
        reduced = net(x, u)
    alpha, sigma = S.alpha[10].float().view(1, 1), S.sigma[10].float().view(1, 1)
    assert torch.equal(reduced, net.base.posterior_mean(x.flatten(1), alpha, sigma).view_as(x))


def test_weights_hold_the_base() -> None:
    """A network that was made anew is the same once it has the weights; no step of training moves the base."""
    images = correlated(40, 64).view(40, 1, 8, 8).float()
    first, other = (make_based(SMALL.format(""), BASE, S, "v", 1, 8) for _ in range(2))
    assert isinstance(first, Based)
    first.fit(images, same, seeded())
    other.load_state_dict(first.state_dict())
    x, u = torch.randn(4, 1, 8, 8, generator=seeded()), torch.tensor([0.4])
    assert torch.equal(first(x, u), other(x, u))
    assert not any(name.startswith("base") for name, _ in first.named_parameters())


def test_samples_of_a_base_are_like_the_data() -> None:
    """The probability-flow equation of a Gaussian fit, without any training: the data's mean and covariance."""
    x = 0.3 * correlated(3000, 16)
    net = untrained("mixture(components=1,rank=16)", side=4).double()
    net.fit(x.view(-1, 1, 4, 4), same, seeded())
    noise = draw(3000, 1, 4, 4, seed=8)
    *_, last = sample(Denoiser(net, S, "v"), noise, space(S, 100), "ddim", lambda s: noise, clip=False)
    y = last.x.flatten(1)
    wanted = torch.cov(x.mT)
    assert_close(y.mean(0), x.mean(0), rtol=0, atol=0.1 * float(wanted.diag().max().sqrt()))
    assert_close(torch.cov(y.mT), wanted, rtol=0, atol=0.1 * float(wanted.diag().max()))


@pytest.mark.parametrize("span", [6, 8])
def test_drawn_samples_are_of_the_mixture(span: int) -> None:
    """Each component as often as its share says, about its mean, with its whole covariance."""
    base, count = fitted(correlated(60, 8), 3, 4, span), 200_000
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    x = base.draw(draw(count, 8, seed=3), u)
    shares = base.log_shares.exp()
    assert_close(shares.sum(), torch.tensor(1.0).double())
    end = 0
    for k in range(3):
        first, end = end, round(float(shares[: k + 1].sum()) * count)
        own, wanted = x[first:end], covariance(base, k)
        near = 6 * float(np.sqrt(np.diag(wanted).max() / (end - first)))
        assert_close(own.mean(0), base.mean + base.basis[:, :4] @ base.centres[k], rtol=0, atol=near)
        np.testing.assert_allclose(np.cov(own.numpy().T), wanted, rtol=0, atol=2 * near * np.sqrt(wanted.max()))


def test_drawn_samples_go_with_the_posterior_mean() -> None:
    """What is left of x₀ beside E[x₀ | x_t] has nothing to do with x_t, whatever is made of it."""
    base, count = fitted(correlated(60, 6), 3, 3, 6), 200_000
    x0 = base.draw(draw(count, 6, seed=3), torch.rand(count, generator=seeded(4), dtype=torch.float64))
    for t in (10, 50, 90):
        alpha, sigma = S.alpha[t].view(1, 1), S.sigma[t].view(1, 1)
        x_t = alpha * x0 + sigma * draw(count, 6, seed=5)
        left = x0 - base.posterior_mean(x_t, alpha, sigma)
        for of in (torch.ones_like(x_t), x_t, x_t.tanh(), x_t.square()):
            for shift in range(6):
                product = left * of.roll(shift, 1)
                assert (product.mean(0).abs() < 5 * product.std(0) / count**0.5).all()


def test_the_ends_of_u_are_components_too() -> None:
    """The first and the last: rounding never leads beyond them."""
    base = fitted(correlated(60, 8), 3, 4, 8).float()
    z = torch.zeros(2, 8)
    first, last = base.draw(z, torch.tensor([0.0, 1.0]))
    for found, k in ((first, 0), (last, 2)):
        assert_close(found, base.mean + base.basis[:, :4] @ base.centres[k])


def test_which_network_is_on_a_base() -> None:
    based = untrained(BASE)
    assert base_of(based) is based.base
    assert base_of(make_net("unet", 1, 8)) is None


def test_none_is_the_network_itself() -> None:
    assert BASES["none"](784) is None
    plain, made = make_net("unet", 1, 28), make_based("unet", "none", S, "v", 1, 28)
    assert type(made) is type(plain)
    assert {name: value.shape for name, value in made.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }


def test_what_is_refused() -> None:
    for base, net, side, said in (
        ("mixture(rank=65)", "unet", 8, "rank=65 is more than the span, which is 64 for these images"),
        ("mixture(components=10000,rank=101)", "unet", 28, "components × rank² must be at most 100,000,000"),
        ("mixture(rank=9,span=8)", "unet", 8, "rank=9 is more than the span, which is 8"),
        ("mixture(components=0)", "unet", 8, "must be a whole number from 1"),
        ("mixture", "scorenet", 28, r"not 2×28×28 \(base 'mixture' gives it a second image beside x_t\)"),
        ("none", "scorenet", 32, "net 'scorenet' takes 1×28×28 images, not 1×32×32$"),
        ("nonsense", "unet", 8, "'nonsense' is not there"),
    ):
        with pytest.raises(ValueError, match=said):
            make_based(net, base, S, "v", 1, side)
    assert parameters(mixture) == {"components": 100, "rank": 64, "span": 784}
    assert mixture(784).least == 100


def test_an_abstract_base_says_so() -> None:
    for call in (
        lambda: Base().fit(draw(1), same, seeded()),
        lambda: Base().posterior_mean(*[draw(1, 1)] * 3),
        lambda: Base().draw(draw(1, 1), draw(1)),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_images_that_are_all_alike() -> None:
    """Pixels that never change, and fewer images than pixels: a variance of nearly nothing, and no failure."""
    images = torch.zeros(120, 784)
    images[:, 300:310] = torch.rand(120, 10, generator=seeded())
    base = mixture(784, components=5, rank=8)
    base.fit(images, same, seeded())
    found = base.posterior_mean(torch.randn(3, 784, generator=seeded()), torch.tensor([[0.5]]), torch.tensor([[0.9]]))
    assert found.isfinite().all()
    assert found[:, :300].abs().max() < 0.01
    for variances in (base.variances, base.shared, base.outside):
        assert variances.min() >= np.float32(LEAST)


def test_few_images_are_not_trusted_in_every_direction() -> None:
    """On images that it has not seen, hardly noisy, a base is no worse than to leave them as they are."""
    x = correlated(600, 100) * torch.linspace(1, 0.1, 100)
    base = fitted(x[:120], 4, 8, 100)
    alpha, sigma = torch.tensor([[0.999]]).double(), torch.tensor([[0.045]]).double()
    eps = draw(480, 100, seed=7)
    x_t = alpha * x[120:] + sigma * eps
    found = (x_t - alpha * base.posterior_mean(x_t, alpha, sigma)) / sigma
    assert (found - eps).square().mean() < 1.1
    assert len(base.shared.unique()) == 120 // 4 - 8 + 1
