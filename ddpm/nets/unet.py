"""The default network: a small U-Net that works at half and quarter resolution.

Pixels are folded 2×2 into channels first (pixel-unshuffle), so that every convolution runs where there are enough
channels to keep the processor's matrix units busy: quality per second rather than per parameter is the aim.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddpm.bounds import Count, Layers, Natural
from ddpm.nets.attention import attend
from ddpm.nets.waves import Waves, both_times


class Block(nn.Module):
    """Residual block: norm, swish, 3×3 convolution, twice, with the time embedding as a scale and shift between."""

    def __init__(self, inputs: int, width: int, embed: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.time = nn.Linear(embed, width)
        self.norm2 = nn.GroupNorm(8, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, inputs, H, W) and (B, embed) → (B, width, H, W)."""
        h = self.conv1(nn.functional.silu(self.norm1(x), inplace=True))
        h = h + self.time(embedding)[:, :, None, None]
        return self.skip(x) + self.conv2(nn.functional.silu(self.norm2(h), inplace=True))


def heads(width: int) -> int:
    """How many heads attention of so many channels has."""
    return max(1, width // 32)


class Attention(nn.Module):
    """Self-attention over pixels, residual, 32 channels a head, or a few more."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = heads(width)
        self.norm = nn.GroupNorm(8, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) → the same."""
        b, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        qkv = self.qkv(tokens).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return x + self.out(attend(qkv)).view(b, h, w, c).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Half resolution at ``width`` channels, quarter resolution at ``inner`` channels, one attention block.

    With ``variance`` it has twice the output channels. The second half says where the variance lies between β̃ and β.
    ``variance`` works only with `teach: data`. With ``classes`` it may be told which of so many classes an image is of;
    class number ``classes`` means none. With ``second_time`` it may be told of a time s beside t, and its frequencies
    are low, so that it is smooth in both.

    Use: for everything, unless networks are what you compare. It was made for the best quality per second on a CPU.

    :raises ValueError: unless the side is a multiple of 4, and ``width`` and ``inner`` are multiples of 8. Heads of 32
        channels, or a few more, must divide ``inner``: a multiple of 32 always fits.
    """

    def __init__(
        self,
        channels: int = 1,
        side: int = 28,
        *,
        width: Count = 32,
        inner: Count = 64,
        blocks: Layers = 2,
        middle: Layers = 2,
        variance: bool = False,
        classes: Natural = 0,
        second_time: bool = False,
    ) -> None:
        super().__init__()
        if side % 4:
            raise ValueError(f"net 'unet' takes images whose side is a multiple of 4, not {side}")
        if width % 8 or inner % 8 or inner % heads(inner):
            raise ValueError(
                f"net 'unet' does not exist with width={width} and inner={inner}: use a multiple of 8 as width, and a "
                "multiple of 32, or of 8 up to 96, as inner"
            )
        embed = 4 * width
        self.waves = Waves(smooth=second_time)
        self.embed = nn.Sequential(nn.Linear(self.waves.width, embed), nn.SiLU(), nn.Linear(embed, embed), nn.SiLU())
        self.first = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.encoder = nn.ModuleList(Block(width, width, embed) for _ in range(blocks))
        self.down = nn.Conv2d(width, inner, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(Block(inner, inner, embed) for _ in range(middle))
        self.attention = Attention(inner)
        self.up = nn.ConvTranspose2d(inner, width, 2, stride=2)
        self.decoder = nn.ModuleList(Block(2 * width, width, embed) for _ in range(blocks))
        self.norm = nn.GroupNorm(8, width)
        self.last = nn.Conv2d(width, 4 * channels * (2 if variance else 1), 3, padding=1)
        nn.init.zeros_(self.last.weight)
        self.classes = nn.Embedding(classes + 1, embed) if classes else None
        self.second = nn.Linear(self.waves.width, embed) if second_time else None
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """x_t (B, C, H, W), t/T (B,) and classes (B,), int64 (by default none) → (B, C, H, W), or (B, 2C, H, W).

        With a second time it takes (t/T, s/T), (B, 2), as well; (B,) means s = t.
        """
        u, s = both_times(u)
        embedding = self.embed(self.waves(u))
        if self.second is not None:
            embedding = embedding + self.second(self.waves(u - s))
        if self.classes is not None:
            embedding = embedding + (self.classes.weight[-1] if y is None else self.classes(y))
        h = self.first(nn.functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))
        skips = []
        for block in self.encoder:
            h = block(h, embedding)
            skips.append(h)
        h = self.down(h)
        for block in self.middle[:1]:
            h = block(h, embedding)
        h = self.attention(h)
        for block in self.middle[1:]:
            h = block(h, embedding)
        h = self.up(h)
        for block in self.decoder:
            h = block(torch.cat([h, skips.pop()], 1), embedding)
        h = self.last(nn.functional.silu(self.norm(h)))
        return nn.functional.pixel_shuffle(h, 2)
