"""A network's convolutions alone, at the shapes of training, and nothing else: what no change to the rest can save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.job.speed import BATCH, SIDE, Work
from bench.machine.flops import flops
from ddpm.nets import make_net

KINDS = (nn.Conv2d, nn.ConvTranspose2d)


class Layer(NamedTuple):
    """A convolution as it ran once: its input, its output with the graph behind it, and a gradient for that output."""

    run: nn.Module
    input: Tensor
    output: Tensor
    grad: Tensor

    @property
    def weight(self) -> Tensor:
        """Its weight."""
        return self.run.get_parameter("weight")

    @property
    def wanted(self) -> list[Tensor]:
        """What it has to give the gradients of: its weight, and its input if that is no image."""
        return [self.weight, *([self.input] if self.input.requires_grad else [])]


def layers(net: nn.Module, x: Tensor, u: Tensor) -> list[Layer]:
    """The convolutions that ``net`` calls for x (B, C, H, W) and t/T (B,), in their order.

    A layer that only lends its weight to another operator is not among them.
    """
    found: list[tuple[nn.Module, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda layer, inputs, _: found.append((layer, inputs[0])))
        for layer in net.modules()
        if isinstance(layer, KINDS)
    ]
    net(x, u)
    for handle in handles:
        handle.remove()
    return [_alone(layer, given, image=at == 0) for at, (layer, given) in enumerate(found)]


def _alone(layer: nn.Module, given: Tensor, *, image: bool) -> Layer:
    """The layer's own call, cut from the network; the first one's input is the image, which needs no gradient."""
    own = given.detach().requires_grad_(not image)
    output = layer(own)
    return Layer(layer, own, output, torch.randn_like(output))


def forward(of: Sequence[Layer]) -> None:
    """Each layer's output."""
    with torch.no_grad():
        for each in of:
            each.run(each.input)


def of_inputs(of: Sequence[Layer]) -> None:
    """The gradient of each layer's input."""
    for each in of:
        if each.input.requires_grad:
            torch.autograd.grad(each.output, each.input, each.grad, retain_graph=True)


def of_weights(of: Sequence[Layer]) -> None:
    """The gradient of each layer's weight."""
    for each in of:
        torch.autograd.grad(each.output, each.weight, each.grad, retain_graph=True)


def there_and_back(of: Sequence[Layer]) -> None:
    """All three, as a training step has them."""
    for each in of:
        torch.autograd.grad(each.run(each.input), each.wanted, each.grad)


PASSES: dict[str, Callable[[Sequence[Layer]], None]] = {
    "outputs": forward,
    "gradients of inputs": of_inputs,
    "gradients of weights": of_weights,
}
"""What convolutions have to do in training → how it is done."""


def works(name: str, device: torch.device) -> Iterator[Work]:
    """One work for each of :data:`PASSES`, of the network ``name``; none if it has no convolutions."""
    torch.manual_seed(0)
    net = make_net(name, 1, SIDE).to(device)
    found = layers(net, torch.randn(BATCH, 1, SIDE, SIDE, device=device), torch.rand(BATCH, device=device))
    for passed, run in PASSES.items() if found else ():

        def once(run: Callable[[Sequence[Layer]], None] = run) -> None:
            run(found)

        yield Work(f"{name} convolutions, {passed}", once, flops(once), images=BATCH)
