"""diffusers as its documentation uses it.

- Training is its unconditional example, ``examples/unconditional_image_generation/train_unconditional.py``: ε and MSE
  on ``DDPMScheduler`` (1,000 linear betas); AdamW, lr 1e-4, betas (0.95, 0.999), weight decay 1e-6; batch 16; gradient
  norm clipped at 1; 500 steps of warm-up, then a cosine over 100 epochs; ``EMAModel`` up to 0.9999, inverse gamma 1,
  power ¾. Without its random flip, which would mirror digits.
- The documented network is the one that Hugging Face's diffusion course builds for MNIST (``diffusion-models-class``,
  unit 1, "Diffusion models from scratch"): the example's own has 113 million parameters, for 64×64 photographs.
- Sampling is ``DDPMPipeline`` with the training scheduler.

Given to it beyond that: images in memory instead of a data loader, and the ``foreach`` form of its EMA.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from bench.images.datasets import to_float
from perf.peers.contender import CPU, SAMPLE_BATCH, Setting, batches, crop, pad, padded_side, placed, unit_to_uint8

NAME = "diffusers"
EPOCHS = 100
RECIPE: dict[str, Any] = {"lr": 1e-4, "batch_size": 16, "warmup_steps": 500, "decay": "over 100 epochs"}
FITTED: dict[str, Any] = {"lr": 1e-3, "warmup_steps": 50, "decay": "over the run"}
"""A tenfold rate, and warm-up and decay that fit a run of minutes."""

DOCUMENTED = Setting(
    NAME,
    "32/64/64, two layers a block, attention (course)",
    {
        "block_out_channels": [32, 64, 64],
        "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    },
    RECIPE,
)


def _plain(channels: list[int], layers: int) -> Setting:
    """A smaller network: attention in the middle only, and groups that divide its channels."""
    levels = len(channels)
    return Setting(
        NAME,
        f"{'/'.join(map(str, channels))}, {'one layer' if layers == 1 else f'{layers} layers'} a block",
        {
            "block_out_channels": channels,
            "layers_per_block": layers,
            "down_block_types": ["DownBlock2D"] * levels,
            "up_block_types": ["UpBlock2D"] * levels,
            "norm_num_groups": 8,
        },
        RECIPE,
    )


SMALLER = [
    _plain([8, 16, 32], 1),
    _plain([8, 32, 64], 1),
    _plain([16, 32, 32], 1),
    _plain([16, 32, 64], 1),
    _plain([16, 32, 64, 64], 1),
]
"""The sizes searched, smallest first."""

RECIPES: list[dict[str, Any]] = [{}, FITTED, FITTED | {"batch_size": 64}]
"""What is tried on the smallest of them, on top of the documented recipe."""


class Diffusers:
    """``UNet2DModel`` and ``DDPMScheduler``."""

    def __init__(self, setting: Setting, seed: int, device: torch.device = CPU) -> None:
        self._recipe, self._seed = setting.recipe, seed
        halvings = len(setting.settings["block_out_channels"]) - 1
        self._side = padded_side(28, 2**halvings)
        made = UNet2DModel(sample_size=self._side, in_channels=1, out_channels=1, **setting.settings)
        self.net: nn.Module = placed(made, device)
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)
        self._ema = EMAModel(
            self.net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4, foreach=True
        )

    def steps(self, images: Tensor, planned: int) -> Iterator[None]:
        """The example's inner loop, without end."""
        recipe = self._recipe
        size, fitted = recipe["batch_size"], recipe["decay"] == "over the run"
        optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=recipe["lr"], betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
        )
        total = planned if fitted else EPOCHS * -(-len(images) // size)
        warmup = min(recipe["warmup_steps"], planned // 10) if fitted else recipe["warmup_steps"]
        rate = get_scheduler("cosine", optimiser, num_warmup_steps=warmup, num_training_steps=total)
        self.net.train()
        for done, batch in enumerate(batches(images, size, self._seed)):
            clean = to_float(pad(batch, self._side))
            noise = torch.randn(clean.shape, device=clean.device)
            t = torch.randint(0, self.scheduler.config.num_train_timesteps, (size,), device=clean.device)
            predicted = self.net(self.scheduler.add_noise(clean, noise, t), t).sample
            loss = nn.functional.mse_loss(predicted, noise)
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimiser.step()
            if done < total:  # its cosine would rise again after the end
                rate.step()
            optimiser.zero_grad()
            self._ema.step(self.net.parameters())
            yield

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights."""
        names = [name for name, _ in self.net.named_parameters()]
        return {name: value.clone() for name, value in zip(names, self._ema.shadow_params, strict=True)}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Sample from these (it has no buffers)."""
        self.net.load_state_dict(weights)

    def sample(self, n: int, evaluations: int, seed: int, batch: int = SAMPLE_BATCH) -> Tensor:
        """uint8 (n, 1, 28, 28)."""
        return crop(run_pipeline(self.net.eval(), self.scheduler, n, evaluations, seed, batch), 28)


def run_pipeline(
    net: nn.Module, scheduler: Any, n: int, evaluations: int, seed: int, batch: int = SAMPLE_BATCH
) -> Tensor:
    """n images of ``DDPMPipeline``, uint8 (n, 1, H, W).

    :param net: a ``UNet2DModel``, or what looks like one.
    """
    pipeline = DDPMPipeline(unet=net, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator(next(net.parameters()).device).manual_seed(seed)
    parts = []
    for start in range(0, n, batch):
        count = min(batch, n - start)
        parts.append(pipeline(count, random, evaluations, output_type="pt").images)
    return unit_to_uint8(torch.cat(parts))
