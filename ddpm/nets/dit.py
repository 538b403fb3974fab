"""DiT, the diffusion transformer (Peebles & Xie, arXiv 2212.09748), small, in pixel space.

An image is cut into patches, which are the tokens (section 3.2). The time, and the class if there is one, reach every
block through its layer norms: adaLN-zero. Gates and the last layer start at zero, so that every block starts as the
identity and the output as zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ddpm.bounds import Count, Layers, Natural
from ddpm.nets.attention import attend
from ddpm.nets.waves import Waves, both_times

HEAD = 32
"""Channels of a head."""


class Condition(nn.Module):
    """What the network is told: the time t/T, a second time s/T, the class. All of it goes in here."""

    def __init__(self, width: int, classes: int, second_time: bool) -> None:
        super().__init__()
        self.waves = Waves(smooth=second_time)
        self.time = nn.Sequential(nn.Linear(self.waves.width, width), nn.SiLU(), nn.Linear(width, width))
        self.classes = nn.Embedding(classes + 1, width) if classes else None
        self.second = nn.Linear(self.waves.width, width) if second_time else None

    def forward(self, u: Tensor, y: Tensor | None) -> Tensor:
        """(B,) or (B, 2), and (B,) → (B, width)."""
        u, s = both_times(u)
        told: Tensor = self.time(self.waves(u))
        if self.second is not None:
            told = told + self.second(self.waves(u - s))
        if self.classes is not None:
            told = told + (self.classes.weight[-1] if y is None else self.classes(y))
        return nn.functional.silu(told)


class Modulation(nn.Module):
    """So many vectors of the width from the condition."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * width)

    def forward(self, told: Tensor) -> tuple[Tensor, ...]:
        """(B, width) → ``count`` times (B, 1, width)."""
        return self.linear(told)[:, None].chunk(self.count, 2)


def normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """The layer norm of tokens (B, N, width), without weights of its own, scaled by 1 + scale and shifted."""
    return torch.addcmul(shift, nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class Block(nn.Module):
    """Self-attention over tokens, then two layers on each token; both residual, modulated and gated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(B, N, width) and (B, width) → (B, N, width)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(told)
        qkv = self.qkv(normed(x, shift1, scale1)).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        x = torch.addcmul(x, gate1, self.out(attend(qkv)))
        return torch.addcmul(x, gate2, self.mlp(normed(x, shift2, scale2)))


def positions(count: int, width: int) -> Tensor:
    """Sines and cosines of the row and of the column of each of count × count patches: (count², width), float32."""
    frequencies = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64, device="cpu") / (width // 4))
    angle = torch.arange(count, dtype=torch.float64, device="cpu")[:, None] * frequencies
    axis = torch.cat([angle.sin(), angle.cos()], 1).float()
    rows, columns = axis[:, None].expand(-1, count, -1), axis[None].expand(count, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def patches(x: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) → tokens (B, H W / side², C side²), row by row."""
    return nn.functional.pixel_unshuffle(x, side).flatten(2).mT


def images(tokens: Tensor, side: int, rows: int) -> Tensor:
    """The inverse of :func:`patches`, of that many rows of patches."""
    return nn.functional.pixel_shuffle(tokens.mT.unflatten(2, (rows, -1)), side)


class DiT(nn.Module):
    """``depth`` transformer blocks of ``width`` channels over patches of ``patch`` × ``patch`` pixels, with adaLN-zero.

    x ← x + g₁ · attention((1 + s₁) · norm(x) + b₁), then x ← x + g₂ · MLP((1 + s₂) · norm(x) + b₂). The six vectors are
    linear in the embedding of time and class, and zero at the start (Peebles & Xie, arXiv 2212.09748, section 3.2).

    With ``variance`` it has twice the output channels. The second half says where the variance lies between β̃ and β.
    ``variance`` works only with `teach: data`. With ``classes`` it may be told which of so many classes an image is of;
    class number ``classes`` means none. With ``second_time`` it may be told of a time s beside t, and its frequencies
    are low, so that it is smooth in both.

    Use: to compare a transformer with ``unet``. With the defaults a training step takes about as long. A ``patch`` of 2
    has four times the tokens.

    :raises ValueError: unless the side is a multiple of ``patch``, and the width a multiple of 32.
    """

    def __init__(
        self,
        channels: int = 1,
        side: int = 28,
        *,
        width: Count = 96,
        depth: Layers = 4,
        patch: Count = 4,
        variance: bool = False,
        classes: Natural = 0,
        second_time: bool = False,
    ) -> None:
        super().__init__()
        if side % patch:
            raise ValueError(f"net 'dit' takes images whose side is a multiple of its patch, {patch}, not {side}")
        if width % HEAD:
            raise ValueError(f"net 'dit' takes a width that is a multiple of {HEAD}, not {width}")
        self.patch = patch
        self.condition = Condition(width, classes, second_time)
        self.first = nn.Linear(channels * patch**2, width)
        self.positions: Tensor
        where = positions(side // patch, width).to(self.first.weight.device)
        self.register_buffer("positions", where, persistent=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.modulation = Modulation(width, 2)
        self.last = nn.Linear(width, channels * patch**2 * (2 if variance else 1))
        self._start()

    def _start(self) -> None:
        """Uniform weights as in the authors' code; then zeros for adaLN-zero and the last layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, Modulation):
                nn.init.zeros_(module.linear.weight)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, u: Tensor, y: Tensor | None = None) -> Tensor:
        """x_t (B, C, H, W), t/T (B,) and classes (B,), int64 (by default none) → (B, C, H, W), or (B, 2C, H, W).

        With a second time it takes (t/T, s/T), (B, 2), as well; (B,) means s = t.
        """
        told = self.condition(u, y)
        tokens = self.first(patches(x, self.patch)) + self.positions
        for block in self.blocks:
            tokens = block(tokens, told)
        tokens = self.last(normed(tokens, *self.modulation(told)))
        return images(tokens, self.patch, x.shape[2] // self.patch)
