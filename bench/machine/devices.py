"""Devices, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str) -> torch.device:
    """``auto``: CUDA if there is one, else MPS, else the CPU.

    :raises UserError: if the named device is not one, or not here.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if here[device]))
    kind, _, index = name.partition(":")
    if kind not in here or (index and not index.isdigit()):
        from bench.errors import unknown

        raise unknown("device", name, DEVICES)
    if not here[kind]:
        raise UserError(f"device '{name}' is not available here (available: {', '.join(k for k in here if here[k])})")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not available here ({torch.cuda.device_count()} CUDA devices)")
    return torch.device(name)


@contextmanager
def multiplying(how: str, device: torch.device) -> Iterator[None]:
    """How float32 is multiplied, ``ieee`` or ``tf32``: a global setting on CUDA, whose convolutions default to TF32."""
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = how
    try:
        yield
    finally:
        for setting, was in zip(settings, before, strict=True):
            setting.fp32_precision = was
