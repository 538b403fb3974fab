"""A network read as (x̂₀, ε̂): what it is told, what is made of its output, and how that changes along a path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ddpm.denoiser import Denoiser, halves, times
from ddpm.mix import Table
from ddpm.nets import make_net
from ddpm.objective import make_target
from ddpm.schedule import Schedule, make_schedule

S = make_schedule("cosine", 100)
T = torch.tensor([1, 40, 100])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def told(x: Tensor, u: Tensor) -> Tensor:
    """A smooth function of all that a network is told: t/T and, where there is one, s/T."""
    first, second = (u, u) if u.ndim == 1 else u.unbind(1)
    scale, shift = (2 * first).sin() + 1, (3 * second).cos()
    return scale.view(-1, 1, 1, 1) * x.tanh() + shift.view(-1, 1, 1, 1) * x


def test_halves_of_an_output() -> None:
    """As many channels as x_t, or twice as many: then the second half is v."""
    x = draw(2, 3, 4, 4)
    assert halves(x, x) == (x, None)
    both = draw(2, 6, 4, 4, seed=1)
    out, v = halves(both, x)
    assert v is not None
    assert torch.equal(out, both[:, :3])
    assert torch.equal(v, both[:, 3:])


def test_what_a_network_is_told() -> None:
    t, s = torch.tensor([5, 10]), torch.tensor([0, 5])
    like = torch.zeros(1, dtype=torch.float64)
    assert times(t, None, 10, like).tolist() == [0.5, 1.0]
    assert times(t, s, 10, like).tolist() == [[0.5, 0.0], [1.0, 0.5]]
    assert times(t, s, 10, like).dtype == torch.float64


@pytest.mark.parametrize("objective", ["v", "x0", "flow", "mean"])
@pytest.mark.parametrize("second", [None, [0, 20, 50]])
def test_estimates_solve_the_two_equations(objective: str, second: list[int] | None) -> None:
    """The output is the target a x₀ + b ε, and x_t is α x₀ + σ ε; ``clean`` is the first half of it."""
    denoiser = Denoiser(lambda x, u: torch.cat([told(x, u), -x], 1), S, objective)
    x, s = draw(3, 1, 2, 2), None if second is None else torch.tensor(second)
    found = denoiser.estimate(x, T, s)
    noise, target = Table(S.noise, make_target(S, objective)).at(T, x)
    assert_close(noise(found.x0, found.eps), x, rtol=1e-9, atol=1e-9)
    out = told(x, times(T, s, S.T, x))
    assert_close(target(found.x0, found.eps), out, rtol=1e-6, atol=1e-6)
    assert found.v is not None
    assert torch.equal(found.v, -x)
    clean, v = denoiser.clean(x, T, s)
    assert v is not None
    assert torch.equal(v, -x)
    assert_close(clean, found.x0)
    if second is None:
        assert all(torch.equal(one, other) for one, other in zip(denoiser(x, T), found[:2], strict=True))


def test_another_network_of_the_same_kind() -> None:
    """The first one stays as it is."""
    first = Denoiser(lambda x, u: x, S, "x0")
    other = first.of(lambda x, u: 2 * x)
    x = draw(3, 1, 2, 2)
    assert torch.equal(first(x, T)[0], x)
    assert torch.equal(other(x, T)[0], 2 * x)
    assert (other.schedule, other.objective) == (S, "x0")


def test_a_target_that_cannot_be_inverted_is_refused() -> None:
    with pytest.raises(ValueError, match="'eps' cannot be inverted on schedule 'flow'"):
        Denoiser(told, make_schedule("flow", 100), "eps")


@pytest.mark.parametrize("objective", ["v", "x0", "flow", "mean"])
def test_the_derivative_along_a_path(objective: str) -> None:
    """d x̂₀/dt where x_t moves with a velocity and s stays, against a central difference of finer and finer schedules.

    A difference is over a step of the schedule on either side, so with twice as many steps it is nearer.
    """
    errors = []
    for steps in (400, 800):
        s = make_schedule("cosine", steps)
        denoiser = Denoiser(told, s, objective)
        x, t = draw(2, 1, 2, 2), torch.tensor([steps // 4, steps // 2])
        end, velocity = torch.tensor([0, steps // 8]), draw(2, 1, 2, 2, seed=1) / steps
        here, rate = denoiser.moving(x, t, end, velocity)
        assert_close(here, denoiser.clean(x, t, end)[0], rtol=1e-12, atol=1e-12)
        ahead, behind = (denoiser.clean(x + way * velocity, t + way, end)[0] for way in (1, -1))
        errors.append(float((rate - (ahead - behind) / 2).abs().max() * steps))
    assert errors[0] < 0.05
    assert errors[1] < errors[0] / 1.9  # `mean` is of first order: it is a target of one step


def test_the_derivative_through_attention() -> None:
    """Whose fused kernels have none. What v says takes no part in it."""
    torch.manual_seed(0)
    net = make_net("unet(width=8,inner=32,blocks=1,middle=1,second_time=true,variance=true)", 1, 8).double()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    s: Schedule = make_schedule("cosine", 2000)
    denoiser = Denoiser(net, s, "v")
    x, t, end = draw(1, 1, 8, 8), torch.tensor([900]), torch.tensor([300])
    velocity = draw(1, 1, 8, 8, seed=1) / 2000
    here, rate = denoiser.moving(x, t, end, velocity)
    with torch.no_grad():
        assert_close(here, denoiser.clean(x, t, end)[0], rtol=1e-9, atol=1e-9)
        ahead, behind = (denoiser.clean(x + way * velocity, t + way, end)[0] for way in (1, -1))
    assert_close(rate, (ahead - behind) / 2, rtol=1e-3, atol=1e-6)
    assert float(rate.detach().abs().max()) > 1e-5
