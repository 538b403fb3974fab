"""Clocks and memory of a device, and a description of the machine: what turns a duration into a measurement."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from bench import ROOT, UserError

DEVICES = ("auto", "cpu", "cuda", "mps")
DECISIVE = ("classifier", "data", "engine", "generate", "metrics", "run")
"""The modules of :mod:`bench` that decide a cell's numbers."""


def pick_device(name: str) -> torch.device:
    """``auto``: CUDA if there is one, else MPS, else the CPU.

    :raises UserError: if the named device is not one, or not here.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if here[device]))
    kind, _, index = name.partition(":")
    if kind not in here or (index and not index.isdigit()):
        from bench.study import unknown

        raise unknown("device", name, DEVICES)
    if not here[kind]:
        raise UserError(f"device '{name}' is not available here (available: {', '.join(k for k in here if here[k])})")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not available here ({torch.cuda.device_count()} CUDA devices)")
    return torch.device(name)


class Clock(Protocol):
    """Started, then stopped: the seconds between, with the device's queue empty at both ends."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> float:
        """Seconds since :meth:`start`."""


class HostClock:
    """``perf_counter`` around a synchronised device: for the CPU (nothing to wait for) and for MPS."""

    def __init__(
        self,
        synchronise: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._synchronise, self._now = synchronise, now

    def start(self) -> None:
        """Begin once the device is idle."""
        self._synchronise()
        self._begin = self._now()

    def stop(self) -> float:
        """Seconds until the device is idle again."""
        self._synchronise()
        return self._now() - self._begin


class CudaClock:
    """CUDA events on the current stream, so that host work before the first kernel is not counted."""

    def __init__(self, event: Callable[[], Any] | None = None) -> None:
        self._event = event or (lambda: torch.cuda.Event(enable_timing=True))

    def start(self) -> None:
        """Record the first event."""
        self._begin = self._event()
        self._begin.record()

    def stop(self) -> float:
        """Record the second, wait for it, and take the difference (events count milliseconds)."""
        end = self._event()
        end.record()
        end.synchronize()
        return float(self._begin.elapsed_time(end)) / 1000


CLOCKS: dict[str, Callable[[], Clock]] = {
    "cpu": HostClock,
    "cuda": CudaClock,
    "mps": lambda: HostClock(torch.mps.synchronize),
}


def make_clock(device: torch.device) -> Clock:
    """The clock that fits the device."""
    return CLOCKS[device.type]()


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


def flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products and convolutions in ``run()``, 2 per multiply-add."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def flops_per_image(net: nn.Module, channels: int, side: int) -> dict[str, int]:
    """:func:`flops` of one forward pass and of one training step, per image."""
    device = next(net.parameters()).device
    x, u = torch.zeros(1, channels, side, side, device=device), torch.ones(1, device=device)
    trained = [p for p in net.parameters() if p.requires_grad]
    with torch.no_grad():
        forward = flops(lambda: net(x, u))
    return {"forward": forward, "train": flops(lambda: torch.autograd.grad(net(x, u).sum(), trained))}


@lru_cache
def environment(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the code: whatever a duration or a byte may depend on."""
    gpu = None
    if device.type == "cuda":
        gpu = torch.cuda.get_device_name(device)
    return {
        "device": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "driver": _command("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "machine": machine_id(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _command("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "dirty": bool(_command("git", "-C", str(ROOT), "status", "--porcelain", "--", "ddpm", "bench")),
        "code": code_hash(),
    }


def machine_id() -> str:
    """Tells machines apart without naming them."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@lru_cache
def code_hash() -> str:
    """A hash of the sources that decide a cell's numbers: all of ``ddpm``, and :data:`DECISIVE`."""
    files = sorted((ROOT / "ddpm").rglob("*.py"))
    files += [ROOT / "bench" / f"{name}.py" for name in DECISIVE]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return _command("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _command(*words: str) -> str | None:
    """What a command prints, or None where it is missing or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
