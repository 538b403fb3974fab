"""A network's convolutions alone: all of them, and as much work as they have in training."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from bench.job.speed import BATCH
from bench.machine.flops import flops
from ddpm.nets import make_net
from ddpm.nets.scorenet import ScoreNet
from perf import convolutions

CPU = torch.device("cpu")


def test_there_and_back_is_three_times_there_but_for_the_image() -> None:
    """In FLOPs. The image needs no gradient; ScoreNet's last layer is none of its convolutions."""
    shapes = [(1, 32, 26), (32, 64, 12), (64, 128, 5), (128, 256, 2), (256, 128, 2), (256, 64, 5), (128, 32, 12)]
    once = [2 * 2 * 9 * i * o * side**2 for i, o, side in shapes]
    found = convolutions.layers(ScoreNet(), torch.randn(2, 1, 28, 28), torch.rand(2))
    assert flops(partial(convolutions.there_and_back, found)) == 3 * sum(once) - once[0]


def test_the_passes_are_there_and_back_in_parts() -> None:
    found = convolutions.layers(make_net("unet", 1, 28), torch.randn(2, 1, 28, 28), torch.rand(2))
    parts = [flops(partial(run, found)) for run in convolutions.PASSES.values()]
    assert sum(parts) == flops(partial(convolutions.there_and_back, found))
    assert all(parts)


def test_a_work_for_each_pass_of_a_network_with_convolutions() -> None:
    made = list(convolutions.works("unet", CPU))
    assert [work.name for work in made] == [f"unet convolutions, {name}" for name in convolutions.PASSES]
    there, of_inputs, of_weights = (work.amount for work in made)
    assert there == of_weights
    assert of_inputs == pytest.approx(there, rel=0.05)  # all but the first layer, which is small
    assert all(work.images == BATCH for work in made)


def test_a_network_of_products_has_none() -> None:
    assert not list(convolutions.works("dit", CPU))
