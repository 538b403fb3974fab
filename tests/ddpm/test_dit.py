"""The DiT: its size by a closed form, its blocks by their equations, and what adaLN-zero promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.denoiser import Denoiser
from ddpm.guidance import guided
from ddpm.nets import classes_of, learns_variance, make_net
from ddpm.nets.dit import Block, DiT, images, patches, positions
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space
from ddpm.train import Loss, Recipe, Trainer

SMALL = "dit(width=32,depth=1{})"


def shaken(net: nn.Module) -> nn.Module:
    """The network in float64, nothing of it at zero."""
    generator = torch.Generator().manual_seed(0)
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def batch(side: int = 8, channels: int = 1, count: int = 3) -> tuple[Tensor, Tensor]:
    """x_t and t/T, in float64."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, channels, side, side, generator=generator, dtype=torch.float64)
    return x, torch.linspace(0.2, 1, count, dtype=torch.float64)


@pytest.mark.parametrize(
    ("channels", "side", "width", "depth", "patch", "variance", "classes"),
    [(1, 28, 96, 4, 4, False, 0), (1, 28, 64, 3, 2, True, 10), (3, 32, 32, 1, 4, True, 0), (1, 28, 32, 2, 7, False, 3)],
)
def test_parameters_by_a_closed_form(
    channels: int, side: int, width: int, depth: int, patch: int, variance: bool, classes: int
) -> None:
    net = DiT(channels, side, width=width, depth=depth, patch=patch, variance=variance, classes=classes)
    inputs = channels * patch**2
    outputs = inputs * (2 if variance else 1)
    told = (64 + 1) * width + (width + 1) * width + (classes + 1) * width * bool(classes)
    block = 18 * width**2 + 15 * width  # 6 + 3 + 1 + 4 + 4 matrices of width², and their biases
    ends = (inputs + 1) * width + 2 * (width + 1) * width + (width + 1) * outputs
    assert sum(p.numel() for p in net.parameters()) == told + depth * block + ends


def test_a_second_time_adds_one_layer() -> None:
    plain, told = (DiT(width=32, depth=1, second_time=second) for second in (False, True))
    more = sum(p.numel() for p in told.parameters()) - sum(p.numel() for p in plain.parameters())
    assert more == (64 + 1) * 32


@pytest.mark.parametrize("side", [2, 4])
def test_patches_by_their_formula_and_back(side: int) -> None:
    """Token (i, j) has pixel (c, a, b) of its patch at c side² + a side + b."""
    x = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    tokens, rows = patches(x, side), 8 // side
    assert tokens.shape == (2, rows**2, 3 * side**2)
    for i in range(rows):
        for j in range(rows):
            patch = x[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
            assert torch.equal(tokens[:, i * rows + j], patch.flatten(1))
    assert torch.equal(images(tokens, side, rows), x)


def test_positions_by_their_formula() -> None:
    """Half of the channels say the row and half the column, each by sines and cosines of falling frequency."""
    found = positions(7, 32)
    for i, j in ((0, 0), (2, 5), (6, 1)):
        row = found[7 * i + j]
        for k in range(8):
            angle = [place / 10_000 ** (k / 8) for place in (i, j)]
            said = [math.sin(angle[0]), math.cos(angle[0]), math.sin(angle[1]), math.cos(angle[1])]
            assert_close(row[k::8], torch.tensor(said))
    assert len(found.unique(dim=0)) == 49


def test_starts_as_adaln_zero_promises() -> None:
    """Every block is the identity and the output is zero, exactly; so is whatever modulates the last layer."""
    net = DiT(1, 8, width=64, depth=2, patch=2, classes=3)
    x, u = batch()
    assert torch.equal(net(x.float(), u.float(), torch.tensor([0, 1, 3])), torch.zeros(3, 1, 8, 8))
    tokens, told = torch.randn(3, 16, 64), torch.randn(3, 64)
    for block in net.blocks:
        assert torch.equal(block(tokens, told), tokens)
    assert all(not part.any() for part in net.modulation(told))


def test_first_weights_are_those_of_the_authors() -> None:
    """Xavier's uniform weights, whose bound is √(6 / (in + out)); classes have a standard deviation of 0.02."""
    net = DiT(width=96, depth=1, classes=400)
    assert net.first.in_features == 16, "grey images, unless another number of channels is said"
    layers = [part for name, part in net.named_modules() if isinstance(part, nn.Linear) and "modulation" not in name]
    for layer in layers[:-1]:
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert not layer.bias.any()
    assert net.condition.classes is not None
    assert float(net.condition.classes.weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_gates_and_the_last_layer_learn_from_zero() -> None:
    """What starts at zero gets a gradient: the last layer at once, the gates once it has moved."""
    net = make_net(SMALL.format(""), 1, 8)
    x, u = (part.float() for part in batch())
    assert isinstance(net, DiT)
    (net(x, u) - x).square().mean().backward()
    assert net.last.weight.grad is not None
    assert net.last.weight.grad.any()
    with torch.no_grad():
        net.last.weight.add_(net.last.weight.grad, alpha=-1)
    net.zero_grad()
    (net(x, u) - x).square().mean().backward()
    (block,) = net.blocks
    gates = block.modulation.linear.weight.grad.view(6, 32, 32)[[2, 5]]
    assert gates.abs().amax((1, 2)).min() > 0


def test_a_block_against_its_equations() -> None:
    """x + gate · attention, then x + gate · MLP, each on a layer norm that is scaled and shifted; two heads."""
    block = shaken(Block(64))
    random = torch.Generator().manual_seed(2)
    x, told = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((2, 5, 64), (2, 64)))
    state = {name: value.detach() for name, value in block.named_parameters()}

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ state[f"{name}.weight"].mT + state[f"{name}.bias"]

    def layer_norm(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        centred = h - h.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift

    parts = linear("modulation.linear", told)[:, None].split(64, 2)
    qkv = linear("qkv", layer_norm(x, parts[0], parts[1]))
    heads = []
    for at in (0, 32):
        q, k, v = (qkv[..., 64 * i + at : 64 * i + at + 32] for i in range(3))
        heads.append((q @ k.mT / math.sqrt(32)).softmax(-1) @ v)
    h = x + parts[2] * linear("out", torch.cat(heads, -1))
    inner = linear("mlp.0", layer_norm(h, parts[3], parts[4]))
    inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    assert_close(block(x, told), h + parts[5] * linear("mlp.2", inner))


def test_without_positions_patches_may_be_shuffled() -> None:
    """Then the output is shuffled alike. With positions it is not: the network knows where a patch is."""
    net = shaken(DiT(1, 8, width=32, depth=2, patch=2))
    x, u = batch()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))

    def shuffled(image: Tensor) -> Tensor:
        return images(patches(image, 2)[:, order], 2, 4)

    assert not torch.allclose(net(shuffled(x), u), shuffled(net(x, u)), atol=1e-3)
    net.get_buffer("positions").zero_()
    assert_close(net(shuffled(x), u), shuffled(net(x, u)))


def test_classes_and_variance() -> None:
    """No class is class number ``classes``; the variance is a second half of channels."""
    name = SMALL.format(",classes=3,variance=true,patch=2")
    assert (classes_of(name), learns_variance(name)) == (3, True)
    net = shaken(make_net(name, 2, 8))
    x, u = batch(channels=2)
    none = net(x, u)
    assert none.shape == (3, 4, 8, 8)
    assert torch.equal(net(x, u, torch.tensor([3, 3, 3])), none)
    others = net(x, u, torch.tensor([0, 1, 2]))
    assert (others - none).abs().amax((1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize(
    ("options", "said"), [({"patch": 8}, "multiple of its patch, 8, not 28"), ({"width": 48}, "multiple of 32, not 48")]
)
def test_what_does_not_fit_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DiT(1, 28, **options)


def test_checkpoints_hold_parameters_only() -> None:
    """Positions and frequencies follow from the options, so that they are not saved."""
    net = make_net("dit", 1, 28)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}


def test_learns_with_classes_and_variance_and_is_sampled() -> None:
    """On one small batch the loss falls to under a third; then guided samples are drawn with the learned variance."""
    schedule = make_schedule("cosine", 20)
    net = DiT(1, 8, width=32, depth=1, patch=2, variance=True, classes=2)
    assert net.condition.classes is not None
    before = net.condition.classes.weight.detach().clone()
    labels = torch.tensor([0, 1] * 8)
    data = torch.where(labels.bool()[:, None, None, None], 255, 0).expand(16, 1, 8, 8).to(torch.uint8)
    trainer = Trainer(net, Loss(schedule, "x0", "unit"), Recipe(epochs=40, batch_size=16, lr=3e-3, ema=0.5), 0)
    losses = [float(step.loss) for step in trainer.steps(data, lambda x: x / 127.5 - 1, None, labels, 2)]
    assert sum(losses[-5:]) < sum(losses[:5]) / 3
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        denoiser = Denoiser(guided(net, torch.tensor([0, 1]), 2, 2.0), schedule, "x0")
        steps = list(sample(denoiser, noise, space(schedule, 3), "ancestral_learned", lambda _: noise))
    assert (net.condition.classes.weight - before).abs().amax(1).min() > 1e-3, "no class was left out"
    assert steps[-1].x.isfinite().all()
