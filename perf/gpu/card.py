"""The card by itself: what it is, and the rates of products, convolutions and copies that all else is compared with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from functools import partial

import torch
from torch import nn

from bench.job.engine import FORMATS, precision
from bench.machine import provenance
from perf.gpu.record import Row
from perf.gpu.session import Found, Raw, Session

QUERIES = (
    "driver_version", "pstate", "temperature.gpu", "power.draw", "power.limit",
    "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "memory.total",
)  # fmt: skip
"""What ``nvidia-smi`` is asked, by its own names."""
CONVOLVED = 14
"""Side of the images in the convolutions: the middle level of the U-Net."""


def card(session: Session) -> Generator[Row]:
    """What the card is; its rates; and its clocks again once it has worked."""
    yield session.attempt("about", {}, lambda: (_about(session), {}))
    for kind in formats(session.device):
        for side in session.sizes.matmul_bfloat16 if kind == "bfloat16" else session.sizes.matmul:
            at: Found = {"kind": "matmul", "format": kind, "side": side}
            yield session.attempt(f"matmul {side} {kind}", at, partial(_matmul, session, kind, side))
        for width, images in session.sizes.convolutions:
            at = {"kind": "conv3x3", "format": kind, "width": width, "images": images}
            name = f"conv3x3 {width} wide, {images} images, {kind}"
            yield session.attempt(name, at, partial(_convolution, session, kind, width, images))
    yield session.attempt("copy", {"kind": "copy", "numbers": session.sizes.copied}, lambda: _copy(session))
    yield session.attempt("clocks after work", {}, lambda: (smi(session), {}))


def formats(device: torch.device) -> list[str]:
    """The number formats that the device can be asked for; TF32 is CUDA's."""
    return [name for name in FORMATS if name != "tf32" or device.type == "cuda"]


def _about(session: Session) -> Found:
    environment = provenance.environment(session.device).model_dump()
    wanted = ("gpu", "processor", "cores", "threads", "torch", "cuda", "python", "system")
    found: Found = {name: environment[name] for name in wanted}
    if session.cuda:
        properties = torch.cuda.get_device_properties(session.device)
        found |= {
            "memory_mb": properties.total_memory / 1e6,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "cudnn": torch.backends.cudnn.version(),
        }
    return found | smi(session)


def smi(session: Session) -> Found:
    """What ``nvidia-smi`` says of the card now; nothing where there is no such program or no such card."""
    if not session.cuda:
        return {}
    index = session.device.index or 0
    uuid = getattr(torch.cuda.get_device_properties(session.device), "uuid", None)
    which = f"GPU-{uuid}" if uuid else str(index)
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--id={which}", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.strip().splitlines()[0].split(",")]
    return dict(zip(QUERIES, values, strict=False))


def _rate(session: Session, kind: str, run: Callable[[], object], amount: float) -> tuple[Found, Raw]:
    """``amount`` a second, at a number format."""
    with precision(kind, session.device), torch.inference_mode():
        timed = session.timed(run)
    return {"rate": amount / timed.median, "first_s": timed.first_s}, {"seconds": timed.seconds}


def _matmul(session: Session, kind: str, side: int) -> tuple[Found, Raw]:
    """A product of two square matrices."""
    a, b = (torch.randn(side, side, device=session.device).to(FORMATS[kind][0]) for _ in range(2))
    return _rate(session, kind, lambda: a @ b, 2.0 * side**3)


def _convolution(session: Session, kind: str, width: int, images: int) -> tuple[Found, Raw]:
    """A 3×3 convolution as in the U-Net, channels last."""
    dtype = FORMATS[kind][0]
    conv = nn.Conv2d(width, width, 3, padding=1).to(session.device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(images, width, CONVOLVED, CONVOLVED, device=session.device).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    return _rate(session, kind, lambda: conv(x), 2.0 * 9 * width * width * CONVOLVED**2 * images)


def _copy(session: Session) -> tuple[Found, Raw]:
    """Bytes read and written a second by a copy within the device's memory."""
    a, b = (torch.ones(session.sizes.copied, device=session.device) for _ in range(2))
    timed = session.timed(lambda: a.copy_(b))
    return {"rate": 8.0 * session.sizes.copied / timed.median}, {"seconds": timed.seconds}
