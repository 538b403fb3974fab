"""What a trained network makes of test images: errors that compare across objectives, and their likelihood.

A network that knows classes is told of none. CUDA computes in float32 here, never in TF32, whatever engine trains.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.images import datasets
from bench.machine.devices import multiplying
from bench.store.records import Likelihood
from ddpm.denoiser import Denoiser
from ddpm.likelihood import Bound, bits, flow_bound
from ddpm.mix import Table
from ddpm.precision import as_float64
from ddpm.schedule import Schedule
from ddpm.spacing import space

HELD_OUT = 1000  # test images behind the comparable losses
FLOW_STEPS = 50


def pick(images: Tensor, n: int, random: torch.Generator) -> Tensor:
    """``n`` of uint8 images in a random order, as floats in [−1, 1]."""
    return datasets.to_float(images[torch.randperm(len(images), generator=random)[:n].to(images.device)])


class HeldOut:
    """Errors on fixed test images, times and noise that are comparable across objectives.

    Mean squared errors of ε̂ and x̂₀, and the variational bound in bits a dimension (:mod:`ddpm.likelihood`, x̂₀ clipped,
    variance β̃), whose sum over t is estimated from one image for each of as many equal parts of 1 … T.
    """

    def __init__(self, images: Tensor, schedule: Schedule, device: torch.device) -> None:
        random = torch.Generator().manual_seed(0)
        self.x0 = pick(images, HELD_OUT, random).to(device)
        spread = (torch.arange(len(self.x0), dtype=torch.float64) + 0.5) / len(self.x0)
        self.t = (spread * schedule.T).floor().long().add(1).to(device)
        self.eps = torch.randn(self.x0.shape, generator=random).to(device)
        (mix,) = Table(schedule.noise).at(self.t, self.x0)
        self.x_t = mix(self.x0, self.eps)

    @torch.inference_mode()
    def __call__(self, denoiser: Denoiser) -> dict[str, float]:
        """``eps_mse``, ``x0_mse``, ``bpd`` and its standard error ``bpd_se``."""
        with multiplying("ieee", self.x0.device):
            return self._errors(denoiser)

    def _errors(self, denoiser: Denoiser) -> dict[str, float]:
        total = {"eps_mse": 0.0, "x0_mse": 0.0}
        bound, terms = Bound(denoiser), []
        for part in torch.arange(len(self.x0), device=self.t.device).split(250):
            x0, eps, v = denoiser.estimate(self.x_t[part], self.t[part])
            share = len(part) / len(self.x0)
            total["eps_mse"] += share * float((eps - self.eps[part]).square().mean())
            total["x0_mse"] += share * float((x0 - self.x0[part]).square().mean())
            terms.append(bound.term_of(self.x0[part], self.t[part], x0.clamp(-1, 1), v))
        each = as_float64(bits(bound.prior(self.x0) + denoiser.schedule.T * torch.cat(terms)))
        # neighbours have nearly the same t, so what they differ by is what chance does
        spread = float(each.diff().square().mean() / 2)
        return total | {"bpd": float(each.mean()), "bpd_se": math.sqrt(spread / len(each))}


def likelihood(denoiser: Denoiser, images: Tensor, n: int, device: torch.device) -> Likelihood:
    """The likelihood of ``n`` of the uint8 test images in bits a dimension, each with its standard error over images.

    ``bound``: every term of the variational bound (x̂₀ clipped, variance β̃ or learned), of one draw of noise for each t;
    of it ``prior`` is L_T, ``decoder`` L₀, and ``terms`` the means L₀ … L_{T−1}. ``flow``: with all but L₀ replaced by
    the likelihood of x₁ along the probability-flow equation, in :data:`FLOW_STEPS` steps of Heun's method; None where
    that is not finite.
    """
    with multiplying("ieee", device):
        return _likelihood(denoiser, images, n, device)


def _likelihood(denoiser: Denoiser, images: Tensor, n: int, device: torch.device) -> Likelihood:
    random = torch.Generator().manual_seed(0)
    x0 = pick(images, n, random).to(device)
    bound = Bound(denoiser, clip=True)
    with torch.inference_mode():
        prior = bound.prior(x0)
        whole = bound.whole(x0, lambda t: torch.randn(x0.shape, generator=random).to(device))
        terms = torch.stack(list(whole)).flip(0)  # from t = 1 up
    s = denoiser.schedule
    # where no signal is left, σ/α is infinite: the step before is as good as noise
    times = [t for t in reversed(space(s, min(FLOW_STEPS, s.T), "karras")) if s.alpha[t] > 0]
    eps = torch.randn(x0.shape, generator=random).to(device)
    signs = torch.Generator(device).manual_seed(0)
    parts = zip(x0.split(100), eps.split(100), strict=True)
    flow = torch.cat([flow_bound(denoiser, part, noise, times, signs) for part, noise in parts])
    found: dict[str, float | None] = {}
    for name, nats in {
        "bound": prior + terms.sum(0),
        "prior": prior,
        "decoder": terms[0],
        "flow": flow + terms[0],
    }.items():
        each = bits(as_float64(nats))
        known = bool(each.isfinite().all())
        found[name] = float(each.mean()) if known else None
        found[f"{name}_se"] = float(each.std()) / math.sqrt(n) if known else None
    return Likelihood(n=n, terms=tuple(bits(terms.mean(1)).tolist()), **found)
