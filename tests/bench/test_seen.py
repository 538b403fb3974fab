"""What judges and views see, each by its own equations, on a few small images."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, gelu, nll_loss, pad, unfold

from bench.images.damage import blurred, noisy
from bench.images.datasets import to_float
from bench.score import learning, mixer, texture, turns, views
from bench.score.learning import Fitted, JudgeNetwork, Step, fit, scale, shift
from bench.score.mixer import Mixer
from bench.score.texture import BLUR, KINDS, NOISE, Texture, damaged
from bench.score.together import Together
from bench.score.turns import Turns, turned
from tests.small import pictures


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, check_stride=False)


# views: no network


def test_pixels_are_shares() -> None:
    images = pictures(channels=2)
    found = views.pixels(images)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), images.numpy().reshape(6, -1) / 255.0)
    basis = torch.randn(2 * 64, 3, generator=generator())
    assert views.projected(images, basis).dtype == torch.float64
    np.testing.assert_allclose(views.projected(images, basis).numpy(), found.numpy() @ basis.double().numpy())


@pytest.mark.parametrize("channels", [1, 2])
def test_principal_components_are_those_of_an_svd(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In falling order, each with its largest entry positive; of images that come in several parts."""
    monkeypatch.setattr(views, "COMPONENTS", 5)
    random = torch.Generator().manual_seed(1)
    d = channels * 16
    strong = torch.linspace(1, 40, d)
    images = (128 + torch.randn(5003, d, generator=random) * strong).clamp(0, 255).byte().view(-1, channels, 4, 4)
    basis = views.principal(images)
    assert basis.shape == (d, 5)
    assert basis.dtype == torch.float32
    assert basis.is_contiguous()
    x = images.numpy().reshape(len(images), -1) / 255.0
    expected = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:5].T
    expected = expected * np.sign(expected[np.abs(expected).argmax(0), np.arange(5)])
    np.testing.assert_allclose(basis.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("side", [6, 7])
def test_the_spectrum_ring_by_ring(side: int) -> None:
    """The mean power of all frequencies that round to one radius, over channels too; the mean is left out."""
    images = pictures(4, 2, side)
    found = views.spectrum(images, torch.zeros(0))
    last = math.ceil(side / 2)
    frequency = [k if k < (side + 1) // 2 else k - side for k in range(side)]
    assert found.shape == (4, last)
    for i, image in enumerate(images.numpy() / 255.0):
        total, count = np.zeros(last + 1), np.zeros(last + 1)
        for channel in image:
            amplitude = np.fft.fft2(channel)
            for a, fa in enumerate(frequency):
                for b, fb in enumerate(frequency):
                    ring = min(round(math.hypot(fa, fb)), last)
                    total[ring] += abs(amplitude[a, b]) ** 2 / side**2 / 2
                    count[ring] += 0.5
        np.testing.assert_allclose(found[i].numpy(), np.log10(total[1:] / count[1:] + 1e-3), rtol=1e-9)


def test_a_view_that_fits_nothing() -> None:
    assert views.nothing(pictures()).numel() == 0


# networks


def test_together_adds_squared_distances() -> None:
    first, second = Texture(), Mixer(side=8)
    whole = Together([(first, 4.0), (second, 0.25)]).eval()
    images = pictures()
    with torch.inference_mode():
        features, logits = whole(images)
        (a, own), (b, _) = first(images), second(images)
    assert whole.parts == (224, 128)
    assert whole.features == 352
    assert whole.classes == 10
    close(logits, own)
    close(features, torch.cat([2 * a, b / 2], 1))
    apart = whole.apart(features)
    close(apart[0], a)
    close(apart[1], b)
    squared = torch.pdist(features).square()
    close(squared, 4 * torch.pdist(a).square() + 0.25 * torch.pdist(b).square())
    few = Together([(Turns(), 1.0), (second, 1.0)])
    assert few.classes == 0


def seen_by_texture(net: Texture, images: Tensor) -> Tensor:
    x = to_float(images)
    found = []
    for layer, stride, wide in (
        (net.first, 1, True),
        (net.second, 2, True),
        (net.third, 2, False),
        (net.fourth, 1, False),
    ):
        x = conv2d(x, layer.weight, layer.bias, stride=stride, padding=1).clamp(min=0)
        flat = x.flatten(2)
        found.append(flat.mean(2))
        if wide:
            found.append((flat.square().mean(2) - flat.mean(2).square() + 1e-6).sqrt())
    return torch.cat(found, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_texture_sees(channels: int) -> None:
    torch.manual_seed(0)
    net = Texture(channels, 7)
    assert net.parts == (32, 64, 64, 64)
    assert net.features == 224
    assert net.classes == 7
    assert (net.scale == 1).all()
    assert net.first.weight.is_contiguous(memory_format=torch.channels_last) or channels == 1
    assert [tuple(p.shape) for p in (net.digit.weight, net.kind.weight)] == [(7, 64), (KINDS, 224)]
    images = pictures(channels=channels)
    expected = seen_by_texture(net, images)
    torch.testing.assert_close(net.seen(images), expected, rtol=1e-4, atol=1e-4)
    net.scale.copy_(torch.linspace(0.5, 2, 224))
    features, logits = net(images)
    torch.testing.assert_close(features, expected * net.scale, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(logits, net.digit(expected[:, -64:]), rtol=1e-4, atol=1e-4)
    assert Texture().classes == 10
    assert Texture().first.weight.shape == (16, 1, 3, 3)
    shapes = [tuple(conv.weight.shape) for conv in (net.first, net.second, net.third, net.fourth)]
    assert shapes == [(16, channels, 3, 3), (32, 16, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3)]


def test_half_is_damaged_and_said_to_be() -> None:
    """Each image by its kind alone: 0 for none, then noise by level, then blur by level."""
    images = pictures(400)
    out, kinds = damaged(images, generator(3))
    again = damaged(images, generator(3))
    assert torch.equal(out, again[0])
    assert torch.equal(kinds, again[1])
    assert torch.equal(out[kinds == 0], images[kinds == 0])
    assert abs(float((kinds == 0).double().mean()) - 0.5) < 0.1
    assert sorted(set(kinds.tolist())) == list(range(1 + len(NOISE) + len(BLUR)))
    random = generator(3)
    drawn = torch.randint(1, KINDS, (400,), generator=random) * (torch.rand(400, generator=random) < 0.5)
    assert torch.equal(kinds, drawn)
    for i, level in enumerate(NOISE, 1):
        assert torch.equal(out[kinds == i], noisy(images[kinds == i], level, random))
    for i, level in enumerate(BLUR, 1 + len(NOISE)):
        assert torch.equal(out[kinds == i], blurred(images[kinds == i], level))
    assert torch.equal(images, pictures(400)), "the images themselves stay"


def test_the_loss_of_texture() -> None:
    """Cross-entropy of the digit and of the damage, of images that are shifted and damaged."""
    torch.manual_seed(0)
    net, images, labels = Texture(), pictures(20), torch.arange(20) % 10
    random = generator(5)
    shown, kinds = damaged(shift(images, random), random)
    seen = net.seen(shown)
    expected = nll_loss(net.digit(seen[:, -64:]).log_softmax(1), labels)
    expected = expected + nll_loss(net.kind(seen).log_softmax(1), kinds)
    close(texture.loss(net, images, labels, generator(5)), expected)


def test_turns_sees_no_classes() -> None:
    torch.manual_seed(0)
    net, images = Turns(), pictures()
    features, logits = net(images)
    assert logits.shape == (6, 0)
    assert net.classes == 0
    assert net.digit.weight.shape == (4, 64)
    torch.testing.assert_close(features, seen_by_texture(net, images), rtol=1e-4, atol=1e-4)
    assert Turns(3).first.weight.shape == (16, 3, 3, 3)


def test_images_are_turned_as_said() -> None:
    images = pictures(80, 2)
    out, quarters = turned(images, generator(2))
    assert sorted(set(quarters.tolist())) == [0, 1, 2, 3]
    assert torch.equal(quarters, torch.randint(4, (80,), generator=generator(2)))
    for image, after, quarter in zip(images, out, quarters, strict=True):
        assert torch.equal(after, torch.rot90(image, int(quarter), (1, 2)))
    assert torch.equal(images, pictures(80, 2))


def test_the_loss_of_turns() -> None:
    torch.manual_seed(0)
    net, images, random = Turns(), pictures(20), generator(5)
    upright, quarters = turned(images, random)
    shown, kinds = damaged(shift(upright, random), random)
    seen = net.seen(shown)
    expected = nll_loss(net.digit(seen[:, -64:]).log_softmax(1), quarters)
    expected = expected + nll_loss(net.kind(seen).log_softmax(1), kinds)
    close(turns.loss(net, images, torch.zeros(0), generator(5)), expected)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return x * norm.weight + norm.bias


def test_what_the_mixer_sees() -> None:
    """Patches become tokens; tokens are mixed in each channel, then channels in each token."""
    torch.manual_seed(0)
    net = Mixer(3, 7, side=8)
    for p in net.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    images = pictures(channels=3)
    x = unfold(to_float(images), 4, stride=4).transpose(1, 2) @ net.patches.weight.flatten(1).T + net.patches.bias
    assert x.shape == (6, 4, 64)
    found = []
    for block in net.blocks:
        first, _, last = block.tokens
        hidden = gelu(normed(x, block.first).transpose(1, 2) @ first.weight.T + first.bias)
        x = x + (hidden @ last.weight.T + last.bias).transpose(1, 2)
        first, _, last = block.channels
        x = x + gelu(normed(x, block.second) @ first.weight.T + first.bias) @ last.weight.T + last.bias
        found.append(x)
    assert len(found) == 3
    ended = normed(x, net.last).mean(1)
    features, logits = net.seen(images)
    torch.testing.assert_close(features, torch.cat([found[0].mean(1), ended], 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, ended @ net.digit.weight.T + net.digit.bias, rtol=1e-4, atol=1e-4)
    assert (net.scale == 1).all()
    net.scale.copy_(torch.linspace(0.5, 2, 128))
    close(net(images)[0], features * net.scale)
    close(net(images)[1], logits)
    assert net.classes == 7
    plain = Mixer()
    assert plain.classes == 10
    assert plain.patches.weight.shape == (64, 1, 4, 4)
    assert plain.blocks[0].tokens[0].weight.shape == (64, 49)
    assert plain.blocks[0].channels[0].weight.shape == (128, 64)


def test_the_loss_of_the_mixer() -> None:
    torch.manual_seed(0)
    net, images, labels = Mixer(side=8), pictures(), torch.arange(6)
    log_p = net(images)[1].log_softmax(1)
    expected = -(0.95 * log_p.gather(1, labels[:, None])[:, 0] + 0.05 * log_p.mean(1)).mean()
    close(mixer.loss(net, images, labels, generator()), expected)


# how judges are trained


@pytest.mark.parametrize("by", [1, 2])
def test_images_are_shifted_each_by_its_own(by: int) -> None:
    images = pictures(60, 2)
    out = shift(images, generator(4), by)
    drawn = torch.randint(0, 2 * by + 1, (2, 60), generator=generator(4))
    assert out.dtype == torch.uint8
    for image, after, (down, right) in zip(images, out, drawn.T.tolist(), strict=True):
        padded = pad(image, (by, by, by, by))
        assert torch.equal(after, padded[:, down : down + 8, right : right + 8])
    if by == 2:
        assert torch.equal(out, shift(images, generator(4)))


class Plain(JudgeNetwork):
    """Two parts of features, linear in the pixels."""

    parts = (2, 3)

    def __init__(self) -> None:
        super().__init__()
        self.see, self.head = nn.Linear(64, 5), nn.Linear(5, 4)
        self.register_buffer("scale", torch.full((5,), 7.0))
        self.scale: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 1, 8, 8) → features (B, 5), logits (B, 4)."""
        seen = self.see(images.flatten(1).float() / 255)
        return seen * self.scale, self.head(seen)


def test_each_part_is_scaled_to_a_mean_square_of_1() -> None:
    torch.manual_seed(0)
    net, images = Plain(), pictures(530)
    scale(net, images, "cpu")
    with torch.inference_mode():
        for part in net(images)[0].split([2, 3], 1):
            assert float(part.square().mean()) == pytest.approx(1, abs=1e-5)
    assert len(set(net.scale.tolist())) == 2
    assert not net.scale.requires_grad


def told(network: JudgeNetwork, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
    """A loss that draws."""
    noise = torch.randint(0, 9, images.shape, generator=random, dtype=torch.uint8)
    return cross_entropy(network((images // 2) + noise)[1], labels)


def test_training_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled batches, AdamW, one cycle of the rate, and an exponential average; each epoch's mean loss is told."""
    monkeypatch.setattr(learning, "TELL_S", math.inf)
    torch.manual_seed(0)
    net = Plain()
    own, average = copy.deepcopy(net), copy.deepcopy(net)
    images, labels = pictures(23), torch.arange(23) % 4
    found = list(fit(net, images, labels, told, epochs=2, seed=6, rate=0.01, batch=5, decay=0.9))
    random = generator(6)
    optimiser = torch.optim.AdamW(own.parameters(), weight_decay=0.01, fused=True)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, 8, pct_start=0.2)
    losses = []
    for _ in range(2):
        order = torch.randperm(23, generator=random)[:20]
        total = 0.0
        for index in order.split(5):
            loss = told(own, images[index], labels[index], random)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
            total += float(loss.detach())
            for kept, now in zip(average.parameters(), own.parameters(), strict=True):
                kept.data.mul_(0.9).add_(0.1 * now.data)
        losses.append(total / 4)
    assert [(event.epoch, type(event)) for event in found] == [(1, Fitted), (2, Fitted)]
    assert [event.loss for event in found if isinstance(event, Fitted)] == pytest.approx(losses)
    last = found[-1]
    assert isinstance(last, Fitted)
    assert not last.network.training
    for a, b in zip(last.network.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(a, b.data, rtol=1e-5, atol=1e-6)
        assert not a.requires_grad
    for a, b in zip(net.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_how_judges_are_trained_unless_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "TELL_S", math.inf)
    found = []
    for said in ({}, {"rate": 2e-3, "batch": 128, "decay": 0.998}):
        torch.manual_seed(0)
        *_, done = fit(Plain(), pictures(257), torch.arange(257) % 4, told, epochs=2, seed=6, **said)
        assert isinstance(done, Fitted)
        found.append(done)
    assert found[0].loss == found[1].loss
    assert all(torch.equal(a, b) for a, b in zip(*(one.network.parameters() for one in found), strict=True))


def test_images_are_shifted_where_they_are() -> None:
    """On a device that holds no numbers, whatever is made elsewhere is an error."""
    assert shift(pictures(3).to("meta"), generator()).shape == (3, 1, 8, 8)


def test_steps_that_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default batch, or all images where there are fewer; what buffers hold is kept as it is at the end."""
    monkeypatch.setattr(learning, "TELL_S", -1.0)
    images, labels = pictures(257), torch.arange(257) % 4
    found = list(fit(Plain(), images, labels, told, epochs=2, seed=0))
    assert found[0] == Step(1, 2, 0.5)
    assert found[1] == Step(1, 2, 1.0)
    assert [type(event) for event in found] == [Step, Step, Fitted] * 2
    net = Plain()
    (step, done) = fit(net, images[:20], labels[:20], told, epochs=1, seed=0)
    assert step == Step(1, 1, 1.0)
    assert isinstance(done, Fitted)
    net.scale.fill_(3)
    assert (done.network.scale == 7).all()


def test_time_between_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second, from the last that was told of."""
    clock = iter(0.5 * i for i in range(1000))
    now = [0.0]

    def monotonic() -> float:
        return now[0]

    def slow(network: JudgeNetwork, images: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        now[0] = next(clock)
        return told(network, images, labels, random)

    monkeypatch.setattr(learning.time, "monotonic", monotonic)
    found = list(fit(Plain(), pictures(60), torch.arange(60) % 4, slow, epochs=1, seed=0, batch=5))
    assert [round(event.share * 12) for event in found if isinstance(event, Step)] == [4, 7, 10]


def test_what_a_judge_has() -> None:
    assert Plain().features == 5
    assert JudgeNetwork.classes == 10
