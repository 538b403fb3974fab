"""Which class is whose: a library is imported when one of its contenders is built, so that each can be missing."""

from __future__ import annotations

from importlib import import_module

import torch

from perf.peers.contender import CPU, Contender, Setting

CONTENDERS = {
    "ours": ("perf.peers.ours", "Ours"),
    "diffusers": ("perf.peers.huggingface", "Diffusers"),
    "denoising-diffusion-pytorch": ("perf.peers.lucidrains", "DenoisingDiffusion"),
}
"""Library → (module, class)."""


def build(setting: Setting, seed: int, device: torch.device = CPU) -> Contender:
    """The contender of a setting on that device, its weights drawn from ``seed``.

    :raises ImportError: if the library is not installed.
    """
    module, name = CONTENDERS[setting.library]
    torch.manual_seed(seed)
    made: Contender = getattr(import_module(module), name)(setting, seed, device)
    return made
