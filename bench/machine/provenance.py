"""A description of the machine, the versions and the code: what a number may depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bench.machine.sources import code_hash
from bench.paths import ROOT
from bench.rows import installed


@lru_cache
def environment(device: torch.device) -> dict[str, Any]:
    """The machine, the versions and the code: whatever a duration or a byte may depend on."""
    gpu = None
    if device.type == "cuda":
        gpu = torch.cuda.get_device_name(device)
    added = installed()
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
        **({"packages": added} if added else {}),  # whose rows there are besides the built-in ones
    }


def machine_id() -> str:
    """Tells machines apart without naming them."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


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
