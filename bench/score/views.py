"""Distances that need no network: of pixels in their principal components, and of radially averaged power spectra.

Each is the Fréchet distance between features of every image, so that moments of the training images are all that has to
be kept, and images may come in parts. Importing this loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bench.machine.blas import by_one_thread

if TYPE_CHECKING:
    from torch import Tensor

COMPONENTS = 64
"""Principal components of the pixels."""
VALUES = 64 * 64 * 3
"""Values of an image, at most, whose principal components are looked for: their covariance then takes 1.2 GB."""
QUIET = 1e-3
"""Added to a power before its logarithm, so that a silent band is not infinitely far from all others."""


@dataclass(frozen=True)
class View:
    """A distance without a network.

    ``of``: uint8 images (N, C, H, W) and what was fitted → features (N, d), float64. ``fit``: training images → what is
    fitted. ``moments``: data set → the sha256 of the moments that come with the package. ``about``: what the distance
    is, and what it sees. ``most``: values (C·H·W) of an image; a data set whose images have more has no such distance.
    """

    of: Callable[[Tensor, Tensor], Tensor]
    fit: Callable[[Tensor], Tensor]
    moments: Mapping[str, str]
    about: str
    most: float = math.inf


def pixels(images: Tensor) -> Tensor:
    """uint8 (N, C, H, W) → float64 (N, C·H·W) in [0, 1]."""
    return images.flatten(1).double() / 255


def projected(images: Tensor, basis: Tensor) -> Tensor:
    """Pixels in the basis (C·H·W, d)."""
    return pixels(images) @ basis.double()


def principal(train: Tensor) -> Tensor:
    """The first :data:`COMPONENTS` principal components of training images, (C·H·W, d) float32, signs fixed."""
    import torch

    mean = pixels(train[:1])[0] * 0
    square = torch.outer(mean, mean)
    for part in train.split(5000):
        x = pixels(part)
        mean = mean + x.sum(0) / len(train)
        square += (x.T @ x).div_(len(train))  # in place: a copy may take a gigabyte
    vectors = torch.linalg.eigh(square.sub_(torch.outer(mean, mean))).eigenvectors
    basis = vectors.flip(1)[:, :COMPONENTS]
    return (basis * basis.gather(0, basis.abs().argmax(0)[None]).sign()).float().contiguous()


@by_one_thread
def spectrum(images: Tensor, nothing: Tensor) -> Tensor:
    """log₁₀ of the power at each whole radius of frequency, averaged over directions and channels; pixels in [0, 1]."""
    import torch

    side = images.shape[-1]
    power = np.square(np.abs(np.fft.fft2(images.numpy() / 255.0))).mean(1) / side**2
    ring = rings(side)
    total = power.reshape(len(images), -1) @ np.eye(ring.max() + 1)[ring]
    return torch.from_numpy(np.log10(total[:, 1:] / np.bincount(ring)[1:] + QUIET))


def nothing(train: Tensor) -> Tensor:
    """There is nothing to fit."""
    import torch

    return torch.zeros(0)


@lru_cache(maxsize=4)
def rings(side: int) -> np.ndarray:
    """The radius of each frequency of an image, in whole cycles an image, corners in the last ring: (side²,)."""
    line = np.fft.fftfreq(side, 1 / side)
    radius = np.rint(np.hypot(line[:, None], line[None, :])).astype(int)
    return np.minimum(radius, math.ceil(side / 2)).ravel()


VIEWS: dict[str, View] = {
    "pixel_distance": View(
        projected,
        principal,
        {
            "mnist": "2c0de4e3136c8b3494f814fc1fb461ace474b82d8633f424e2ba8098e2e4e8db",
            "fashion_mnist": "22df6b6080cb81ad203bdf933f88276fcb517a9db36ab2e22c25ccc9e41a5113",
        },
        "The Fréchet distance of pixels, in [0, 1], in 64 principal components of the training images.\n\n"
        "Use: beside `fid`; it needs no network. It sees shifts and wrong shades. It hardly sees fine noise. Images of "
        f"more than {VALUES:,} values (64×64 in colour) have no such distance: it would take too much memory.",
        most=VALUES,
    ),
    "spectrum_distance": View(
        spectrum,
        nothing,
        {
            "mnist": "f17b9958ce0fffe68fef71a286c97776ef3a760c442eebd73b7824af9fe3e2d4",
            "fashion_mnist": "628716fd8ebdbb5dabaee76597c6ae067b249fc5c8b3ff60bdf8778f666f8b77",
        },
        "The Fréchet distance of the images' log₁₀ power at each whole frequency, averaged over directions.\n\n"
        "Use: beside `fid`; it needs no network. It sees blur and noise. It does not see what is drawn, nor where.",
    ),
}
"""Column → the view."""
