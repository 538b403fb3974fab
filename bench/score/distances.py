"""Distances between sets of features, in float64: the Fréchet distance, the kernel distance, and nearest rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 3
EXTRAPOLATED = 8
"""Sizes that FID∞ is extrapolated from."""


@dataclass(frozen=True)
class Moments:
    """Mean (d,) and covariance (d, d), float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of (N, d) features; the covariance is the unbiased one."""
        x = features.numpy()
        return cls(x.mean(0), np.cov(x, rowvar=False))


def frechet_distance(p: Moments, q: Moments) -> float:
    """|μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) between Gaussians (Heusel et al., arXiv 1706.08500).

    The trace of the root is Σ √λ over the eigenvalues of S Σ₂ S with S = Σ₁^½, which is symmetric: no complex
    residue, and singular covariances are as good as any.
    """
    offset = p.mean - q.mean
    trace = np.trace(p.covariance) + np.trace(q.covariance) - 2 * _roots(p.covariance, q.covariance).sum()
    return float(max(offset @ offset + trace, 0.0))


def _roots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The square roots of the eigenvalues of S b S, S = a^½, which are those of a b."""
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    return np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0))


def frechet_bias(p: Moments, q: Moments, n: int) -> float:
    """How much larger than between the true moments the distance is on average, p being of n Gaussian draws, q exact.

    To first order in 1/n: Tr Σ₁/n for the mean; and for the covariance, whose root's trace is concave, with λ the
    eigenvalues of S Σ₁ S, S = Σ₂^½: (Σᵢⱼ √λᵢ√λⱼ/(√λᵢ + √λⱼ) + ½ Σᵢ √λᵢ)/(2(n − 1)). For white features of d dimensions
    it is σ² d(d + 5)/(4n). (Our own derivation, from the second derivative of Tr M^½ and the covariance of a Wishart
    matrix; the effect is that of Chong & Forsyth, arXiv 1911.07023.)
    """
    r = _roots(q.covariance, p.covariance)
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


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/d + 1)³ (Bińkowski et al., arXiv 1801.01401, section 3)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Tensor, y: Tensor, within_y: float | None = None) -> tuple[float, float]:
    """The unbiased MMD² between x (N, d) and y (M, d), and its standard error over draws of x with y held fixed.

    The error is the delete-one jackknife of the U-statistic, which the kernel's row sums give exactly, less what it
    counts twice: the variance of the statistic's degenerate part (Hoeffding's decomposition; Efron & Stein 1981), which
    is all there is when x and y are alike (there the error still comes out up to a quarter too large, by keeping the
    other part from being negative). Unlike a spread over subsets it estimates the error of the number itself.

    :param within_y: the mean of the kernel over pairs of y, if it is known already.
    """
    n = len(x)
    between = polynomial_kernel(x, y).mean(1)
    kernel = polynomial_kernel(x, x)
    rows = kernel.sum(1) - kernel.diagonal()
    total = rows.sum()
    constant = mean_over_pairs(y) if within_y is None else within_y
    estimate = total / (n * (n - 1)) - 2 * between.mean() + constant
    without = (total - 2 * rows) / ((n - 1) * (n - 2)) - 2 * (between.sum() - between) / (n - 1) + constant
    jackknife = (n - 1) / n * (without - without.mean()).square().sum()
    h = kernel - between[:, None] - between[None, :] + constant
    h_given_one = (h.sum(1) - h.diagonal()) / (n - 1)
    degenerate = h - h_given_one[:, None] - h_given_one[None, :] + estimate
    degenerate.fill_diagonal_(0)
    twice = 2 * degenerate.square().sum() / (n * (n - 1)) ** 2
    error = torch.maximum(jackknife - twice, twice).sqrt()
    return float(estimate), float(error)


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
    return torch.cat([torch.cdist(part, x).kthvalue(neighbours + 1).values for part in x.split(2000)])


def nearest(x: Tensor, y: Tensor) -> Tensor:
    """The distance of each row of x (N, d) to the nearest row of y (M, d), (N,)."""
    return torch.cat([torch.cdist(part, y).min(1).values for part in x.split(2000)])


def covered(x: Tensor, centres: Tensor, radii: Tensor) -> float:
    """The share of rows of x inside at least one ball."""
    inside = [(torch.cdist(part, centres) <= radii).any(1) for part in x.split(2000)]
    return float(torch.cat(inside).double().mean())
