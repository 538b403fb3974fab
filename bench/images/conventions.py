"""What the numbers of somebody else's images mean: layout, range, channels, and simple changes. Opens no file.

Blocks are arrays of images (n, channels, height, width) of any kind of number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.images.source import InDoubtError

TOLERANCE = 0.01
"""How far beyond a range values may lie, as a share of its width: rounding and interpolation do that."""
ENOUGH = 0.01
"""The share of values that it takes to settle a range. One pixel never does."""

UNIT, SIGNED, BYTES, DEEP = (0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0)
FORMS = "[0, 1], [-1, 1] or [0, 255]"


# layout


class Layout(NamedTuple):
    """How an array of images is laid out: to (n, channels, height, width), and in words."""

    view: Callable[[np.ndarray], np.ndarray]
    words: str


def layout(shape: tuple[int, ...], channels: int, side: int, *, larger: bool = False) -> Layout | None:
    """The layout of an array of that shape; None if it holds no such images.

    Images may have 1, 3 or 4 channels, first or last, or be one row each. With channels on both ends the data set's own
    number wins, last before first.

    :param larger: whether images may be larger than ``side``.
    """

    def fits(height: int, width: int) -> bool:
        return height == width == side or (larger and min(height, width) >= side)

    if len(shape) == 2 and shape[1] == channels * side * side:
        return Layout(lambda x: x.reshape(len(x), channels, side, side), "rows of pixels")
    if len(shape) == 3 and fits(*shape[1:]):
        return Layout(lambda x: x[:, None], "")
    if len(shape) != 4:
        return None
    for many in dict.fromkeys((channels, 1, 3, 4)):
        if shape[1] == many and fits(*shape[2:]):
            return Layout(lambda x: x, "")
        if shape[3] == many and fits(*shape[1:3]):
            return Layout(lambda x: x.transpose(0, 3, 1, 2), "")
    return None


# range


@dataclass
class Extent:
    """Where the values of a whole set lie, found a block at a time.

    ``low`` and ``high`` are the true extremes. ``negative`` and ``deep`` are how many are clearly below 0, and below
    −½; ``above`` and ``far`` how many are clearly above 1, and above 64.
    """

    low: float = np.inf
    high: float = -np.inf
    values: int = 0
    negative: int = 0
    deep: int = 0
    above: int = 0
    far: int = 0

    def add(self, block: np.ndarray) -> None:
        """Look at more values.

        :raises ValueError: if any is not finite.
        """
        if not block.size:
            return
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("holds NaN or infinite values")
        self.low, self.high, self.values = min(self.low, low), max(self.high, high), self.values + block.size
        if low < 0:
            self.negative += int((block < -TOLERANCE).sum())
            self.deep += int((block < -0.5).sum())
        if high > 1:
            self.above += int((block > 1 + TOLERANCE).sum())
            self.far += int((block > 64).sum())


def real(kind: np.dtype) -> bool:
    """Whether values of that kind are numbers on a line: no text, no dates, nothing complex."""
    return kind.kind in "biuf"


def beyond(block: np.ndarray, bounds: tuple[float, float]) -> int:
    """How many values lie outside."""
    return int(((block < bounds[0]) | (block > bounds[1])).sum())


def range_of(extent: Extent, kind: np.dtype) -> tuple[float, float]:
    """What black and white are, from all the values of a set and the kind of number.

    :raises InDoubtError: if they can be read in two ways.
    :raises ValueError: if they fit no range.
    """
    if kind == np.bool_:
        return UNIT
    if kind.kind in "iu":
        return _range_of_integers(extent, kind)
    fits = [bounds for bounds in (UNIT, SIGNED, BYTES) if _fits(extent, bounds)]
    share = ENOUGH * extent.values
    if UNIT in fits:
        return UNIT
    if fits == [SIGNED, BYTES]:  # from −1 to 1.01: no bytes are so small
        fits = [SIGNED]
    if fits == [SIGNED]:
        if extent.deep >= share:
            return SIGNED
        raise _doubt(extent, f"{extent.negative:,} of {extent.values:,} values are negative", UNIT, SIGNED)
    if fits == [BYTES]:
        if extent.far >= share:
            return BYTES
        if extent.far:
            raise _doubt(extent, f"{extent.above:,} of {extent.values:,} values are above 1", UNIT, BYTES)
    raise ValueError(f"holds floats from {extent.low:.6g} to {extent.high:.6g}: the range must be {FORMS}; say --range")


def _fits(extent: Extent, bounds: tuple[float, float]) -> bool:
    low, high = bounds
    room = TOLERANCE * (high - low)
    return low - room <= extent.low and extent.high <= high + room


def _doubt(extent: Extent, why: str, *ranges: tuple[float, float]) -> InDoubtError:
    both = " or ".join(f"[{low:g}, {high:g}]" for low, high in ranges)
    text = f"holds floats from {extent.low:.6g} to {extent.high:.6g}: {why}, so the range may be {both}; say --range"
    return InDoubtError(text, ranges)


def _range_of_integers(extent: Extent, kind: np.dtype) -> tuple[float, float]:
    if extent.low >= 0 and extent.high <= 255:
        return BYTES
    if kind.itemsize == 2 and extent.low >= 0:
        return DEEP
    raise ValueError(
        f"holds {kind} values from {extent.low:.0f} to {extent.high:.0f}: the range must be 0 to 255, or 0 to 65535 in "
        "16 bits; say --range"
    )


def to_bytes(block: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Values in a range → uint8 0 … 255, to the nearest; those beyond are clipped."""
    if block.dtype == np.uint8 and bounds == BYTES:
        return np.array(block)  # a mapped file is read-only
    low, high = bounds
    wide = block if block.dtype in (np.float32, np.float64) else block.astype(np.float64)
    wide = wide.clip(low, high)
    if bounds == SIGNED:
        wide = (wide + 1) / 2  # in this order, so that bytes written so come back
    elif bounds != UNIT:
        wide = (wide - low) / (high - low)
    return np.round(wide * 255).astype(np.uint8)


# channels


def composed(block: np.ndarray, background: int) -> np.ndarray:
    """Bytes (n, k + 1, H, W) whose last channel is opacity, before a background: (n, k, H, W)."""
    colour, opacity = block[:, :-1].astype(np.uint32), block[:, -1:].astype(np.uint32)
    return ((colour * opacity + background * (255 - opacity) + 127) // 255).astype(np.uint8)


def channels_of(block: np.ndarray, channels: int, background: int, done: Counter[str]) -> np.ndarray:
    """Bytes with 1, 2, 3 or 4 channels as bytes with ``channels``; what was done is counted by images.

    Two and four channels end with opacity. Colour becomes grey by luminance (ITU-R BT.601), as PIL has it.
    """
    if block.shape[1] in (2, 4):
        clear = (block[:, -1:] < 255).any((1, 2, 3))
        if clear.any():
            done[f"composed on {shade(background)}"] += int(clear.sum())
        block = composed(block, background)
    if block.shape[1] == 3 and channels == 1:
        same = ((block[:, :1] == block).all((1, 2, 3))).sum()
        for what, n in (("equal channels to grey", same), ("colour to grey", len(block) - same)):
            if n:
                done[what] += int(n)
        weights = np.array([19595, 38470, 7471], np.uint32)  # of 65536
        wide = np.tensordot(weights, block.astype(np.uint32), (0, 1))[:, None]
        return ((wide + 32768) >> 16).astype(np.uint8)
    if block.shape[1] == 1 and channels == 3:
        done["grey to three channels"] += len(block)
        return np.repeat(block, 3, 1)
    return block


def shade(background: int) -> str:
    """What a grey level is called."""
    return {0: "black", 255: "white"}.get(background, f"grey {background}")


# simple changes


@dataclass(frozen=True)
class Change:
    """A simple change of bytes (n, C, H, W), given the side that images should have; and what it does, in words.

    ``likely``: whether images may need it; others it would spoil.
    """

    of: Callable[[np.ndarray, int], np.ndarray]
    words: str
    likely: Callable[[np.ndarray], bool] = lambda x: True


def _middle(x: np.ndarray, side: int) -> np.ndarray:
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    return x[:, :, top : top + side, left : left + side]


CHANGES: dict[str, Change] = {
    "invert": Change(lambda x, side: 255 - x, "black and white swapped"),
    "transpose": Change(lambda x, side: x.swapaxes(2, 3), "rows and columns swapped"),
    "mirror": Change(lambda x, side: x[:, :, :, ::-1], "left and right swapped"),
    "flip": Change(lambda x, side: x[:, :, ::-1], "top and bottom swapped"),
    "turn": Change(lambda x, side: x[:, :, ::-1].swapaxes(2, 3), "turned by a quarter, clockwise"),
    "turn_back": Change(lambda x, side: x[:, :, :, ::-1].swapaxes(2, 3), "turned by a quarter, anticlockwise"),
    "stretch": Change(lambda x, side: x.clip(max=1) * np.uint8(255), "0 and 1 made 0 and 255", lambda x: x.max() <= 1),
    "widen": Change(
        lambda x, side: (x.clip(min=128) - np.uint8(128)) * np.uint8(2),
        "128 to 255 made 0 to 254",
        lambda x: x.min() >= 127,
    ),
    "swap_colours": Change(lambda x, side: x[:, ::-1], "red and blue swapped"),
    "crop": Change(_middle, "the middle of each"),
}
"""Name → what may have gone wrong, undone."""


def changed(block: np.ndarray, changes: Iterable[str], side: int) -> np.ndarray:
    """Bytes with changes made, in that order."""
    for name in changes:
        block = CHANGES[name].of(block, side)
    return block
