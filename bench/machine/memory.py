"""Peak memory of a process and of a device."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

import torch


def peak_rss_mb(usage: Callable[[int], Any] = resource.getrusage, system: str = sys.platform) -> float:
    """Peak resident memory of this process in MB (the kernel counts KiB on Linux, bytes on macOS)."""
    peak = usage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if system == "darwin" else 1024) / 1e6


def reset_peak(device: torch.device) -> None:
    """Have the next :func:`peak_device_mb` be of what comes after this. Only CUDA keeps a peak that can be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_device_mb(device: torch.device) -> float | None:
    """Peak memory allocated on an accelerator since :func:`reset_peak`, in MB; None for the CPU (it is the process's).

    MPS has no such peak. For it this is what the driver has handed out by now, unused memory that is kept included.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 1e6
    return None
