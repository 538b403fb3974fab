"""Known damage to uint8 images (N, C, H, W): what a metric is tried on, and what a judge learns to see."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn


def _grey(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).to(torch.uint8)


def noisy(images: Tensor, level: float, random: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation ``level``, in grey levels, added to every pixel and clipped to 0 … 255."""
    draw = torch.randn(images.shape, generator=random).to(images.device)
    return _grey(images.float() + level * draw)


def blurred(images: Tensor, level: float) -> Tensor:
    """Blurred by a Gaussian of standard deviation ``level``, in pixels."""
    reach = max(1, round(4 * level))
    at = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    kernel = (-at.square() / (2 * level**2)).exp()
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    x = nn.functional.conv2d(images.float(), rows, padding=(reach, 0), groups=channels)
    return _grey(nn.functional.conv2d(x, columns, padding=(0, reach), groups=channels))


def compressed(images: Tensor, quality: int) -> Tensor:
    """Written as JPEG of that quality, 1 … 95, and read again."""
    from PIL import Image

    out = np.empty_like(images.numpy())
    for i, image in enumerate(images.numpy()):
        whole = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(whole).save(buffer, "JPEG", quality=quality)
        back = np.asarray(Image.open(buffer, formats=["JPEG"]))
        out[i] = back[None] if back.ndim == 2 else back.transpose(2, 0, 1)
    return torch.from_numpy(out)


def moved(images: Tensor, by: int) -> Tensor:
    """Every image moved ``by`` pixels to the right and down, zeros moving in."""
    out = torch.zeros_like(images)
    size = images.shape[-1]
    out[..., by:, by:] = images[..., : size - by, : size - by]
    return out
