"""What a network starts from: a denoiser in closed form, fitted to the training images before the first step.

The network learns the rest. Its output is added to what the base would answer itself, and the base's x̂₀ is a second
input beside x_t. EDM's preconditioning (Karras et al., arXiv 2206.00364, eq. 7) is the same idea with a base that is
linear in x_t and knows one number of the data, its variance. That a Gaussian says most of what a trained network says
where there is much noise was measured by Wang and Vastola (arXiv 2412.09726).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm.bounds import Components, Count
from ddpm.denoiser import halves
from ddpm.mix import Table
from ddpm.nets import make_net
from ddpm.objective import make_target
from ddpm.precision import as_float64
from ddpm.schedule import Schedule
from ddpm.spec import Variant, build

MOST_IMAGES = 20_000
"""Images that a base is fitted to, at most: more of them cost time, and say little more."""
IMAGES_EACH = 4
"""Images for each direction that has a variance of its own, at least."""
POWERS = 4
"""Multiplications by the covariance that find the principal components."""
MOST_NUMBERS = 100_000_000
"""In the axes of a mixture: 400 MB, which every evaluation reads."""
ROUNDS = 20
"""Rounds of k-means."""
LEAST = 1e-5
"""The smallest variance along an axis, for images in [−1, 1]: about half of a grey level, squared."""


class Base(nn.Module):
    """What a row of :data:`BASES` makes: a denoiser in closed form. What it learns of the images are its buffers.

    ``least``: the fewest training images that it can be fitted to.
    """

    least: int = 1

    def fit(self, images: Tensor, prepare: Callable[[Tensor], Tensor], random: torch.Generator) -> None:
        """Learn the training images (N, C, H, W), which ``prepare`` makes float images in [−1, 1] of.

        :param random: draws on the CPU.
        """
        raise NotImplementedError

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x_t] of ``x`` (B, D), with α_t and σ_t of shape (B, 1) or (1, 1)."""
        raise NotImplementedError

    @property
    def drawable(self) -> bool:
        """Whether images can be drawn from it."""
        return type(self).draw is not Base.draw

    def draw(self, z: Tensor, u: Tensor) -> Tensor:
        """Samples of x₀ (B, D), from ``z`` (B, D) of N(0, I) and ``u`` (B,) of [0, 1]. A base need not have any."""
        raise NotImplementedError


class MixtureBase(Base):
    """A mixture of Gaussians for what images differ in most, and one Gaussian for the rest.

    ``basis`` (D, S) are the first S principal components, about ``mean`` (D,). Along the first R of them lies the
    mixture. There, component k has the mean ``centres[k]`` (R,), the principal axes ``axes[:, k]`` (R, R), the
    variances ``variances[k]`` (R,) along them, and the share exp(``log_shares[k]``). ``shared`` (S − R,) are the
    variances along the others, the same for all components, and ``outside`` that in every direction that is left.
    """

    def __init__(self, pixels: int, components: int, rank: int, span: int) -> None:
        super().__init__()
        self.least = components
        self.mean: Tensor
        self.basis: Tensor
        self.centres: Tensor
        self.axes: Tensor
        self.variances: Tensor
        self.log_shares: Tensor
        self.shared: Tensor
        self.outside: Tensor
        for name, value in (
            ("mean", torch.zeros(pixels)), ("basis", torch.eye(pixels, span)),
            ("centres", torch.zeros(components, rank)),
            ("axes", torch.eye(rank)[:, None].repeat(1, components, 1)),
            ("variances", torch.ones(components, rank)),
            ("log_shares", torch.zeros(components)),
            ("shared", torch.ones(span - rank)), ("outside", torch.ones(())),
        ):  # fmt: skip
            self.register_buffer(name, value)

    @torch.no_grad()
    def fit(self, images: Tensor, prepare: Callable[[Tensor], Tensor], random: torch.Generator) -> None:
        """Find the principal components, then the mixture by k-means, each component with its own covariance.

        A direction beyond the mixture's has a variance of its own where there are :data:`IMAGES_EACH` images for each
        such direction. The others share one: few images say of most directions that nothing ever changes there.
        A covariance is that of its images and of as many made-up ones as the mixture has dimensions, which have the
        mean covariance of all components: small components are not trusted alone.
        """
        some = torch.randperm(len(images), generator=random)[:MOST_IMAGES].to(images.device)
        x = prepare(images[some]).flatten(1)
        self.mean.copy_(x.mean(0))
        x = x - self.mean
        basis, variances = principal(x, self.basis.shape[1], random)
        self.basis.copy_(basis)
        rank = self.centres.shape[1]
        known = max(rank, min(len(variances), len(x) // IMAGES_EACH))
        left = (x.square().mean(0).sum() - variances[:known].sum()) / max(x.shape[1] - known, 1)
        self.outside.copy_(left.clamp(min=LEAST))
        self.shared.copy_(variances[rank:].clamp(min=LEAST))
        self.shared[known - rank :] = self.outside
        self._fit_mixture(x @ basis[:, :rank], random)

    def _fit_mixture(self, y: Tensor, random: torch.Generator) -> None:
        """The components of points (N, R)."""
        components, rank = self.centres.shape
        nearest, centres = k_means(y, components, random)
        sizes = torch.bincount(nearest, minlength=components).to(y.dtype)
        scatter = torch.stack([_scatter(y[nearest == k] - centres[k]) for k in range(components)])
        shrunk = (scatter + rank * scatter.sum(0) / len(y)) / (sizes + rank)[:, None, None]
        variances, axes = _spectrum(shrunk)
        self.centres.copy_(centres)
        self.axes.copy_(axes.transpose(0, 1))
        self.variances.copy_(variances.clamp(min=LEAST))
        self.log_shares.copy_((sizes.clamp(min=1) / len(y)).log())

    def posterior_mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """E[x₀ | x_t] of ``x`` (B, D), with α_t and σ_t of shape (B, 1) or (1, 1).

        Along each direction that is not the mixture's it is α v/(α² v + σ²) times what x_t is off the mean.
        """
        rank = self.centres.shape[1]
        centred = x - alpha * self.mean
        y = centred @ self.basis
        inside = self._inside(y[:, :rank], alpha, sigma)
        rest = _gain(self.shared, alpha, sigma) * y[:, rank:]
        out = _gain(self.outside, alpha, sigma)
        found: Tensor = self.mean + out * centred + (torch.cat([inside, rest], 1) - out * y) @ self.basis.mT
        return found

    def draw(self, z: Tensor, u: Tensor) -> Tensor:
        """Samples of x₀ (B, D), from ``z`` (B, D) of N(0, I) and ``u`` (B,) of [0, 1], which chooses the component."""
        rank, shares = self.centres.shape[1], self.log_shares.exp().cumsum(0)
        k = torch.searchsorted(shares, u.to(shares) * shares[-1], right=True).clamp(max=len(shares) - 1)
        y = z @ self.basis
        own = torch.einsum("rbs,bs->br", self.axes[:, k], self.variances[k].sqrt() * y[:, :rank])
        along = torch.cat([self.centres[k] + own, self.shared.sqrt() * y[:, rank:]], 1)
        out = self.outside.sqrt()
        found: Tensor = self.mean + out * z + (along - out * y) @ self.basis.mT
        return found

    def _inside(self, y: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The same of the mixture's coordinates (B, R): a component weighs as much as it is likely to have made y."""
        flat = self.axes.flatten(1)  # (R, K R)
        own = torch.einsum("kr,rks->ks", self.centres, self.axes)
        alpha, sigma = alpha[..., None], sigma[..., None]
        along = (y @ flat).view(len(y), *own.shape) - alpha * own
        spread = alpha**2 * self.variances + sigma**2
        share = (self.log_shares - 0.5 * (along.square() / spread + spread.log()).sum(2)).softmax(1)
        moved = share[..., None] * _gain(self.variances, alpha, sigma) * along
        return share @ self.centres + moved.flatten(1) @ flat.mT


def _gain(variance: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What E[x₀ | x_t] has of x_t where x₀ ~ N(0, v): α v/(α² v + σ²)."""
    return alpha * variance / (alpha**2 * variance + sigma**2)


def principal(x: Tensor, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The first principal components (D, count) of centred ``x`` (N, D), and the variances along them, largest first.

    They are exact if there are D of them. Else subspace iteration finds nearly those (Halko, Martinsson & Tropp, arXiv
    0909.4061, algorithm 4.4, but made orthonormal once a round).
    """
    if count == x.shape[1]:
        basis = torch.eye(count).to(x)
    else:
        basis = torch.randn(x.shape[1], count, generator=random).to(x)
        for _ in range(POWERS):
            basis = torch.linalg.qr(x.mT @ (x @ basis)).Q
    variances, turned = _spectrum(_scatter(x @ basis) / len(x))
    return (basis @ turned).flip(1), variances.flip(0).clamp(min=0)


def _spectrum(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, rising, and eigenvectors, by float64: in float32 LAPACK gives up where pixels never change."""
    values, vectors = torch.linalg.eigh(as_float64(covariances))
    return values.to(covariances), vectors.to(covariances)


def k_means(y: Tensor, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from ``count`` of the points (N, R): the centre of each (N,), and the centres (count, R).

    A point's centre is the nearest one before the last round. A centre that is nearest to no point stays where it is.
    """
    centres = y[torch.randperm(len(y), generator=random)[:count].to(y.device)]
    for _ in range(ROUNDS):
        nearest = (y @ centres.mT - centres.square().sum(1) / 2).argmax(1)
        member = y.new_zeros(len(y), count).scatter_(1, nearest[:, None], 1.0)
        sizes = member.sum(0)[:, None]
        centres = torch.where(sizes > 0, (member.mT @ y) / sizes.clamp(min=1), centres)
    return nearest, centres


def _scatter(x: Tensor) -> Tensor:
    """The sum of the outer products of the rows."""
    return x.mT @ x


def none(pixels: int) -> None:
    """Nothing: the network's output is the whole answer.

    Use: by default, and to compare with published recipes.
    """


def mixture(pixels: int, *, components: Components = 100, rank: Count = 64, span: Count = 784) -> MixtureBase:
    """A mixture of Gaussians along the images' first ``rank`` principal components; a Gaussian along the others.

    It is fitted by k-means. Of the first ``span`` principal components each has its own variance, if there are four
    images or more for each of them. All other directions share one variance.

    Use: for good images after little training. The fit counts as training. It takes a second or two
    for MNIST, and longer for larger images. Its numbers lie in the checkpoint beside the weights.
    """
    span = min(span, pixels)
    if rank > span:
        raise ValueError(f"base 'mixture': rank={rank} is more than the span, which is {span} for these images")
    if components * rank**2 > MOST_NUMBERS:
        raise ValueError(
            f"base 'mixture' with components={components} and rank={rank} is too large: "
            f"components × rank² must be at most {MOST_NUMBERS:,}"
        )
    return MixtureBase(pixels, components, rank, span)


BASES: dict[str, Callable[..., Base | None]] = {
    "none": none,
    "mixture": mixture,
}


class Based(nn.Module):
    """A network on a base: out = target(x̂₀, ε̂) of the base + net([x_t, x̂₀], t/T).

    ``net`` takes, and gives, twice the channels; the second half of what it gives is not looked at. The base is never
    worked out in bfloat16, whatever the engine's number format: its exponents are large.
    """

    def __init__(self, net: nn.Module, base: Base, schedule: Schedule, objective: Variant | str) -> None:
        super().__init__()
        self.net, self.base, self.T = net, base, schedule.T
        self._table = Table(schedule.noise, make_target(schedule, objective))

    def fit(self, images: Tensor, prepare: Callable[[Tensor], Tensor], random: torch.Generator) -> None:
        """Fit the base: :meth:`Base.fit`."""
        self.base.fit(images, prepare, random)

    def forward(self, x_t: Tensor, u: Tensor, *classes: Tensor) -> Tensor:
        """As the network without a base."""
        channels = x_t.shape[1]
        with torch.autocast(x_t.device.type, enabled=False):
            noise, target = self._table.at((u * self.T).round().long(), x_t)
            x0 = self.base.posterior_mean(x_t.flatten(1), noise.a.flatten(1), noise.b.flatten(1)).view_as(x_t)
            start = target(x0, (x_t - noise.a * x0) / noise.b)
        inputs = torch.cat([x_t, x0], 1)
        out, v = halves(self.net(inputs, u, *classes), inputs)
        out = start + out[:, :channels]
        return out if v is None else torch.cat([out, v[:, :channels]], 1)


def base_of(net: nn.Module) -> Base | None:
    """The base that a network is on, if it is on one."""
    return net.base if isinstance(net, Based) else None


def make_based(
    net: Variant | str, base: Variant | str, schedule: Schedule, objective: Variant | str, channels: int, side: int
) -> nn.Module:
    """The network of that name on that base, not yet fitted; the network itself where the base is `none`.

    :raises ValueError: if one of them does not exist for this shape or with these options.
    """
    own, made = parts(net, base, channels, side)
    return own if made is None else Based(own, made, schedule, objective)


def parts(net: Variant | str, base: Variant | str, channels: int, side: int) -> tuple[nn.Module, Base | None]:
    """The network and its base, of the shapes that they need; no base where it is `none`.

    :raises ValueError: as :func:`make_based`.
    """
    made = build(BASES, base, channels * side**2)
    try:
        return make_net(net, channels if made is None else 2 * channels, side), made
    except ValueError as error:
        beside = "" if made is None else f" (base '{Variant.of(base).name}' gives it a second image beside x_t)"
        raise ValueError(f"{error}{beside}") from error
