"""Reading images somebody else made, to score them: a folder of PNGs, or an .npy or .npz array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench import UserError
from bench.metrics import MINIMUM


def read(path: Path, channels: int, side: int) -> tuple[Tensor, str]:
    """uint8 (N, C, H, W), and a word on how the values were read.

    Arrays may be (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1], or in [−1, 1] where some are
    negative. An .npz holds them as ``images``, or as its only array.

    :raises UserError: for anything that is not at least :data:`~bench.metrics.MINIMUM` such images.
    """
    if path.is_dir():
        array, how = _folder(path, channels), "PNG"
    elif path.suffix in (".npy", ".npz"):
        array, how = _array(path), "array"
    elif path.exists():
        raise UserError(f"{path} is neither a folder of PNGs nor an .npy or .npz file")
    else:
        raise UserError(f"no such file or folder: {path}")
    images, values = _bytes(_shaped(array, path, channels, side), path)
    if len(images) < MINIMUM:
        raise UserError(f"{path} has {len(images)} images: at least {MINIMUM} are needed to score")
    return torch.from_numpy(images), f"{how} of {values}"


def _folder(path: Path, channels: int) -> np.ndarray:
    from PIL import Image

    files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".png")
    if not files:
        raise UserError(f"no PNG files in {path}")
    images: list[np.ndarray] = []
    for file in files:
        try:
            with Image.open(file) as image:
                if image.mode.startswith(("I", "F")):
                    raise UserError(f"{file} has more than 8 bits a channel")
                images.append(np.asarray(image.convert("L" if channels == 1 else "RGB")))
        except UserError:
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            raise UserError(f"{file} is not a readable PNG") from error
        if images[-1].shape != images[0].shape:
            a, b = ("×".join(map(str, i.shape[:2])) for i in (images[0], images[-1]))
            raise UserError(f"mixed sizes in {path}: {files[0].name} is {a}, {file.name} is {b}")
    return np.stack(images)


def _array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            if "images" not in content.files and len(content.files) != 1:
                raise UserError(f"{path} has no array 'images' (it has: {', '.join(content.files) or 'nothing'})")
            found: np.ndarray = content["images" if "images" in content.files else content.files[0]]
            return found
    except UserError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a readable array file ({reason})") from error


def _shaped(array: np.ndarray, path: Path, channels: int, side: int) -> np.ndarray:
    """The array as (N, C, H, W)."""
    want = (channels, side, side)
    shape = "×".join(map(str, array.shape))
    if array.ndim == 3 and channels == 1:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1:] == (side, side, channels) and array.shape[1:] != want:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1:] != want:
        raise UserError(f"{path} holds an array of {shape}: images of {channels}×{side}×{side} are needed")
    return array


def _bytes(array: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    """The values as uint8 0 … 255."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), "bytes 0 to 255"
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{path} holds {array.dtype} values: uint8 or floats are needed")
    if not np.isfinite(array).all():
        raise UserError(f"{path} holds NaN or infinite values")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low < -1 or high > 1:
        raise UserError(f"{path} holds floats from {low:.3g} to {high:.3g}: the range must be [0, 1] or [-1, 1]")
    scaled = (array + 1) / 2 if low < 0 else array
    return np.round(scaled * 255).astype(np.uint8), "floats in [-1, 1]" if low < 0 else "floats in [0, 1]"
