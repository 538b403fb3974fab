"""Rows for ddpm-bench: a noise schedule, a sampler and a metric. The entry point in ``pyproject.toml`` names ``ROWS``.

Change the version in ``pyproject.toml`` whenever a row computes something else: results are found by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.score.metrics import Features, Metric, Reference
from ddpm.mix import Mix
from ddpm.sampler import Sampler, posterior


def power(T: int, *, p: float = 2.0, left: float = 1e-4) -> Tensor:
    """log ᾱ_t with ᾱ falling from 1 to ``left`` as a power of t/T. ``p`` and ``left`` are options.

    Use: as an example.
    """
    u = torch.arange(1, T + 1, dtype=torch.float64) / T
    return torch.log1p((left - 1) * u**p)


def quiet(*, share: float = 0.5) -> Sampler:
    """DDPM's step with only a share of its noise.

    Use: as an example.
    """

    def step(alpha_t: float, sigma_t: float, alpha_s: float, sigma_s: float, eta: float) -> Mix:
        mix = posterior(alpha_t, sigma_t, alpha_s, sigma_s, eta)
        return mix._replace(c=share * mix.c)

    return Sampler(step)


def spread(sample: Features, reference: Reference) -> float:
    """The total variance of the samples' features, over that of the reference: below 1 where samples are too alike.

    Use: as an example.
    """
    return float(sample.features.double().var(0).sum() / reference.moments.covariance.trace())


ROWS = {
    "schedule": {"power": power},
    "sampler": {"quiet": quiet},
    "metric": {"spread": Metric(spread, better=None)},
}
