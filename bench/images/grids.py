"""Many images in one, and PNG files."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor


def tile_grid(images: Tensor, columns: int) -> Tensor:
    """uint8 (N, C, H, W) → one image (C, rows·H, columns·W), row by row, missing ones black."""
    rows = -(-len(images) // columns)
    blank = images.new_zeros(rows * columns - len(images), *images.shape[1:])
    c, h, w = images.shape[1:]
    grid = torch.cat([images, blank]).view(rows, columns, c, h, w)
    return grid.permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def png(image: Tensor) -> bytes:
    """uint8 (C, H, W), grey or RGB, as a PNG file."""
    from PIL import Image

    pixels: np.ndarray = image.numpy()[0] if len(image) == 1 else image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
