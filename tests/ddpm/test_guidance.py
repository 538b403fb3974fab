"""Classes: left out as often as the paper says, and guided as its equation 6, whatever the objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.denoiser import Denoiser
from ddpm.guidance import UNTOLD, evaluations, forget, guided, told
from ddpm.mix import unmix
from ddpm.nets import classes_of, make_net
from ddpm.objective import OBJECTIVES, make_target
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space
from ddpm.train import Loss, Recipe, Trainer

CLASSES = 3
MEANS = torch.tensor([-0.6, 0.0, 0.7], dtype=torch.float64)
VARIANCE = 0.01


class Recorder(nn.Module):
    """A network that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.classes: list[Tensor] = []

    def forward(self, x: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, 1, H, W), (B,), (B,) → (B, 1, H, W)."""
        self.seen.append((x.detach().clone(), u.clone()))
        self.classes += [] if y is None else [y.clone()]
        return self.scale * x


def by_class(objective: str, T: int = 200) -> tuple[Denoiser, Denoiser]:
    """Denoisers of x₀ ~ N(mean of its class, 0.01): guided by classes 0, 1, 2, 0, … at scale 1, and at scale 2.

    Without a class the network takes the mean to be 0.
    """
    s = make_schedule("cosine", T)
    to_x0, _ = unmix(s.noise, make_target(s, objective))
    means = torch.cat([MEANS, torch.zeros(1, dtype=torch.float64)])

    def net(x: Tensor, u: Tensor, y: Tensor) -> Tensor:
        t = (u * T).round().long()
        a, b = (column[t].view(-1, 1, 1, 1) for column in (s.alpha, s.sigma))
        m = means[y].view(-1, 1, 1, 1)
        x0 = m + a * VARIANCE / (a**2 * VARIANCE + b**2) * (x - a * m)
        p, q = (column[t].view(-1, 1, 1, 1) for column in (to_x0.a, to_x0.b))
        return (x0 - p * x) / q  # the output from which x̂₀ is that

    classes = torch.arange(300) % CLASSES
    one, two = (Denoiser(guided(net, classes, CLASSES, scale), s, objective) for scale in (1.0, 2.0))
    return one, two


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_samples_are_of_the_class_that_was_asked_for(objective: str) -> None:
    """At scale 1 exactly the class; at 2, for equal variances, the mean moves to twice as far from that of no class.

    x̂₀ of the guided network is m + k (x_t − α m) for m twice the class's mean: the denoiser of that class.
    """
    for scale, denoiser in zip((1, 2), by_class(objective), strict=True):
        random = torch.Generator().manual_seed(0)
        x = torch.randn(300, 1, 2, 2, generator=random, dtype=torch.float64)
        *_, last = sample(denoiser, x, space(denoiser.schedule, 200), "ddim", torch.ones_like(x).mul, clip=False)
        for c, mean in enumerate(MEANS):
            found = last.x[c::CLASSES]
            assert float(found.mean()) == pytest.approx(scale * float(mean), abs=4 * 0.1 / math.sqrt(400) + 1e-3)
            assert float(found.std()) == pytest.approx(math.sqrt(VARIANCE), rel=0.15)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0])
def test_the_output_is_moved(scale: float) -> None:
    """Equation 6 with w = scale − 1; what is said of the variance is the class's."""
    calls = []

    def net(x: Tensor, u: Tensor, y: Tensor) -> Tensor:
        calls.append(y)
        return torch.cat([x + y.view(-1, 1, 1, 1), torch.full_like(x, 0.1) * y.view(-1, 1, 1, 1)], 1)

    x, y = torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 2])
    out, v = guided(net, y, CLASSES, scale)(x, torch.ones(1)).chunk(2, 1)
    assert_close(out[:, 0, 0, 0], (1 - scale) * CLASSES + scale * y.float())
    assert_close(v[:, 0, 0, 0], 0.1 * (y if scale else torch.full((3,), CLASSES)).float())
    assert len(calls) == evaluations(scale)


def test_evaluations() -> None:
    assert [evaluations(scale) for scale in (None, 0.0, 0.5, 1.0, 2.0)] == [1, 1, 2, 1, 2]


def test_a_tenth_is_not_told() -> None:
    classes = torch.arange(20_000) % CLASSES
    found = forget(classes, CLASSES, torch.Generator().manual_seed(0))
    untold = found == CLASSES
    assert torch.equal(found[~untold], classes[~untold])
    assert float(untold.double().mean()) == pytest.approx(UNTOLD, abs=4 * math.sqrt(UNTOLD * (1 - UNTOLD) / 20_000))


def test_training_with_classes_shares_every_other_draw() -> None:
    """Images, times and noise are those of the network that is told nothing; each image comes with its class."""
    images = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, 64, 64) / 40
    classes = torch.arange(40) % CLASSES
    recipe, loss = Recipe(epochs=3, batch_size=8, lr=1e-3), Loss(make_schedule("cosine", 10), "x0", "unit")
    nets = Recorder(), Recorder()
    list(Trainer(nets[0], loss, recipe, 0).steps(images, lambda x: x))
    list(Trainer(nets[1], loss, recipe, 0).steps(images, lambda x: x, classes=classes, none=CLASSES))
    assert not nets[0].classes
    for (x, u), (x_told, u_told) in zip(nets[0].seen, nets[1].seen, strict=True):
        assert torch.equal(x, x_told)
        assert torch.equal(u, u_told)
    said = torch.cat(nets[1].classes)
    assert 0 < int((said == CLASSES).sum()) < 40
    # the pixels of x_t at t = 1 say which image it is
    s = make_schedule("cosine", 10)
    near = torch.cat([u for _, u in nets[1].seen]) == 0.1
    x = torch.cat([x for x, _ in nets[1].seen])[near].mean((1, 2, 3)) / s.alpha[1]
    index = (x * 40).round().long().clamp(0, 39)
    hits = (classes[index] == said[near]).double().mean()
    assert float(hits) > 0.5, "classes go with their images (a third would by chance)"


def test_the_network_with_classes() -> None:
    """Class K and no class are the same; the classes matter once trained; without the option nothing is there."""
    torch.manual_seed(0)
    net = make_net("unet(classes=10)", 1, 28)
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    assert classes_of("unet(classes=10)") == 10
    x, u = torch.randn(4, 1, 28, 28), torch.full((1,), 0.3)
    with torch.inference_mode():
        none = net(x, u)
        assert_close(net(x, u, torch.full((4,), 10)), none)
        assert_close(told(net, torch.full((4,), 10))(x, u), none)
        assert float((net(x, u, torch.arange(4)) - none).abs().max()) > 1e-3
    assert classes_of("unet") == 0
    assert not [name for name, _ in make_net("unet", 1, 28).named_parameters() if name.startswith("classes")]


def test_classes_are_left_out_by_the_generator_alone() -> None:
    """The same ones for the same seed, whatever else was drawn; where the classes are."""
    classes = torch.arange(400) % CLASSES
    seeds = (3, 3, 4)
    first, again, other = (forget(classes, CLASSES, torch.Generator().manual_seed(seed)) for seed in seeds)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    untold = torch.rand(400, generator=torch.Generator().manual_seed(3)) < UNTOLD
    assert torch.equal(first == CLASSES, untold)
    assert forget(classes.to("meta"), CLASSES, torch.Generator()).device.type == "meta"


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_a_guided_network_is_told_the_time(scale: float) -> None:
    net, u = Recorder(), torch.tensor([0.25, 0.5])
    guided(net, torch.tensor([0, 1]), CLASSES, scale)(torch.zeros(2, 1, 4, 4), u)
    assert net.seen
    assert all(torch.equal(at, u) for _, at in net.seen)
