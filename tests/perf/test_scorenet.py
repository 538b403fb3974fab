"""The plain tutorial form is the same network and the same training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from bench.images.datasets import Images
from ddpm.nets.scorenet import ScoreNet
from perf import scorenet

CPU = torch.device("cpu")


def test_plain_form_is_the_same_function() -> None:
    torch.manual_seed(0)
    ours, plain = ScoreNet(), scorenet.PlainScoreNet()
    plain.load_state_dict(copy.deepcopy(ours.state_dict()))
    x, u = torch.randn(4, 1, 28, 28), torch.rand(4)
    assert_close(plain(x, u), ours(x, u), atol=1e-4, rtol=1e-4)


def test_loss_curves_are_the_same(tiny_images: Images) -> None:
    """Eight steps of both, in chunks; the learning rate is at its largest on the way."""
    measured = scorenet.measure(tiny_images, steps=8, chunk=3, size=32, device=CPU)
    chunks = {name: len(values) for name, values in measured["seconds_a_step"].items()}
    assert chunks == {"ours": 3, "plain": 3, "convolutions": 3}
    found = scorenet.summary(measured)
    assert found["max_relative_difference"] < 1e-4
    assert len(found["ratios"]) == 2
    losses = measured["losses"]["ours"]
    assert losses[-1] < 0.9 * losses[0]


def test_summary_leaves_the_first_chunk_out() -> None:
    measured = {
        "seconds_a_step": {
            "ours": [9.0, 1.0, 1.0, 3.0],
            "plain": [1.0, 2.0, 2.0, 2.0],
            "convolutions": [9.0, 0.5, 1.0, 1.0],
        },
        "losses": {"ours": [1.0, 1.1], "plain": [1.0, 1.0]},
    }
    found = scorenet.summary(measured)
    assert found["ratio"] == 0.5
    assert found["ratios"] == [0.5, 0.5, 1.5]
    assert found["convolutions_ratio"] == 0.5
    assert found["max_relative_difference"] == pytest.approx(0.1)
