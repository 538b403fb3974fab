"""Every library's contender by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from perf.peers.contender import Contender, Setting
from perf.peers.huggingface import Diffusers
from perf.peers.lucidrains import DenoisingDiffusion
from perf.peers.ours import Ours

CONTENDERS: dict[str, Callable[[Setting, int], Contender]] = {
    "ours": Ours,
    "diffusers": Diffusers,
    "denoising-diffusion-pytorch": DenoisingDiffusion,
}


def build(setting: Setting, seed: int) -> Contender:
    """The contender of a setting, its weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return CONTENDERS[setting.library](setting, seed)
