"""One network, two samplers: our loop against diffusers' pipeline, with the same batch and number of evaluations."""

from __future__ import annotations

import statistics
import time
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from ddpm.schedule import Schedule
from perf.peers import ours
from perf.peers.contender import SAMPLE_BATCH
from perf.peers.huggingface import run_pipeline

PREDICTION = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


class AsUNet2D(nn.Module):
    """A network of ours with the face of a ``UNet2DModel``; their index t is our step t + 1."""

    def __init__(self, net: nn.Module, T: int, side: int = 28) -> None:
        super().__init__()
        self.net, self.T = net, T
        self.config = SimpleNamespace(sample_size=side, in_channels=1)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights."""
        return next(self.net.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.net.parameters()).device

    def forward(self, x: Tensor, timestep: Tensor) -> SimpleNamespace:
        """x (B, 1, H, W) and one index → ``.sample``, shaped like x."""
        u = torch.full((len(x),), (int(timestep) + 1) / self.T, device=x.device)
        return SimpleNamespace(sample=self.net(x, u))


def scheduler(schedule: Schedule, objective: str) -> DDPMScheduler:
    """Theirs, walking the same times with the same coefficients as our ``ancestral``."""
    ratio = schedule.alpha[1:] / schedule.alpha[:-1]
    return DDPMScheduler(
        num_train_timesteps=schedule.T,
        trained_betas=(1 - ratio**2).tolist(),
        prediction_type=PREDICTION[objective],
        timestep_spacing="linspace",
    )


def both(net: nn.Module, n: int, evaluations: int, seed: int) -> dict[str, Tensor]:
    """n images of each, uint8 (n, 1, 28, 28)."""
    net.eval()
    theirs = run_pipeline(
        AsUNet2D(net, ours.SCHEDULE.T), scheduler(ours.SCHEDULE, ours.OBJECTIVE), n, evaluations, seed
    )
    return {"ours": ours.sampling(ours.prepared(net), n, evaluations, seed), "diffusers": theirs}


def compare(net: nn.Module, evaluations: int, repeats: int, batch: int = SAMPLE_BATCH) -> dict[str, Any]:
    """Seconds for a batch of images each, in turn, after a round that is not counted."""
    net.eval()
    theirs, table = AsUNet2D(net, ours.SCHEDULE.T), scheduler(ours.SCHEDULE, ours.OBJECTIVE)
    mine = ours.prepared(net)
    seconds: dict[str, list[float]] = {"ours": [], "diffusers": []}
    for turn in range(repeats + 1):
        for name, draw in (
            ("ours", lambda seed: ours.sampling(mine, batch, evaluations, seed)),
            ("diffusers", lambda seed: run_pipeline(theirs, table, batch, evaluations, seed)),
        ):
            since = time.perf_counter()
            draw(turn)
            if turn:
                seconds[name].append(time.perf_counter() - since)
    rates = {name: batch * evaluations / statistics.median(raw) for name, raw in seconds.items()}
    return {
        "label": "unet",
        "batch": batch,
        "steps": evaluations,
        "ours_s": seconds["ours"],
        "diffusers_s": seconds["diffusers"],
        "ours_image_steps_per_s": rates["ours"],
        "diffusers_image_steps_per_s": rates["diffusers"],
        "ratio": rates["ours"] / rates["diffusers"],
    }
