"""Images that somebody else made, whatever they are kept in: how many, how they were read, and a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError

MINIMUM = 20
"""Fewest images that can be scored."""
PART = 1_000
"""Images read at a time. With 5,000, freed memory lay in pieces too large for what came next, and 10⁵ took 12% more."""


def is_range(said: Sequence[Any]) -> bool:
    """Whether a user's values of black and white are two numbers, the lower first, of a size to compute with."""
    numbers = all(type(end) in (int, float) for end in said)
    return numbers and len(said) == 2 and -1e30 < said[0] < said[1] < 1e30


@dataclass(frozen=True)
class Counts:
    """What became of what was found.

    ``found``: files of a folder, or images of an array. ``read``: images. ``converted``: what was done to images → how
    many. ``clipped``: values beyond the range. ``left_out``: why files were not read → how many.
    """

    found: int
    read: int
    converted: dict[str, int] = field(default_factory=dict)
    clipped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """One line on all that is worth saying; empty if there is nothing."""
        said = [f"{what}: {n:,}" for what, n in self.converted.items()]
        if self.clipped:
            said.append(f"values clipped: {self.clipped:,}")
        said += [f"left out, {why}: {n:,}" for why, n in self.left_out.items()]
        return "; ".join(said)


@dataclass(frozen=True)
class Reading:
    """What a user says about the files.

    ``range``: what black and white are; None to find out. ``array``: which one of an .npz. ``background``: the grey
    level, 0 … 255, behind what is transparent. ``changes``: names of :data:`bench.images.conventions.CHANGES`.
    ``leave_out``: go on without files that cannot be read.
    """

    range: tuple[float, float] | None = None
    array: str | None = None
    background: int = 0
    changes: tuple[str, ...] = ()
    leave_out: bool = False


@dataclass(frozen=True)
class Source:
    """``n`` images, read in batches each time they are asked for: iterating gives uint8 (b, C, H, W).

    ``labels``: their classes, int64 (n,), where the files say them. ``how``: a few words on what they were.
    ``notes``: what else a reader should know, a line each.
    """

    n: int
    how: str
    counts: Counts
    batches: Callable[[], Iterator[np.ndarray]]
    labels: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Tensor]:
        return (torch.from_numpy(np.ascontiguousarray(batch)) for batch in self.batches())

    def whole(self) -> Tensor:
        """All of them, uint8 (n, C, H, W)."""
        return torch.cat(list(self))


def reworded(error: UserError, words: Mapping[str, str]) -> UserError:
    """The same, with other words for what it advises: where options of ``ddpm-bench score`` are not at hand."""
    text = str(error)
    for said, here in words.items():
        text = text.replace(said, here)
    return UserError(text)


class InDoubtError(UserError):
    """The values can be read in two ways; ``ranges`` are both."""

    def __init__(self, message: str, ranges: tuple[tuple[float, float], ...]) -> None:
        super().__init__(message)
        self.ranges = ranges
