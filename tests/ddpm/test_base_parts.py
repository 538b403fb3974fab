"""A base's numbers, worked out again: what the fit leaves over, what is drawn for which u, and its bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ddpm import base as module
from ddpm.base import Base, MixtureBase, mixture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def made(pixels: int = 6, span: int = 5) -> MixtureBase:
    """Three components of uneven shares along two directions, off the origin; three directions with a variance each."""
    base = MixtureBase(pixels, 3, 2, span)
    basis = torch.linalg.qr(draw(pixels, span, seed=1)).Q
    turned = torch.stack([torch.linalg.qr(draw(2, 2, seed=k)).Q for k in range(3)], 1)
    for name, value in (
        ("mean", draw(pixels, seed=2)), ("basis", basis), ("centres", 3 * draw(3, 2, seed=3)), ("axes", turned),
        ("variances", draw(3, 2, seed=4).abs()), ("log_shares", torch.tensor([0.1, 0.3, 0.1]).log()),
        ("shared", torch.tensor([0.5, 0.4, 0.3])[: span - 2]), ("outside", torch.tensor(0.2)),
    ):  # fmt: skip
        getattr(base, name).copy_(value)
    return base.double()


@pytest.mark.parametrize("pixels", [6, 9])
def test_what_is_left_is_shared_by_the_other_directions(pixels: int) -> None:
    """All variance less that of the known directions, divided by how many others there are: one, or four."""
    x = draw(400, pixels) @ draw(pixels, pixels, seed=1)
    base = MixtureBase(pixels, 2, 2, 5).double()
    base.fit(x, lambda images: images, seeded(3))
    centred = x - x.mean(0)
    covariance = centred.mT @ centred / len(x)
    known = torch.trace(base.basis.mT @ covariance @ base.basis)
    assert float(base.outside) == pytest.approx(float((torch.trace(covariance) - known) / (pixels - 5)), rel=1e-6)


@pytest.mark.parametrize(
    ("u", "k"), [(0.0, 0), (0.19, 0), (0.21, 1), (0.79, 1), (0.81, 2), (1.0, 2)], ids=lambda value: str(value)
)
def test_a_sample_by_hand(u: float, k: int) -> None:
    """u chooses among shares of 0.1, 0.3 and 0.1, which need not add up to 1."""
    base, z = made(), draw(1, 6, seed=7)
    found = base.draw(z, torch.tensor([u], dtype=torch.float64))
    y = base.basis.mT @ z[0]
    own = base.axes[:, k] @ (base.variances[k].sqrt() * y[:2])
    inside = base.basis[:, :2] @ (base.centres[k] + own)
    rest = base.basis[:, 2:] @ (base.shared.sqrt() * y[2:])
    out = base.outside.sqrt() * (z[0] - base.basis @ y)
    assert_close(found[0], base.mean + inside + rest + out)


def test_u_on_a_border_is_of_the_next_component() -> None:
    """And u may be of another type than the base."""
    base = MixtureBase(2, 2, 1, 1)
    base.centres.copy_(torch.tensor([[-5.0], [5.0]]))
    base.log_shares.copy_(torch.tensor([0.5, 0.5]).log())
    found = base.draw(torch.zeros(3, 2), torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert found[:, 0].tolist() == [-5, 5, 5]


def test_which_bases_can_be_drawn_from() -> None:
    class Silent(Base):
        """One that says nothing."""

    assert made().drawable
    assert not Silent().drawable
    assert not Base().drawable


def test_a_mixture_unless_said() -> None:
    base = mixture(1000)
    assert base.centres.shape == (100, 64)
    assert base.basis.shape == (1000, 784)
    assert mixture(100).basis.shape == (100, 100)


def test_how_large_a_mixture_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """components × rank² at most, the limit included."""
    monkeypatch.setattr(module, "MOST_NUMBERS", 300)
    assert mixture(20, components=3, rank=10).centres.shape == (3, 10)
    with pytest.raises(ValueError, match=r"components=3 and rank=11 is too large: .* must be at most 300$"):
        mixture(20, components=3, rank=11)
