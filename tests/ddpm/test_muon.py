"""Muon: its update is orthogonal, has AdamW's size, and trains; each checked against a plain calculation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ddpm.muon import MOMENTUM, QUINTIC, Muon, orthogonalise, split
from ddpm.nets import NETS, make_net


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (40, 8)])
def test_orthogonal_factor(shape: tuple[int, int]) -> None:
    """The singular vectors of the exact decomposition stay, the values all come near 1."""
    torch.manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(3, *shape, dtype=torch.float64), full_matrices=False)
    g = 5 * u * torch.logspace(0, -1.5, 8, dtype=torch.float64) @ vh
    (orthogonal,) = orthogonalise([g])
    inner = u.mT @ orthogonal @ vh.mT
    values = inner.diagonal(dim1=-2, dim2=-1)
    assert_close(inner, torch.diag_embed(values), atol=1e-9, rtol=0)
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (40, 8)])
def test_plain_newton_schulz(shape: tuple[int, int]) -> None:
    """The iteration as it is published, on the matrix itself."""
    torch.manual_seed(0)
    g = torch.randn(3, *shape, dtype=torch.float64)
    x = g.mT if shape[0] > shape[1] else g
    x = x / x.norm(dim=(-2, -1), keepdim=True)
    a, b, c = QUINTIC
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    (found,) = orthogonalise([g])
    # a singular value that starts at 1e-3 grows 500-fold, and so does what rounding did to its square
    assert_close(found, x.mT if shape[0] > shape[1] else x, rtol=0, atol=1e-6)


def test_single_precision_is_enough() -> None:
    """In float32 within 1e-4 of float64, directions of a thousandth of the largest included."""
    torch.manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(3, 32, 288, dtype=torch.float64), full_matrices=False)
    g = u * torch.logspace(0, -3, 32, dtype=torch.float64) @ vh
    assert_close(orthogonalise([g.float()])[0].double(), orthogonalise([g])[0], rtol=0, atol=1e-4)


def test_a_matrix_does_not_see_its_neighbours() -> None:
    """Stacked with others of its shape, beside others of another shape, or alone: the same update."""
    torch.manual_seed(0)
    stacks = [torch.randn(4, 16, 32, dtype=torch.float64), torch.randn(2, 48, 16, dtype=torch.float64)]
    for g, together in zip(stacks, orthogonalise(stacks), strict=True):
        alone = torch.cat([orthogonalise([part])[0] for part in g.split(1)])
        assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_two_steps_by_hand() -> None:
    """Nesterov momentum of the gradients, made orthogonal, 0.2 √max(m, n) long, weights decayed beforehand."""
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(16, 4, 3, 3, dtype=torch.float64).to(memory_format=torch.channels_last))
    other = nn.Parameter(torch.randn(36, 16, dtype=torch.float64))
    wider = nn.Parameter(torch.randn(20, 24, dtype=torch.float64))
    expected, momentum = p.detach().clone(), torch.zeros(16, 36, dtype=torch.float64)
    optimiser = Muon([p, other, wider], lr=0.01, weight_decay=0.1)
    for _ in range(2):
        p.grad, other.grad, wider.grad = torch.randn_like(p), torch.randn_like(other), torch.randn_like(wider)
        g = p.grad.flatten(1)
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * g
        update = orthogonalise([((1 - MOMENTUM) * g + MOMENTUM * momentum)[None]])[0][0]
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 6 * update.view(16, 4, 3, 3)
        optimiser.step()
        assert_close(p.detach(), expected, rtol=1e-10, atol=1e-12)


def test_updates_are_as_large_as_those_of_adamw() -> None:
    """Root mean square 0.2 of the learning rate, whatever the shape (arXiv 2502.16982, section 2.2)."""
    torch.manual_seed(0)
    for shape in [(64, 64), (16, 256), (256, 16)]:
        p = nn.Parameter(torch.zeros(shape))
        p.grad = torch.randn(shape)
        Muon([p], lr=1.0).step()
        assert 0.12 < p.detach().square().mean().sqrt() < 0.26


@pytest.mark.parametrize("name", NETS)
def test_split(name: str) -> None:
    """Every trained parameter once; biases, norms and the layers next to pixels are no matrices."""
    net = make_net(name, 1, 28)
    matrices, rest = split(net)
    assert sorted(map(id, matrices + rest)) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    assert len(matrices) > 5
    assert all(p.ndim > 1 for p in matrices)
    assert {id(p) for p in net.parameters() if p.requires_grad and p.ndim == 1} <= set(map(id, rest))


def test_kernels_are_matrices_and_thin_layers_are_none() -> None:
    """Sixteen inputs and outputs are enough, however small the kernel is; fifteen are too few."""
    net = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Linear(16, 16), nn.Linear(15, 16), nn.Linear(16, 15))
    matrices, rest = split(net)
    assert [id(p) for p in matrices] == [id(net[i].weight) for i in (0, 1)]
    assert len(rest) == 6


def test_next_to_no_gradient_is_no_division_by_zero() -> None:
    (found,) = orthogonalise([torch.diag_embed(torch.tensor([[1e-7, 0.0]]))])
    assert found.isfinite().all()


def test_a_badly_scaled_problem() -> None:
    """A least-squares problem whose directions differ a hundredfold in scale is solved to a few per cent."""
    torch.manual_seed(0)
    scale = torch.logspace(0, 2, 16)
    x = torch.randn(512, 16) * scale
    target = torch.randn(16, 16)
    layer = nn.Linear(16, 16, bias=False)
    optimiser = Muon([layer.weight], lr=0.1)
    start = (layer.weight.detach() - target).norm()
    for step in range(400):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 400)
        layer.weight.grad = None
        ((layer(x) - x @ target.T) / scale.max()).square().mean().backward()
        optimiser.step()
    assert (layer.weight.detach() - target).norm() < 0.05 * start
