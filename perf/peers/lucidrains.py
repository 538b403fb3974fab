"""denoising-diffusion-pytorch as its README uses it.

- The documented network is the README's only image network: ``Unet(dim=64, dim_mults=(1, 2, 4, 8),
  flash_attn=True)``, on images padded to 32×32 as it halves three times.
- ``GaussianDiffusion`` with its defaults (1,000 steps, sigmoid schedule, v); sampling by its DDIM through
  ``sampling_timesteps``.
- Training is the README's ``Trainer``: Adam, lr 8e-5, betas (0.9, 0.99); 2 × 32 images a step, taken here as one
  batch of 64, which has the same gradient; gradient norm clipped at 1; EMA 0.995 every ten steps. In float32 (its
  ``amp`` is float16 on a GPU), and without its horizontal flip, which would mirror digits.

Given to it beyond that: images in memory instead of a folder and a data loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Unet, denoising_diffusion_pytorch
from ema_pytorch import EMA
from torch import Tensor, nn

from perf.peers.contender import CPU, SAMPLE_BATCH, Setting, batches, crop, pad, padded_side, placed, unit_to_uint8

NAME = "denoising-diffusion-pytorch"
RECIPE: dict[str, Any] = {"lr": 8e-5, "batch_size": 64}

DOCUMENTED = Setting(
    NAME, "dim 64, ×1/2/4/8 (README)", {"dim": 64, "dim_mults": [1, 2, 4, 8], "flash_attn": True}, RECIPE
)


def _small(dim: int, mults: list[int], heads: int, width: int) -> Setting:
    """A smaller network, with lighter attention: at full resolution that is most of its cost."""
    return Setting(
        NAME,
        f"dim {dim}, ×{'/'.join(map(str, mults))}, {heads}×{width} attention",
        {"dim": dim, "dim_mults": mults, "attn_heads": heads, "attn_dim_head": width, "flash_attn": True},
        RECIPE,
    )


SMALLER = [
    _small(8, [1, 2, 4], 1, 16),
    _small(8, [1, 2, 4], 4, 32),
    _small(8, [1, 2, 4, 8], 1, 16),
    _small(16, [1, 2, 4], 1, 16),
    _small(16, [1, 2, 4], 2, 32),
]
"""The sizes searched, smallest first."""

RECIPES: list[dict[str, Any]] = [{}, {"lr": 8e-4}, {"lr": 8e-4, "batch_size": 32}]
"""What is tried on the smallest of them, on top of the documented recipe."""


class DenoisingDiffusion:
    """``Unet`` and ``GaussianDiffusion``."""

    def __init__(self, setting: Setting, seed: int, device: torch.device = CPU) -> None:
        self._recipe, self._seed = setting.recipe, seed
        self._side = padded_side(28, 2 ** (len(setting.settings["dim_mults"]) - 1))
        self.net: nn.Module = Unet(channels=1, **setting.settings)
        self._diffusion = placed(GaussianDiffusion(self.net, image_size=self._side, timesteps=1000), device)
        self._ema = EMA(self._diffusion, beta=0.995, update_every=10)

    def steps(self, images: Tensor, planned: int) -> Iterator[None]:  # noqa: ARG002 (its rate is constant)
        """The trainer's inner loop, without end."""
        optimiser = torch.optim.Adam(self._diffusion.parameters(), lr=self._recipe["lr"], betas=(0.9, 0.99))
        self._diffusion.train()
        for batch in batches(images, self._recipe["batch_size"], self._seed):
            loss = self._diffusion(pad(batch, self._side) / 255)
            loss.backward()
            nn.utils.clip_grad_norm_(self._diffusion.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            self._ema.update()
            yield

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""
        return {name: value.clone() for name, value in self._ema.ema_model.model.state_dict().items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Sample from these."""
        self.net.load_state_dict(weights)

    def sample(self, n: int, evaluations: int, seed: int, batch: int = SAMPLE_BATCH) -> Tensor:
        """uint8 (n, 1, 28, 28), from the global generator, whose state is put back."""
        diffusion = self._diffusion.eval()
        diffusion.sampling_timesteps, diffusion.is_ddim_sampling = evaluations, True
        parts = []
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for start in range(0, n, batch):
                parts.append(diffusion.sample(min(batch, n - start)))
        return crop(unit_to_uint8(torch.cat(parts)), 28)


# it has no option to keep its progress bar quiet
denoising_diffusion_pytorch.tqdm = partial(denoising_diffusion_pytorch.tqdm, disable=True)
