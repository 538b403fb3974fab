"""Where float64 lives, and what is made of it."""

from __future__ import annotations

import pytest
import torch

from ddpm.precision import Cast, widest


@pytest.mark.parametrize(
    ("device", "expected"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)]
)
def test_the_widest_type_of_a_device(device: str, expected: torch.dtype) -> None:
    """Only MPS has no float64."""
    assert widest(torch.device(device)) == expected


def test_a_copy_for_each_type_is_made_once() -> None:
    exact = torch.tensor([1 / 3], dtype=torch.float64)
    cast = Cast(exact)
    single = cast.like(torch.zeros(2))
    assert single.dtype == torch.float32
    assert cast.like(torch.ones(3)) is single
    assert torch.equal(cast.like(exact), exact)


def test_what_is_made_while_sampling_can_be_trained_with_later() -> None:
    cast = Cast(torch.tensor([2.0], dtype=torch.float64))
    with torch.inference_mode():
        made = cast.like(torch.zeros(1))
    weight = torch.ones(1, requires_grad=True)
    (made * weight).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad) == 2
