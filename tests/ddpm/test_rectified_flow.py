"""The same network through lucidrains' MeanFlow (rectified-flow-pytorch, which ``make setup`` installs).

Of its package only one file is wanted, which needs torch and einops: the rest would bring a dozen packages more.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ddpm.batch import Around
from ddpm.denoiser import Denoiser
from ddpm.sampler import sample
from ddpm.teach import make_teach
from tests.ddpm.test_teach import batch_at, bent, straight_path

T = 50


def read() -> ModuleType:
    """``rectified_flow_pytorch.mean_flow``, without what the package imports beside it."""
    package = importlib.util.find_spec("rectified_flow_pytorch")
    if package is None or package.origin is None:
        pytest.skip("rectified-flow-pytorch is not installed (make setup)", allow_module_level=True)
    spec = importlib.util.spec_from_file_location("mean_flow", Path(package.origin).with_name("mean_flow.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mean_flow = read()


class Shifted(nn.Module):
    """The network as it is called there, told of t and t − s; and a shift of 0, whose gradient tells the target."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros_like(like))

    def forward(self, x: Tensor, t: Tensor, length: Tensor) -> Tensor:
        """(B, C, H, W), (B,), (B,) → (B, C, H, W)."""
        return bent(x, torch.stack([t, t - length], 1)) + self.shift


@pytest.fixture(autouse=True)
def float64() -> Any:
    """Its times and tangents are of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_the_target_of_meanflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """v − (t − s) du/dt, where the derivative is one JVP there too."""
    around = Around(plain=bent, random=torch.Generator().manual_seed(3))
    batch = batch_at(straight_path(T), torch.arange(1, T + 1), around, "flow")
    answer = make_teach("meanflow(ratio=1.0)").answer(batch)
    assert answer.second is not None
    assert (answer.second < batch.t).all()
    net = Shifted(batch.x0)
    theirs = mean_flow.MeanFlow(net, use_adaptive_loss_weight=False, prob_default_flow_obj=0.0)
    drawn = iter((batch.t / T, answer.second / T))
    monkeypatch.setattr(theirs, "sample_times", lambda batch: next(drawn))
    theirs(batch.x0, noise=batch.eps).backward()
    assert net.shift.grad is not None
    found = net(batch.x_t, batch.t / T, (batch.t - answer.second) / T) - net.shift.grad * batch.x0.numel() / 2
    assert_close(answer.eps - answer.x0, found.detach(), rtol=0, atol=1e-9)
    assert float((answer.eps - answer.x0 - batch.eps + batch.x0).abs().max()) > 0.1  # it is not the plain velocity


def test_one_jump() -> None:
    """x − v̄, from noise to the image."""
    s, x = straight_path(T), torch.randn((3, 1, 2, 2), generator=torch.Generator().manual_seed(1))
    *_, last = sample(Denoiser(bent, s, "flow"), x, [T], "jump", lambda t: x, clip=False)
    theirs = mean_flow.MeanFlow(Shifted(x))
    assert_close(last.x, theirs.sample(len(x), x.shape[1:], noise=x), rtol=0, atol=1e-9)
