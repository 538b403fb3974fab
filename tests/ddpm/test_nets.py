"""Networks: ScoreNet is the seed's to the last parameter, the U-Net is well formed, and both work image by image."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.nets import NETS, make_net
from ddpm.nets.attention import attend
from ddpm.nets.scorenet import ScoreNet, ShiftedGroupNorm
from ddpm.nets.unet import UNet

SHAPES = [(1, 28), (3, 32)]

SCORENET = {
    "embed.0.W": (128,),
    "embed.1.weight": (256, 256),
    "embed.1.bias": (256,),
    "encoder.0.conv.weight": (32, 1, 3, 3),
    "encoder.0.time.weight": (32, 256),
    "encoder.0.time.bias": (32,),
    "encoder.0.norm.weight": (32,),
    "encoder.0.norm.bias": (32,),
    "encoder.1.conv.weight": (64, 32, 3, 3),
    "encoder.1.time.weight": (64, 256),
    "encoder.1.time.bias": (64,),
    "encoder.1.norm.weight": (64,),
    "encoder.1.norm.bias": (64,),
    "encoder.2.conv.weight": (128, 64, 3, 3),
    "encoder.2.time.weight": (128, 256),
    "encoder.2.time.bias": (128,),
    "encoder.2.norm.weight": (128,),
    "encoder.2.norm.bias": (128,),
    "encoder.3.conv.weight": (256, 128, 3, 3),
    "encoder.3.time.weight": (256, 256),
    "encoder.3.time.bias": (256,),
    "encoder.3.norm.weight": (256,),
    "encoder.3.norm.bias": (256,),
    "decoder.0.conv.weight": (256, 128, 3, 3),
    "decoder.0.time.weight": (128, 256),
    "decoder.0.time.bias": (128,),
    "decoder.0.norm.weight": (128,),
    "decoder.0.norm.bias": (128,),
    "decoder.1.conv.weight": (256, 64, 3, 3),
    "decoder.1.time.weight": (64, 256),
    "decoder.1.time.bias": (64,),
    "decoder.1.norm.weight": (64,),
    "decoder.1.norm.bias": (64,),
    "decoder.2.conv.weight": (128, 32, 3, 3),
    "decoder.2.time.weight": (32, 256),
    "decoder.2.time.bias": (32,),
    "decoder.2.norm.weight": (32,),
    "decoder.2.norm.bias": (32,),
    "out.weight": (64, 1, 3, 3),
    "out.bias": (1,),
}
"""Every tensor of a saved ScoreNet. Checkpoints depend on these names: changing one is a breaking change."""

WITHOUT_EFFECT = {"scorenet": {"decoder.2.time.weight", "decoder.2.time.bias"}}
"""In the tutorial's own design the last level has 32 groups for 32 channels, and normalising each channel over its
pixels takes away the constant that the time projection added to them."""


REFUSED = {("scorenet", 3, 32)}
"""What a network does not take; everything else must work."""


@pytest.fixture(params=[(n, *shape) for n in NETS for shape in SHAPES if (n, *shape) not in REFUSED], ids=str)
def shaped(request: pytest.FixtureRequest) -> tuple[str, nn.Module, int, int]:
    """Each network for each image shape it takes, no weight left at its initial zero."""
    name, channels, side = request.param
    return name, randomised(name, channels, side), channels, side


def randomised(name: str, channels: int, side: int) -> nn.Module:
    """A network whose layers that start at zero do not."""
    torch.manual_seed(0)
    net = make_net(name, channels, side)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def inputs(channels: int, side: int, batch: int = 3) -> tuple[Tensor, Tensor]:
    """A batch of x_t and of t/T."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, side, side, generator=generator), torch.linspace(0.1, 1, batch)


@pytest.mark.parametrize(("name", "channels", "side"), sorted(REFUSED))
def test_what_is_not_taken_is_refused(name: str, channels: int, side: int) -> None:
    with pytest.raises(ValueError, match=str(side)):
        make_net(name, channels, side)


def test_output_is_shaped_like_the_input(shaped: tuple[str, nn.Module, int, int]) -> None:
    """Same shape, same type, finite."""
    _, net, channels, side = shaped
    x, u = inputs(channels, side)
    out = net(x, u)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.isfinite().all()


def test_gradient_reaches_every_parameter(shaped: tuple[str, nn.Module, int, int]) -> None:
    """No layer is left out of the graph."""
    name, net, channels, side = shaped
    x, u = inputs(channels, side)
    net(x, u).square().sum().backward()
    size = {
        n: 0.0 if p.grad is None else float(p.grad.abs().max()) for n, p in net.named_parameters() if p.requires_grad
    }
    largest = max(size.values())
    assert {n for n, g in size.items() if g <= 1e-5 * largest} == WITHOUT_EFFECT.get(name, set())


def test_images_do_not_see_one_another(shaped: tuple[str, nn.Module, int, int]) -> None:
    """An image's output does not depend on its batch, so samples do not depend on the batch size."""
    _, net, channels, side = shaped
    x, u = inputs(channels, side)
    with torch.no_grad():
        assert_close(net(x[1:2], u[1:2]), net(x, u)[1:2], rtol=1e-4, atol=1e-4)


def test_time_matters(shaped: tuple[str, nn.Module, int, int]) -> None:
    """Neighbouring steps of a thousand are told apart, and so are far ones."""
    _, net, channels, side = shaped
    x, _ = inputs(channels, side, batch=1)
    with torch.no_grad():
        near, here, far = (net(x, torch.tensor([u])) for u in (0.501, 0.5, 0.9))
    assert float((here - far).abs().max()) > 1e-3
    assert float((here - near).abs().max()) > 1e-5


def test_works_on_the_meta_device(shaped: tuple[str, nn.Module, int, int]) -> None:
    """Built and run without memory, as a plan that only counts parameters does."""
    name, net, channels, side = shaped
    with torch.device("meta"):
        ghost = make_net(name, channels, side)
        out = ghost(torch.empty(2, channels, side, side), torch.empty(2))
    assert out.device.type == "meta"
    assert out.shape == (2, channels, side, side)
    assert [p.shape for p in ghost.parameters()] == [p.shape for p in net.parameters()]


def test_state_dict_round_trips(shaped: tuple[str, nn.Module, int, int]) -> None:
    """The saved tensors are the whole function: nothing that matters lives outside them."""
    name, net, channels, side = shaped
    torch.manual_seed(99)
    other = make_net(name, channels, side)
    other.load_state_dict(net.state_dict())
    x, u = inputs(channels, side)
    with torch.no_grad():
        assert torch.equal(other(x, u), net(x, u))


def test_attention_is_worked_out_in_float32_under_bfloat16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's bfloat16 kernel is slow on the way back."""
    seen = []
    attend = nn.functional.scaled_dot_product_attention

    def record(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen.append((q.dtype, k.dtype, v.dtype))
        return attend(q, k, v)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", record)
    net = UNet()
    with torch.autocast("cpu", torch.bfloat16):
        net(*inputs(1, 28)).square().mean().backward()
    assert seen == [(torch.float32,) * 3]


def test_attention_under_bfloat16_is_that_of_float32() -> None:
    """To the bit: nothing of it is cast back before it is done."""
    qkv = torch.randn(3, 2, 4, 9, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = attend(qkv.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(qkv)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_scorenet_parameters() -> None:
    """1,115,425, all trained but the 128 frequencies."""
    net = ScoreNet()
    assert sum(p.numel() for p in net.parameters()) == 1_115_425
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 1_115_297
    assert {n for n, p in net.named_parameters() if not p.requires_grad} == {"embed.0.W"}


def test_scorenet_state_dict() -> None:
    """Every tensor's name and shape, in order."""
    assert {name: tuple(value.shape) for name, value in ScoreNet().state_dict().items()} == SCORENET
    assert list(ScoreNet().state_dict()) == list(SCORENET)


def test_scorenet_layers() -> None:
    """Strides, padding, groups: what shapes do not tell."""
    net = ScoreNet()
    levels = [*net.encoder, *net.decoder]
    assert [level.conv.stride for level in levels] == [(s, s) for s in (1, 2, 2, 2, 2, 2, 2)]
    assert [level.conv.padding for level in levels] == [(0, 0)] * 7
    assert [level.conv.bias for level in levels] == [None] * 7
    assert [level.norm.num_groups for level in levels] == [4, 32, 32, 32, 32, 32, 32]
    assert [level.conv.output_padding for level in net.decoder] == [(0, 0), (1, 1), (1, 1)]
    assert [type(level.conv) for level in levels] == [nn.Conv2d] * 4 + [nn.ConvTranspose2d] * 3
    assert net.out.stride == (1, 1)
    assert net.out.bias is not None


def test_scorenet_sides() -> None:
    """28 → 26 → 12 → 5 → 2 on the way down and back up to 28."""
    net = ScoreNet()
    sides: list[int] = []
    for level in [*net.encoder, *net.decoder]:
        level.register_forward_hook(lambda module, args, out: sides.append(out.shape[-1]))
    out = net(*inputs(1, 28))
    assert sides == [26, 12, 5, 2, 5, 12, 26]
    assert out.shape[-1] == 28


def test_scorenet_size() -> None:
    """The seed's '4.3 MB for one ScoreNet'."""
    assert 4.25 <= len(save({k: v.contiguous() for k, v in ScoreNet().state_dict().items()})) / 2**20 <= 4.27


def test_scorenet_last_layer_is_the_transposed_convolution() -> None:
    """The faster form of the last layer is ``self.out`` to float32 rounding."""
    torch.manual_seed(0)
    net = ScoreNet()
    x = torch.randn(4, 64, 26, 26)
    with torch.no_grad():
        assert_close(net._out(*x.chunk(2, 1)), net.out(x), rtol=1e-5, atol=1e-5)
        net.double()
        assert_close(net._out(*x.double().chunk(2, 1)), net.out(x.double()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_shifted_group_norm_is_group_norm_of_the_sum(groups: int) -> None:
    """And so are its derivatives (PyTorch's own layer, and finite differences, in float64)."""
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last) * 3 + 7
    shift, weight, bias = (torch.randn(*size, dtype=torch.float64) for size in ((3, 6), (6,), (6,)))
    inputs = [value.requires_grad_() for value in (x, shift, weight, bias)]

    def ours(*given: Tensor) -> Tensor:
        return ShiftedGroupNorm.apply(*given, groups, 1e-5)  # type: ignore[no-any-return]

    expected = nn.functional.group_norm(x + shift[:, :, None, None], groups, weight, bias, 1e-5)
    assert_close(ours(*inputs), expected, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(expected)
    for found, right in zip(
        torch.autograd.grad(ours(*inputs), inputs, probe), torch.autograd.grad(expected, inputs, probe), strict=True
    ):
        assert_close(found, right, rtol=1e-10, atol=1e-10)
    assert torch.autograd.gradcheck(ours, inputs)


def test_scorenet_is_the_same_without_its_own_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What devices other than the CPU compute, and the CPU."""
    torch.manual_seed(0)
    net = ScoreNet().double()
    x, u = torch.randn(4, 1, 28, 28, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    ours = net(x, u)
    monkeypatch.setattr(Tensor, "is_cpu", False)
    assert_close(net(x, u), ours, rtol=1e-11, atol=1e-11)


def test_scorenet_against_its_equations() -> None:
    """The forward pass written out from the tutorial's description, with swish as x·sigmoid(x), in float64."""
    torch.manual_seed(0)
    net = ScoreNet().double()
    w = net.state_dict()
    x, u = (k.double() for k in inputs(1, 28))
    f = torch.nn.functional

    def swish(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h)

    angle = 2 * torch.pi * u[:, None] * w["embed.0.W"][None]
    embedding = swish(torch.cat([torch.sin(angle), torch.cos(angle)], -1) @ w["embed.1.weight"].T + w["embed.1.bias"])

    def level(name: str, h: Tensor, groups: int) -> Tensor:
        time = embedding @ w[f"{name}.time.weight"].T + w[f"{name}.time.bias"]
        h = f.group_norm(h + time[..., None, None], groups, w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
        return swish(h)

    h1 = level("encoder.0", f.conv2d(x, w["encoder.0.conv.weight"]), 4)
    h2 = level("encoder.1", f.conv2d(h1, w["encoder.1.conv.weight"], stride=2), 32)
    h3 = level("encoder.2", f.conv2d(h2, w["encoder.2.conv.weight"], stride=2), 32)
    h4 = level("encoder.3", f.conv2d(h3, w["encoder.3.conv.weight"], stride=2), 32)
    h = level("decoder.0", f.conv_transpose2d(h4, w["decoder.0.conv.weight"], stride=2), 32)
    h = f.conv_transpose2d(torch.cat([h, h3], 1), w["decoder.1.conv.weight"], stride=2, output_padding=1)
    h = level("decoder.1", h, 32)
    h = f.conv_transpose2d(torch.cat([h, h2], 1), w["decoder.2.conv.weight"], stride=2, output_padding=1)
    h = level("decoder.2", h, 32)
    expected = f.conv_transpose2d(torch.cat([h, h1], 1), w["out.weight"], w["out.bias"])
    with torch.no_grad():
        assert_close(net(x, u), expected, rtol=1e-9, atol=1e-9)


def test_silu_is_swish() -> None:
    """x·sigmoid(x), the seed's activation."""
    x = torch.linspace(-20, 20, 1001)
    assert_close(nn.functional.silu(x), x * torch.sigmoid(x), rtol=1e-6, atol=1e-6)


def test_scorenet_frequencies() -> None:
    """128 frequencies ~ N(0, 30²): their mean square within four standard errors."""
    torch.manual_seed(0)
    squares = torch.cat([ScoreNet().embed[0].W for _ in range(20)]).square()
    assert float(squares.mean()) == pytest.approx(900, rel=4 * (2 / 2560) ** 0.5)


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 32), (3, 28)])
def test_scorenet_refuses_other_shapes(channels: int, side: int) -> None:
    """Its decoder mirrors 28 only."""
    with pytest.raises(ValueError, match=f"'scorenet' .*{channels}×{side}×{side}"):
        make_net("scorenet", channels, side)


@pytest.mark.parametrize("side", [26, 27, 30])
def test_unet_refuses_sides_it_cannot_halve_twice(side: int) -> None:
    """A multiple of 4 is folded once and halved once."""
    with pytest.raises(ValueError, match=f"multiple of 4, not {side}"):
        make_net("unet", 1, side)


def unet_by_its_equations(w: dict[str, Tensor], x: Tensor, t: Tensor, s: Tensor, y: Tensor | None) -> Tensor:
    """The forward pass written out, from the weights alone."""
    f = nn.functional

    def count(of: str) -> int:
        return len({name.split(".")[1] for name in w if name.startswith(f"{of}.")})

    def swish(h: Tensor) -> Tensor:
        return h * torch.sigmoid(h)

    def waves(time: Tensor, most: float) -> Tensor:
        of = torch.logspace(0, most, 32).double()  # the frequencies are float32 numbers
        angle = time[:, None] * of * torch.pi / 2
        return torch.cat([torch.sin(angle), torch.cos(angle)], 1)

    def linear(name: str, h: Tensor) -> Tensor:
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, h: Tensor) -> Tensor:
        return f.group_norm(h, 8, w[f"{name}.weight"], w[f"{name}.bias"])

    def conv(name: str, h: Tensor, **how: int) -> Tensor:
        return f.conv2d(h, w[f"{name}.weight"], w[f"{name}.bias"], **how)

    most = 1 if "second.weight" in w else 3
    told = swish(linear("embed.2", swish(linear("embed.0", waves(t, most)))))
    if "second.weight" in w:
        told = told + linear("second", waves(t - s, most))
    if "classes.weight" in w:
        told = told + (w["classes.weight"][y] if y is not None else w["classes.weight"][-1:])

    def block(name: str, h: Tensor) -> Tensor:
        inner = conv(f"{name}.conv1", swish(norm(f"{name}.norm1", h)), padding=1)
        inner = inner + linear(f"{name}.time", told)[..., None, None]
        outer = conv(f"{name}.conv2", swish(norm(f"{name}.norm2", inner)), padding=1)
        return outer + (conv(f"{name}.skip", h) if f"{name}.skip.weight" in w else h)

    def attention(h: Tensor) -> Tensor:
        tokens = norm("attention.norm", h).flatten(2).transpose(1, 2)
        q, k, v = linear("attention.qkv", tokens).chunk(3, -1)
        heads = []
        for at in torch.arange(h.shape[1]).chunk(max(1, h.shape[1] // 32)):
            score = q[..., at] @ k[..., at].transpose(1, 2) / len(at) ** 0.5
            heads.append(score.softmax(-1) @ v[..., at])
        return h + linear("attention.out", torch.cat(heads, -1)).transpose(1, 2).reshape(h.shape)

    h, skips = conv("first", f.pixel_unshuffle(x, 2), padding=1), []
    for i in range(count("encoder")):
        h = block(f"encoder.{i}", h)
        skips.append(h)
    h = conv("down", h, stride=2, padding=1)
    for i in range(count("middle")):
        h = block(f"middle.{i}", h)
        h = attention(h) if i == 0 else h
    h = f.conv_transpose2d(h, w["up.weight"], w["up.bias"], stride=2)
    for i in range(count("decoder")):
        h = block(f"decoder.{i}", torch.cat([h, skips[-1 - i]], 1))
    return f.pixel_shuffle(conv("last", swish(norm("norm", h)), padding=1), 2)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "width=8,inner=96,blocks=1,middle=3,classes=3,variance=true",
        "width=16,inner=8,middle=1,classes=2,second_time=true",
    ],
)
def test_unet_against_its_equations(options: str) -> None:
    net = randomised(f"unet({options})" if options else "unet", 1, 28).double()
    w = net.state_dict()
    x, t = (part.double() for part in inputs(1, 28))
    s = t * torch.tensor([0.0, 0.5, 1.0]).double() if "second" in options else t
    u = torch.stack([t, s], 1) if "second" in options else t
    with torch.no_grad():
        for y in (None, *([torch.tensor([0, 2, 1])] if "classes" in options else [])):
            expected = unet_by_its_equations(w, x, t, s, y)
            assert_close(net(x, u, *([] if y is None else [y])), expected, rtol=1e-9, atol=1e-9)


def test_unet_layers() -> None:
    """By their numbers of weights: the defaults, and what each option adds."""
    width, inner, embed = 32, 64, 128

    def block(i: int, o: int) -> int:
        return 2 * i + (9 * i + 1) * o + (embed + 1) * o + 2 * o + (9 * o + 1) * o + (i != o) * (i + 1) * o

    times = (64 + 1) * embed + (embed + 1) * embed
    ends = (9 * 4 + 1) * width + 2 * width + (9 * width + 1) * 4
    middle = 2 * block(inner, inner) + 2 * inner + 4 * (inner + 1) * inner
    between = (9 * width + 1) * inner + (4 * inner + 1) * width
    plain = times + ends + middle + between + 2 * block(width, width) + 2 * block(2 * width, width)
    added = {"": 0, "(classes=3)": 4 * embed, "(second_time=true)": 65 * embed, "(variance=true)": (9 * width + 1) * 4}
    for options, more in added.items():
        assert sum(p.numel() for p in make_net(f"unet{options}", 1, 28).parameters()) == plain + more


@pytest.mark.parametrize(("width", "inner"), [(12, 64), (32, 36), (32, 104), (20, 20)])
def test_unet_refuses_widths_that_cannot_be_divided(width: int, inner: int) -> None:
    """By 8 groups, and by heads of 32 channels or more."""
    said = (
        f"net 'unet' does not exist with width={width} and inner={inner}: use a multiple of 8 as width, and a multiple "
        "of 32, or of 8 up to 96, as inner"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        make_net(f"unet(width={width},inner={inner})", 1, 28)


def test_unet_starts_at_zero() -> None:
    """The last layer starts at zero, and so does each block's residual branch: training starts from the identity."""
    torch.manual_seed(0)
    net = UNet(1, 28)
    out = net(*inputs(1, 28))
    assert torch.equal(
        out, torch.zeros_like(out) + nn.functional.pixel_shuffle(net.last.bias.view(1, 4, 1, 1), 2).repeat(1, 1, 14, 14)
    )
    x = torch.randn(2, 64, 7, 7)
    assert torch.equal(net.attention(x), x + net.attention.out.bias.view(1, -1, 1, 1))


def test_unet_memory_format_is_not_part_of_the_function() -> None:
    """channels_last is how it is stored, not what it computes."""
    net = randomised("unet", 1, 28)
    plain = UNet(1, 28).to(memory_format=torch.contiguous_format)
    plain.load_state_dict(net.state_dict())
    x, u = inputs(1, 28)
    with torch.no_grad():
        assert_close(plain(x, u), net(x, u), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "side"), SHAPES)
def test_unet_skips_carry_detail(channels: int, side: int) -> None:
    """With the path through quarter resolution cut, the image still comes through at half resolution."""
    net = randomised("unet", channels, side)
    assert isinstance(net, UNet)
    x, u = inputs(channels, side)
    with torch.no_grad():
        net.up.weight.zero_()
        assert float((net(x, u) - net(-x, u)).abs().max()) > 1e-2


def test_unet_checkpoints_hold_parameters_only() -> None:
    """Its frequencies are a fixed formula, so they are not saved: a checkpoint is what was trained."""
    net = UNet(1, 28)
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
    assert all(p.requires_grad for p in net.parameters())
