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
from bench.job.generate import BLOCK, STRIP_IMAGES, STRIP_TIMES, TILE, generate, noise, start_noise
from bench.score.heldout import HeldOut
from bench.study.model import Sampling
from ddpm.base import MixtureBase
from ddpm.denoiser import Denoiser
from ddpm.likelihood import Bound
from ddpm.nets import NETS, make_net
from ddpm.sampler import SAMPLERS, make_sampler
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


class Seeing(nn.Module):
    """Predicts v = 0 and remembers the states that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), (B,) → zeros."""
        self.seen.append(x.clone())
        return torch.zeros_like(x)


def two_places() -> MixtureBase:
    """A base of two far-off components, the first with a quarter of the images; about them it is N(0, 1)."""
    base = MixtureBase(784, 2, 3, 10)
    base.centres.copy_(torch.tensor([[50.0, 0, 0], [-50.0, 0, 0]]))
    base.log_shares.copy_(torch.tensor([0.25, 0.75]).log())
    return base


def begun(base: MixtureBase, n: int, batch: int | None = None, **changes: Any) -> tuple[Tensor, Tensor]:
    """The first states of ``n`` images and the images themselves."""
    net, own = Seeing(), {"sample_steps": 1, "start": 0.5, "spacing": "trailing", "clip": False} | changes
    batches = generate(net, SCHEDULE, "v", way(**own), n=n, shape=(1, 28), device=CPU, batch=batch, base=base)
    images = torch.cat([one.images for one in batches])
    return torch.cat(net.seen)[:n], images


def test_sampling_begins_at_images_of_the_base() -> None:
    """x_t = α x₀ + σ ε: both components as often as they should be, x₀ of theirs, and ε that of any other sampling."""
    base, alpha, sigma = two_places(), SCHEDULE.alpha[10].float(), SCHEDULE.sigma[10].float()
    x, _ = begun(base, 2000)
    eps = torch.cat([start_noise(0, start, 100, (1, 28)) for start in range(0, 2000, 100)])
    x0 = ((x - sigma * eps) / alpha).flatten(1)
    first = x0[:, 0] > 0
    assert abs(float(first.float().mean()) - 0.25) < 4 * (0.25 * 0.75 / 2000) ** 0.5
    own = x0 - torch.where(first[:, None], base.centres[0, 0], base.centres[1, 0]) * torch.eye(784)[0]
    assert stats.kstest(own.flatten()[::50].numpy(), "norm").pvalue > 1e-3
    correlation = torch.corrcoef(torch.stack([own.flatten(), eps.flatten()]))[0, 1]
    assert abs(float(correlation)) < 4 / own.numel() ** 0.5


def test_what_begins_at_a_base_depends_on_seed_and_index_alone() -> None:
    base = two_places()
    whole, images = begun(base, 230)
    for batch in (7, 100, 200, 1000):
        again, same = begun(base, 230, batch)
        assert torch.equal(again, whole)
        assert torch.equal(same, images)
    assert torch.equal(begun(base, 40)[1], images[:40])
    assert not torch.equal(begun(base, 40, sample_seed=1)[0], whole[:40])


def test_the_noise_at_the_beginning_is_that_of_the_first_step() -> None:
    """`leading` visits no step as late as the start: x has the noise of the step that it does visit."""
    base = two_places()
    x, _ = begun(base, 100, spacing="leading")
    eps = start_noise(0, 0, 100, (1, 28))
    late, _ = begun(base, 100)
    x0 = (late - SCHEDULE.sigma[10].float() * eps) / SCHEDULE.alpha[10].float()
    torch.testing.assert_close(x, SCHEDULE.alpha[1].float() * x0 + SCHEDULE.sigma[1].float() * eps, rtol=0, atol=1e-3)


def test_a_start_is_not_ignored_where_there_is_no_base() -> None:
    with pytest.raises(ValueError, match="a start is a sample of a base, and there is none"):
        draw(Seeing(), 20, start=0.5)


def test_outputs_for_noise_are_not_used_where_sampling_starts_elsewhere() -> None:
    """Even where its first step is T, as rounding may have it."""
    first = torch.full((100, 1, 28, 28), 9.0)
    own = way(sample_steps=2, start=0.99, spacing="trailing")
    net = Seeing()
    list(generate(net, SCHEDULE, "v", own, n=20, shape=(1, 28), device=CPU, first=first, base=two_places()))
    assert len(net.seen) == 2


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
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not make_sampler(name).jumps])
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
