"""ScoreNet, the demo's network: the U-Net of Song's score-SDE tutorial for 28×28 grey images.

Each level is a 3×3 convolution without padding, a projection of the time embedding added to every pixel, a group
norm and a swish; the decoder mirrors it with transposed convolutions on concatenated skips. The tutorial divides the
output by the marginal standard deviation of its SDE; for the ε of DDPM that factor is 1, so there is none here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256)
EMBED = 256
FREQUENCY_SCALE = 30.0


class FourierTime(nn.Module):
    """t/T → sin and cos of 2π W t/T at 128 fixed random frequencies W ~ N(0, 30²)."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(EMBED // 2) * FREQUENCY_SCALE, requires_grad=False)

    def forward(self, u: Tensor) -> Tensor:
        """(B,) → (B, 256)."""
        angle = u[:, None] * self.W * 2 * math.pi
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class ShiftedGroupNorm(torch.autograd.Function):
    """The group norm of x + shift, its sums taken for each channel first: for channels_last tensors on a CPU.

    PyTorch's own kernel takes 12 times as long there where a group is one channel. As the shift of a channel is one
    number, it only moves the mean, and nothing is added to x; the way back needs two sums over the pixels.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, shift: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        """(B, C, H, W), (B, C), (C,) and (C,) → (B, C, H, W)."""
        mean = x.mean((2, 3))
        centre = _over_groups(mean + shift, groups) - shift
        deviation = x - centre[:, :, None, None]
        rate = (_over_groups(deviation.square().mean((2, 3)), groups) + eps).rsqrt()
        scale = weight * rate
        ctx.save_for_backward(deviation, mean - centre, rate, scale)
        ctx.groups = groups
        return torch.addcmul(bias[:, None, None], deviation, scale[:, :, None, None])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients for x, the shift, the weight and the bias."""
        deviation, mean_deviation, rate, scale = ctx.saved_tensors
        pixels = grad.shape[2] * grad.shape[3]
        mean, along = grad.mean((2, 3)), (grad * deviation).mean((2, 3))
        constant = _over_groups(scale * mean, ctx.groups)
        slope = _over_groups(scale * along, ctx.groups) * rate.square()
        of_x = torch.addcmul(-constant[:, :, None, None], grad, scale[:, :, None, None])
        of_x.addcmul_(deviation, -slope[:, :, None, None])
        of_shift = pixels * (scale * mean - slope * mean_deviation - constant)
        return of_x, of_shift, pixels * (along * rate).sum(0), pixels * mean.sum(0), None, None


def _over_groups(values: Tensor, groups: int) -> Tensor:
    """(B, C) → the same, each value replaced by its group's mean."""
    grouped = values.unflatten(1, (groups, -1))
    return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1)


class Level(nn.Module):
    """A convolution, the time projection added to its output, group norm, swish."""

    def __init__(self, conv: nn.Module, width: int, groups: int) -> None:
        super().__init__()
        self.conv = conv
        self.time = nn.Linear(EMBED, width)
        self.norm = nn.GroupNorm(groups, width)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 256) → (B, width, H', W')."""
        h, shift = self.conv(x), self.time(embedding)
        if h.is_cpu:
            weight, bias = self.norm.weight, self.norm.bias
            normed = ShiftedGroupNorm.apply(h, shift, weight, bias, self.norm.num_groups, self.norm.eps)
        else:
            normed = self.norm(h + shift[:, :, None, None])
        return nn.functional.silu(normed)


class ScoreNet(nn.Module):
    """The demo's network, from Song's score-SDE tutorial: 1,115,425 parameters, 1,115,297 of them trained.

    Use: to repeat the demo. It takes 1×28×28 images only, and has neither options nor classes.

    :raises ValueError: unless images are 1×28×28, the only shape its transposed convolutions mirror.
    """

    def __init__(self, channels: int = 1, side: int = 28) -> None:
        super().__init__()
        if (channels, side) != (1, 28):
            raise ValueError(f"net 'scorenet' takes 1×28×28 images, not {channels}×{side}×{side}")
        c1, c2, c3, c4 = WIDTHS
        self.embed = nn.Sequential(FourierTime(), nn.Linear(EMBED, EMBED), nn.SiLU())
        self.encoder = nn.ModuleList(
            Level(nn.Conv2d(i, o, 3, stride, bias=False), o, groups)
            for i, o, stride, groups in [(1, c1, 1, 4), (c1, c2, 2, 32), (c2, c3, 2, 32), (c3, c4, 2, 32)]
        )
        self.decoder = nn.ModuleList(
            Level(nn.ConvTranspose2d(i, o, 3, 2, bias=False, output_padding=pad), o, 32)
            for i, o, pad in [(c4, c3, 0), (2 * c3, c2, 1), (2 * c2, c1, 1)]
        )
        self.out = nn.ConvTranspose2d(2 * c1, 1, 3, 1)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """x_t (B, 1, 28, 28) and t/T (B,) → (B, 1, 28, 28)."""
        embedding = self.embed(u)
        skips = []
        for level in self.encoder:
            x = level(x, embedding)
            skips.append(x)
        x = self.decoder[0](skips.pop(), embedding)
        for level in self.decoder[1:]:
            x = level(torch.cat([x, skips.pop()], 1), embedding)
        return self._out(x, skips.pop())

    def _out(self, x: Tensor, skip: Tensor) -> Tensor:
        """The last layer, of ``x`` and ``skip`` (B, 32, 26, 26) each, as a product and a sum of overlapping patches.

        That is what a transposed convolution is. Its own kernels are slow where there is one channel, those of matrix
        products where there are 9 columns; 1×1 convolutions are not. To concatenate the inputs would take longer than
        to multiply them.
        """
        of_x, of_skip = self.out.weight.flatten(1).mT[:, :, None, None].split(x.shape[1], 1)
        patches = nn.functional.conv2d(x, of_x) + nn.functional.conv2d(skip, of_skip)
        return nn.functional.fold(patches.flatten(2), x.shape[2] + 2, 3) + self.out.get_parameter("bias")
