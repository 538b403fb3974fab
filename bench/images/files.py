"""Reading images somebody else made, to score them: a folder of PNGs, or an .npy or .npz array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

MINIMUM = 20
"""Fewest images that can be scored."""
PART = 5_000
"""Images read at a time."""
STREAMED = 50_000
"""With more images than this, scores that compare pairs of them are left out, and the rest takes no more memory."""


def read(path: Path, channels: int, side: int) -> tuple[Tensor, str]:
    """uint8 (N, C, H, W), and a word on how the values were read.

    Arrays may be (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, or floats in [0, 1], or in [−1, 1] where some are
    negative. An .npz holds them as ``images``, or as its only array.

    :raises UserError: for anything that is not at least :data:`~bench.images.files.MINIMUM` such images.
    """
    if path.is_dir():
        array, how = _folder(path, channels), "PNG"
    elif path.suffix in (".npy", ".npz"):
        array, how = _array(path), "array"
    elif path.exists():
        raise UserError(f"{path} is neither a folder of PNGs nor an .npy or .npz file")
    else:
        raise UserError(f"no such file or folder: {path}")
    parts, values = _converted(lambda: array, path, channels, side)
    return torch.cat(list(parts)), f"{how} of {values}"


def stream(path: Path, channels: int, side: int) -> tuple[int, Iterator[Tensor], str] | None:
    """The images of an .npy too large to score as a whole: how many, parts of :data:`PART`, and how they are read.

    None for anything else. The file is mapped anew for each part: what was read of a mapping stays in memory with it.

    :raises UserError: as :func:`read` does.
    """
    if path.suffix != ".npy" or not path.is_file():
        return None
    array = _array(path, "r")
    if array.ndim < 3 or len(array) <= STREAMED:
        return None
    parts, values = _converted(lambda: _array(path, "r"), path, channels, side)
    return len(array), parts, f"array of {values}"


def converted(array: np.ndarray, what: str, channels: int, side: int) -> Tensor:
    """An array of images, in any of those forms, as uint8 (N, C, H, W).

    :raises UserError: as :func:`read` does, calling it ``what``.
    """
    return torch.cat(list(_converted(lambda: array, Path(what), channels, side)[0]))


def _converted(opened: Callable[[], np.ndarray], path: Path, channels: int, side: int) -> tuple[Iterator[Tensor], str]:
    n = len(_shaped(opened(), path, channels, side))

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, n, PART):
            yield _shaped(opened(), path, channels, side)[start : start + PART]  # a view: nothing is read yet

    found, values = _bytes(parts, path)
    if n < MINIMUM:
        raise UserError(f"{path} has {n} images: at least {MINIMUM} are needed to score")
    return (torch.from_numpy(part) for part in found), values


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


def _array(path: Path, mapped: Literal["r"] | None = None) -> np.ndarray:
    try:
        if mapped:
            whole: np.ndarray = np.load(path, mmap_mode=mapped, allow_pickle=False)
            return whole
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


def _bytes(parts: Callable[[], Iterator[np.ndarray]], path: Path) -> tuple[Iterator[np.ndarray], str]:
    """The values as uint8 0 … 255, a part at a time, and a word on how they were read."""
    first = next(parts(), np.empty(0, np.uint8))
    if first.dtype == np.uint8:
        return (np.array(part) for part in parts()), "bytes 0 to 255"  # a mapped file is read-only
    if not np.issubdtype(first.dtype, np.floating):
        raise UserError(f"{path} holds {first.dtype} values: uint8 or floats are needed")
    low = high = 0.0
    for part in parts():
        if not np.isfinite(part).all():
            raise UserError(f"{path} holds NaN or infinite values")
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low < -1 or high > 1:
        raise UserError(f"{path} holds floats from {low:.3g} to {high:.3g}: the range must be [0, 1] or [-1, 1]")
    scaled = ((part + 1) / 2 if low < 0 else part for part in parts())
    words = "floats in [-1, 1]" if low < 0 else "floats in [0, 1]"
    return (np.round(part * 255).astype(np.uint8) for part in scaled), words
