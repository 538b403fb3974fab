"""What a data set is: its images, and the row that says how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Images as uint8 (N, C, H, W) and labels as int64 (N,); ``sha256`` identifies the bytes of all four.

    ``classes`` is how many classes the labels tell apart. Where it is 0 there are no labels, and those here are zeros.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    sha256: str
    classes: int = 10

    @property
    def shape(self) -> tuple[int, int]:
        """(channels, side)."""
        return self.train.shape[1], self.train.shape[2]


def no_options() -> dict[str, Any]:
    """A data set without options."""
    return {}


@dataclass(frozen=True)
class Dataset:
    """How to read a data set, the shape of its images and how many there are: known before anything is read.

    ``read``: where data sets lie, and the options → the images. ``accuracy``: what a classifier of it should reach, by
    the recipe that judges are trained by. A report warns where one is far below. None: nothing is stated.

    ``options``: a function that has the options as keyword-only parameters, and returns which of the fields above they
    change. ``look``: of a data set that the user has made, the options → those options with what was found: whatever
    ``options`` needs to be known before anything is read again. ``tell``: lines that a plan shows of it.
    """

    read: Callable[..., Images]
    channels: int = 1
    side: int = 28
    train: int = 60_000
    test: int = 10_000
    classes: int = 10
    accuracy: float | None = None
    options: Callable[..., Mapping[str, Any]] = field(default=no_options)
    look: Callable[..., Mapping[str, Any]] | None = None
    tell: Callable[..., list[str]] | None = None

    def trained_on(self, asked: int | None) -> int:
        """How many images a job trains on that asks for the first so many, or for all."""
        return min(asked or self.train, self.train)

    def with_options(self, options: Mapping[str, Any]) -> Dataset:
        """The row as these options make it.

        :raises UserError: for an option's value that does not exist.
        """
        return replace(self, **self.options(**options))

    def load(self, root: Path, options: Mapping[str, Any]) -> Images:
        """The images.

        :raises UserError: if files are missing or corrupt.
        """
        return self.read(root, **options)
