"""Distances between sets of features, in float64: the Fréchet distance, the kernel distance, and nearest rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bench.machine.blas import by_one_thread

NEIGHBOURS = 3
EXTRAPOLATED = 8
"""Sizes that FID∞ is extrapolated from."""
BLOCK = 20_000_000
"""Pairs looked at together, 160 MB in float64: bounds memory, whatever the number of rows."""
ROWS = 2000
"""Rows of distances looked at together, at most."""


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d), float64.

    ``factor`` (n, d) is there where n < d rows are all there were: factorᵀ factor is the covariance.
    """

    mean: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray | None = None

    @classmethod
    @by_one_thread
    def of(cls, features: Tensor) -> Moments:
        """The moments of (N, d) features; the covariance is the unbiased one."""
        x = features.numpy()
        n, d = x.shape
        factor = (x - x.mean(0)) / np.sqrt(n - 1) if 1 < n < d else None
        return cls(x.mean(0), np.cov(x, rowvar=False), factor)

    @cached_property
    @by_one_thread
    def root(self) -> np.ndarray:
        """The symmetric square root of the covariance, kept: everything is compared with one reference."""
        values, vectors = np.linalg.eigh(self.covariance)
        root: np.ndarray = vectors * np.sqrt(values.clip(0)) @ vectors.T
        return root


def frechet_distance(p: Moments, q: Moments) -> float:
    """|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) between Gaussians (Heusel et al., arXiv 1706.08500).

    The trace of the root is Σ √λ over the eigenvalues of S Σ₁ S with S = Σ₂^½, which is symmetric: no complex
    residue, and singular covariances are as good as any. S is worked out once for each q, so let q be the reference.
    """
    offset = p.mean - q.mean
    trace = np.trace(p.covariance) + np.trace(q.covariance) - 2 * _roots(p, q).sum()
    return float(max(offset @ offset + trace, 0.0))


@by_one_thread
def _roots(p: Moments, q: Moments) -> np.ndarray:
    """The square roots of the eigenvalues of Σ₁ Σ₂, those that are 0 for lack of rows left out."""
    f = p.factor  # F Σ₂ Fᵀ has them too, and is as small as there are rows
    like = q.root @ p.covariance @ q.root if f is None else f @ q.covariance @ f.T
    return np.sqrt(np.linalg.eigvalsh(like).clip(0))


def frechet_bias(p: Moments, q: Moments, n: int) -> float:
    """How much larger than between the true moments the distance is on average, p being of n Gaussian draws, q exact.

    To first order in 1/n: Tr Σ₁/n for the mean; and for the covariance, whose root's trace is concave, with λ the
    eigenvalues of S Σ₁ S, S = Σ₂^½: (Σᵢⱼ √λᵢ√λⱼ/(√λᵢ + √λⱼ) + ½ Σᵢ √λᵢ)/(2(n − 1)). For white features of d dimensions
    it is σ² d(d + 5)/(4n). (Our own derivation, from the second derivative of Tr M^½ and the covariance of a Wishart
    matrix; the effect is that of Chong & Forsyth, arXiv 1911.07023.)
    """
    r = _roots(p, q)
    total = r[:, None] + r[None, :]
    pairs = np.divide(r[:, None] * r[None, :], total, out=np.zeros_like(total), where=total > 0)
    return float(np.trace(p.covariance) / n + (pairs.sum() + r.sum() / 2) / (2 * (n - 1)))


def extrapolated(features: Tensor, reference: Moments, seed: int = 0) -> float:
    """FID∞: the distance at 1/N → 0, by a line through those of random subsets against 1/N (arXiv 1911.07023, 3.1)."""
    n, random = len(features), np.random.default_rng(seed)
    sizes = [round(n / share) for share in np.linspace(1, 4, EXTRAPOLATED)]
    found = [
        frechet_distance(Moments.of(features[torch.from_numpy(random.permutation(n)[:size])]), reference)
        for size in sizes
    ]
    return float(np.polyfit([1 / size for size in sizes], found, 1)[1])


def blocks(n: int, columns: int, rows: int | None = None) -> Iterator[slice]:
    """The rows 0 … n in parts, each of at most :data:`BLOCK` pairs with so many columns, and of at most ``rows``."""
    size = max(1, min(rows or n, BLOCK // max(1, columns)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ (Bińkowski et al., arXiv 1801.01401, section 3)."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def kernel_distance(x: Tensor, y: Tensor, within_y: float | None = None) -> tuple[float, float]:
    """The unbiased MMD² between x (N, d) and y (M, d), and its standard error over draws of x with y held fixed.

    The error is the delete-one jackknife of the U-statistic, which the kernel's row sums give exactly, less what it
    counts twice: the variance of the statistic's degenerate part (Hoeffding's decomposition; Efron & Stein 1981), which
    is all there is when x and y are alike (there the error still comes out up to a quarter too large, by keeping the
    other part from being negative). Unlike a spread over subsets it estimates the error of the number itself.

    Memory does not grow with N²: the kernel is made a block of rows at a time, twice where there are several.

    :param within_y: the mean of the kernel over pairs of y, if it is known already.
    """
    n, parts = len(x), list(blocks(len(x), len(x)))
    between = torch.cat([polynomial_kernel(x[part], y).mean(1) for part in blocks(n, len(y))])
    constant = mean_over_pairs(y) if within_y is None else within_y
    rows, h_given_one = torch.empty_like(between), torch.empty_like(between)
    for part in parts:
        kernel = polynomial_kernel(x[part], x)
        rows[part] = kernel.sum(1) - kernel.diagonal(part.start)
        h = _centred(kernel, between, part, constant)
        h_given_one[part] = (h.sum(1) - h.diagonal(part.start)) / (n - 1)
    total = rows.sum()
    estimate = total / (n * (n - 1)) - 2 * between.mean() + constant
    without = (total - 2 * rows) / ((n - 1) * (n - 2)) - 2 * (between.sum() - between) / (n - 1) + constant
    jackknife = (n - 1) / n * (without - without.mean()).square().sum()
    squares = torch.zeros_like(total)
    for part in parts:
        h = h if len(parts) == 1 else _centred(polynomial_kernel(x[part], x), between, part, constant)
        degenerate = h.sub_(h_given_one[part, None]).sub_(h_given_one[None, :]).add_(estimate)
        degenerate.diagonal(part.start).zero_()
        squares += degenerate.square_().sum()
    twice = 2 * squares / (n * (n - 1)) ** 2
    error = torch.maximum(jackknife - twice, twice).sqrt()
    return float(estimate), float(error)


def _centred(kernel: Tensor, between: Tensor, part: slice, constant: float) -> Tensor:
    """h(x, x') = k(x, x') − E k(x, y) − E k(x', y) + E k(y, y') of some rows, in the kernel's place."""
    return kernel.sub_(between[part, None]).sub_(between[None, :]).add_(constant)


def mean_over_pairs(y: Tensor) -> float:
    """The mean of the kernel over ordered pairs of distinct rows of y."""
    m = len(y)
    total = sum((float(polynomial_kernel(part, y).sum()) for part in y.split(2000)), 0.0)
    diagonal = ((y.square().sum(1) / y.shape[1] + 1) ** 3).sum()
    return (total - float(diagonal)) / (m * (m - 1))


def inception_score(logits: Tensor) -> float:
    """exp E KL(p(y|x) ‖ p(y)) over all images at once (Salimans et al., arXiv 1606.03498); between 1 and 10."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    return float((p * (log_p - p.mean(0).log())).sum(1).mean().exp())


def radii(x: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Each row's distance to its nearest other row but two (or another number)."""
    parts = blocks(len(x), len(x), ROWS)
    return torch.cat([torch.cdist(x[part], x).kthvalue(neighbours + 1).values for part in parts])


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """The distance of each row of x (N, d) to the nearest row of y (M, d), (N,)."""
    return torch.cat([torch.cdist(x[part], y).min(1).values for part in blocks(len(x), len(y), ROWS)])


def covered(x: Tensor, centres: Tensor, radii: Tensor) -> float:
    """The share of rows of x inside at least one ball."""
    parts = blocks(len(x), len(centres), ROWS)
    inside = [(torch.cdist(x[part], centres) <= radii).any(1) for part in parts]
    return float(torch.cat(inside).double().mean())
