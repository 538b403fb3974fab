"""Self-attention, as every network here works it out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attend(qkv: Tensor) -> Tensor:
    """Queries, keys and values (3, B, heads, tokens, width of a head) → (B, tokens, heads × width of a head)."""
    if qkv.is_cpu and qkv.dtype == torch.bfloat16:  # whose way back takes seven times as long as float32's
        with torch.autocast("cpu", enabled=False):
            mixed = nn.functional.scaled_dot_product_attention(*qkv.float())
    else:
        mixed = nn.functional.scaled_dot_product_attention(*qkv)
    return mixed.transpose(1, 2).flatten(2)
