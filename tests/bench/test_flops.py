"""Counted operations: torch's own counter finds as many, and counting them does not import torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.machine.flops import flops, flops_per_image
from ddpm.nets import NETS, make_net

NETWORKS = [*NETS, "unet(classes=10)", "unet(second_time=true)", "dit(patch=2)"]


@pytest.mark.parametrize("spec", NETWORKS)
def test_torchs_own_counter_agrees(spec: str) -> None:
    net = make_net(spec, 1, 28)
    x, u = torch.zeros(1, 1, 28, 28), torch.ones(1)
    counted = flops_per_image(net, 1, 28)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        net(x, u)
    with FlopCounterMode(display=False) as whole:
        torch.autograd.grad(net(x, u).sum(), [p for p in net.parameters() if p.requires_grad])
    assert counted == {"forward": forward.get_total_flops(), "train": whole.get_total_flops()}
    assert 0 < 2 * counted["forward"] < counted["train"]


@pytest.mark.parametrize("how", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_counts_operations_made_of_others(how: type) -> None:
    x = torch.ones(4, 3, 8, 8)
    with how():
        assert flops(lambda: torch.einsum("abcd,abed->abce", x, x)) == 2 * 4 * 3 * 8**3
        assert flops(lambda: torch.nn.Linear(8, 5)(x)) == 2 * 4 * 3 * 8 * 8 * 5
        assert flops(lambda: x + x.exp()) == 0


def test_a_plan_does_not_import_the_compiler() -> None:
    count = "make_net('scorenet', 1, 28), 1, 28"
    probe = (
        f"import sys; from bench.machine.flops import flops_per_image; from ddpm.nets import make_net;"
        f"import bench.execute.plan; early = 'triton' in sys.modules; flops_per_image({count});"
        f"print(early, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
