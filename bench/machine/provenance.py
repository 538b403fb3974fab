"""A description of the machine, the versions and the code: what a number may depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path

import torch

from bench.machine.environment import Environment
from bench.machine.sources import code_hash
from bench.paths import CHECKOUT
from bench.rows import installed


@lru_cache
def environment(device: torch.device) -> Environment:
    """The machine, the versions and the code as they are here and now."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Environment(
        device=device.type,
        processor=_processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=gpu,
        driver=_command("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if gpu else None,
        cuda=torch.version.cuda if gpu else None,
        machine=machine_id(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
        commit=git("rev-parse", "HEAD") or version(),
        dirty=bool(git("status", "--porcelain", "--", "ddpm", "bench")),
        code=code_hash(),
        packages=installed(),  # whose rows there are besides the built-in ones
    )


def git(*words: str) -> str | None:
    """What git says of this project's checkout; None where there is none, even inside somebody else's repository."""
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():
        return None
    return _command("git", "-C", str(CHECKOUT), *words)


def version() -> str | None:
    """The installed version (``v0.1.0``): recorded as the commit where there is no git to ask."""
    try:
        return f"v{importlib.metadata.version('ddpm-bench')}"
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache
def machine_id() -> str:
    """Tells machines apart without naming them: those of one name too, whose processors are not alike.

    A cluster or a cloud may give the same name to one machine after another, of which one is three times as fast.
    """
    kind = torch.backends.cpu.get_cpu_capability()
    return hashlib.sha256(f"{platform.node()} {_processor()} {kind}".encode()).hexdigest()[:8]


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
