"""A sample's bytes depend on the cell and its index, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from bench.images.datasets import Images
from bench.job import generate as module
from bench.job.generate import BLOCK, STRIP_IMAGES, STRIP_TIMES, TILE, generate, noise
from bench.score.heldout import HeldOut
from bench.study.model import Sampling
from ddpm.denoiser import Denoiser
from ddpm.likelihood import Bound
from ddpm.nets import NETS, make_net
from ddpm.sampler import SAMPLERS
from ddpm.schedule import make_schedule
from tests.pretend import StaticOutput

SCHEDULE = make_schedule("cosine", 20)


CPU = torch.device("cpu")


def way(sampler: str = "ancestral", sample_steps: int = 3, **changes: Any) -> Sampling:
    return Sampling(sampler=sampler, sample_steps=sample_steps, **changes)


def draw(
    net: Callable[..., Tensor],
    n: int,
    batch: int | None = None,
    first: Tensor | None = None,
    classes: int = 0,
    **changes: Any,
) -> Tensor:
    options: dict[str, Any] = {"shape": (1, 28), "device": CPU, "batch": batch, "first": first, "classes": classes}
    batches = generate(net, SCHEDULE, "v", way(**changes), n=n, **options)
    return torch.cat([b.images for b in batches])


@pytest.mark.parametrize("name", NETS)
def test_neither_batch_size_nor_n_changes_a_byte(name: str) -> None:
    torch.manual_seed(0)
    net = make_net(name, 1, 28).eval()
    whole = draw(net, 230)
    assert whole.shape == (230, 1, 28, 28)
    assert whole.dtype == torch.uint8
    assert len(whole.flatten(1).unique(dim=0)) == 230
    for batch in (7, 100, 200, 1000):
        assert torch.equal(draw(net, 230, batch), whole)
    assert torch.equal(draw(net, 40), whole[:40])
    assert not torch.equal(draw(net, 40, sample_seed=1), whole[:40])


def test_every_tile_divides_into_noise_blocks() -> None:
    assert all(tile % BLOCK == 0 for tile in TILE.values())


def test_noise_is_a_function_of_index_and_time() -> None:
    (whole,) = noise(3, [7], 0, 200, (1, 4, 4))
    assert torch.equal(noise(3, [7], 100, 100, (1, 4, 4))[0], whole[100:])
    other_time, again = noise(3, [8, 7], 0, 200, (1, 4, 4))
    assert torch.equal(again, whole)
    for other in (noise(4, [7], 0, 200, (1, 4, 4))[0], other_time):
        correlation = torch.corrcoef(torch.stack([whole.flatten(), other.flatten()]))[0, 1]
        assert abs(float(correlation)) < 4 / (200 * 16) ** 0.5


def test_noise_is_standard_normal() -> None:
    assert stats.kstest(noise(0, [1], 0, 500, (1, 14, 14)).flatten().numpy(), "norm").pvalue > 1e-3


class Counting(nn.Module):
    """Predicts v = 0 and remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.times: list[int] = []

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), (B,) → zeros."""
        self.seen.append(len(x))
        self.times.append(len(u))
        return torch.zeros_like(x)


def test_the_network_only_sees_whole_tiles() -> None:
    net = Counting()
    draw(net, 130, 1000, sample_steps=4)
    assert net.seen == [TILE["cpu"]] * 2 * 4


def test_strip_shows_the_first_images_over_time() -> None:
    options: dict[str, Any] = {"shape": (1, 28), "n": 150, "device": CPU}
    first, second = generate(Counting(), SCHEDULE, "v", way("ddim", 20), **options)
    assert first.strip is not None
    assert first.strip.shape == (STRIP_TIMES, 2, STRIP_IMAGES, 1, 28, 28)
    assert second.strip is None
    short = next(generate(Counting(), SCHEDULE, "v", way("ddim", 3), **options))
    assert short.strip is not None
    assert len(short.strip) == 3


def test_eta_and_sampler_matter() -> None:
    net = Counting()
    a, b, c = (draw(net, 20, sampler="ddim", eta=eta) for eta in (0.0, 1.0, 1.0))
    assert torch.equal(b, c)
    assert not torch.equal(a, b)
    assert torch.equal(b, draw(net, 20, sampler="ancestral"))
    assert not torch.equal(b, draw(net, 20, sampler="ancestral_beta"))


@pytest.mark.parametrize("batch", [None, 200])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0])
def test_guidance_asks_for_each_class_in_turn(scale: float, batch: int | None) -> None:
    """Images are told apart by their index alone: neither batch nor what is shared changes a byte."""
    torch.manual_seed(0)
    net = make_net("unet(width=8,inner=32,blocks=1,middle=1,classes=10)", 1, 28).eval()
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    told = {"guidance": scale, "classes": 10}
    whole = draw(net, 230, **told)
    assert torch.equal(draw(net, 230, batch, **told), whole)
    first = module.first_outputs(net, shape=(1, 28), n=250, seed=0, device=torch.device("cpu"), **told)
    assert torch.equal(draw(net, 230, batch, first=torch.cat(list(first)), **told), whole)
    free = draw(net, 230)
    if scale == 0:  # the rounding may differ
        assert float((whole.float() - free.float()).abs().max()) <= 1
    else:
        assert not torch.equal(whole, free)
    assert module.asked(8, 4, 10).tolist() == [8, 9, 0, 1]


class Both(nn.Module):
    """A network that says something of the variance too, and knows ten classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.of_class = nn.Conv2d(1, 2, 3, padding=1), nn.Embedding(11, 2)

    def forward(self, x: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """(B, 1, H, W), (1,), (B,) → (B, 2, H, W)."""
        known = 0 if y is None else self.of_class(y)[:, :, None, None]
        return torch.tanh(self.image(x) + u.view(-1, 1, 1, 1) + known)


@pytest.mark.parametrize("guidance", [None, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_captured_graph_gives_the_same_bytes(sampler: str, guidance: float | None) -> None:
    """One that writes over what it returned before, in batches of two tiles, with and without a shared first output."""
    fresh, static = Both().eval(), StaticOutput(Both().eval())
    told: dict[str, Any] = {"sampler": sampler, "sample_steps": 4, "guidance": guidance, "classes": 10}
    expected = draw(fresh, 130, **told)
    assert torch.equal(draw(static, 130, 200, **told), expected)
    start: dict[str, Any] = {"shape": (1, 28), "n": 200, "seed": 0, "device": torch.device("cpu")}
    first = torch.cat(list(module.first_outputs(static, **start, guidance=guidance, classes=10)))
    assert torch.equal(draw(static, 130, 200, first=first, **told), expected)


def test_held_out_errors_of_a_captured_graph(tiny_images: Images) -> None:
    fresh, static = (Denoiser(net, SCHEDULE, "v") for net in (Both(), StaticOutput(Both())))
    held_out = HeldOut(tiny_images.test, SCHEDULE, torch.device("cpu"))
    assert held_out(static) == held_out(fresh)
    with torch.inference_mode():
        x0, noise_of = module.start_noise(0, 0, 50, (1, 28)), lambda t: module.start_noise(t, 0, 50, (1, 28))
        terms = [torch.stack(list(Bound(denoiser).whole(x0, noise_of))) for denoiser in (fresh, static)]
    assert torch.equal(*terms)


def test_divergence_is_an_error_not_an_image() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor, u: Tensor) -> Tensor:
            return x * float("nan")

    with pytest.raises(FloatingPointError, match="diverged while sampling"):
        draw(Broken(), 20)


def test_tiles_are_what_the_network_is_given() -> None:
    net = Counting()
    x = torch.randn(200, 1, 4, 4)
    assert module.tiled(net, 100)(x, torch.ones(200)).shape == x.shape
    assert net.seen == [100, 100]
    assert net.times == [1, 1], "one time for all images of a tile"


@pytest.mark.parametrize("batch", [None, 200])
def test_the_first_outputs_can_be_shared(batch: int | None) -> None:
    """Samplers and numbers of steps start from one x_T: what the network says of it, given, changes no byte."""
    torch.manual_seed(0)
    net = make_net("unet", 1, 28).eval()
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    first = torch.cat(list(module.first_outputs(net, shape=(1, 28), n=250, seed=5, device=torch.device("cpu"))))
    assert len(first) == 300
    for options in (
        {"sampler": "ancestral", "sample_steps": 3},
        {"sampler": "ddim", "sample_steps": 2, "eta": 0.0},
        {"sample_steps": 1},
    ):
        alone = draw(net, 230, batch, sample_seed=5, **options)
        assert torch.equal(draw(net, 230, batch, sample_seed=5, first=first, **options), alone)
    counting = Counting()
    draw(counting, 230, batch, sample_steps=3, first=first)
    assert len(counting.seen) == 3 * 2
