"""Every numeric option of every row has bounds. What is out of them is one line, and what is within them works."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from torch import Tensor

from bench.rows import FAMILIES, entries, read
from ddpm.base import parts
from ddpm.bounds import number, whole
from ddpm.denoiser import Denoiser
from ddpm.nets import make_net
from ddpm.objective import check, loss_weight, make_target
from ddpm.oracle import gaussian
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space
from ddpm.spec import Variant, bounds, canonical, parameters
from ddpm.teach import make_teach
from ddpm.timestep import make_timesteps

S = make_schedule("cosine", 50)
WHOLE = [0, -1, 1, 3, 10**9, 2**63, 10**30]
NUMBERS = [0.0, -1.0, -1e-9, 1e-300, 1e-9, 0.05, 1.0, 5.0, 1e9, 1e300, math.inf, -math.inf]


def numeric() -> Iterator[tuple[str, str, str, Any]]:
    """(family, row, option, default). Those of data sets are checked where their images are looked at."""
    for family, about in FAMILIES.items():
        for name, row in entries(family).items() if about.options and family != "dataset" else ():
            for key, default in parameters(about.options(row)).items():
                if type(default) in (int, float):
                    yield family, name, key, default


def forward(net: Variant) -> Tensor:
    """What a new network says of two images."""
    with torch.no_grad():
        found: Tensor = make_net(net, 1, 28)(torch.zeros(2, 1, 28, 28), torch.tensor([0.1, 0.9]))
    return found


def based(base: Variant) -> Tensor:
    """What it says of two images, fitted to nothing yet."""
    made = parts("unet", base, 1, 28)[1]
    assert made is not None
    return made.posterior_mean(torch.zeros(2, 784), torch.tensor([[0.5]]), torch.tensor([[0.8]]))


def walked(sampler: Variant) -> Tensor:
    """Where five steps of a sampler lead."""
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    *_, last = sample(Denoiser(gaussian(S, "v", 0.25), S, "v"), x, space(S, 5), sampler, lambda t: x)
    return last.x


def target(objective: Variant) -> Tensor:
    """Its mix, but for t = 0."""
    check(S, objective)
    return torch.stack(list(make_target(S, objective)))[:, 1:]


USES: dict[str, Callable[[Variant], Tensor]] = {
    "net": forward,
    "objective": target,
    "weight": lambda name: loss_weight(S, "v", name),
    "schedule": lambda name: make_schedule(name, 50).alpha,
    "timesteps": lambda name: make_timesteps(name, 50, S.alpha.device).draw(64, torch.Generator().manual_seed(0)) - 1,
    "teach": lambda name: torch.tensor(make_teach(name).extra),
    "base": based,
    "sampler": walked,
    "spacing": lambda name: torch.tensor(space(make_schedule("linear", 1000), 10, name)) - 1,
}
"""Family → what a variant gives: finite numbers, and steps that are not below 0."""


@pytest.mark.parametrize("value", [2, 3, 7])
def test_a_whole_number_within_its_bounds(value: int) -> None:
    """Both ends belong to it."""
    assert whole(2, 7) == ("a whole number from 2 to 7", ANY)
    assert whole(2, 7).holds(value) is True


@pytest.mark.parametrize("value", [1, 8, 2.5, 3.0, "3"])
def test_no_whole_number_within_bounds(value: Any) -> None:
    assert whole(2, 7).holds(value) is False


def test_a_number_in_words_and_as_a_test() -> None:
    """Finite, whole or not, and whatever else is asked of it, which is asked of that number."""
    bound = number("above 1", lambda x: x > 1)
    assert bound.words == "a finite number above 1"
    assert number("", lambda x: True).words == "a finite number"
    assert [bound.holds(value) for value in (2, 2.5)] == [True, True]
    assert [bound.holds(value) for value in (1.0, -3, math.inf, math.nan, "2")] == [False] * 5
    assert not number("", lambda x: True).holds(-math.inf)
    assert not number("", lambda x: True).holds(math.inf)


def test_every_numeric_option_has_bounds() -> None:
    """Whoever adds an option says them, beside its type."""
    found = list(numeric())
    assert len(found) > 40
    for family, name, key, default in found:
        limits = bounds(FAMILIES[family].options(entries(family)[name]))  # type: ignore[misc]
        assert key in limits, f"option '{key}' of the {family} '{name}' has no bounds: see ddpm.bounds"
        assert limits[key].holds(default)


@pytest.mark.parametrize(("family", "name", "key"), [one[:3] for one in numeric()])
def test_odd_values_are_refused_or_work(family: str, name: str, key: str) -> None:
    """None of 0, a negative number, a huge one and infinity breaks something later, or warns."""
    default = parameters(FAMILIES[family].options(entries(family)[name]))[key]  # type: ignore[misc]
    refused = {}
    for value in WHOLE if isinstance(default, int) else NUMBERS:
        try:
            found = USES[family](read(family, Variant(name, ((key, value),))))
        except ValueError as error:
            refused[value] = str(error)
        else:
            assert found.isfinite().all(), value
            assert family not in ("timesteps", "spacing") or 0 <= found.min() <= found.max() < 1000, value
            assert family != "spacing" or len(found.unique()) == 10, value
    assert refused, "no bounds at all"
    for value, line in refused.items():
        assert "\n" not in line
        assert name in line or f"{key}={value}" in line


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("unet(width=0)", "option 'width' of 'unet' must be a whole number from 1 to 65536, not 0"),
        ("unet(classes=-1)", "option 'classes' of 'unet' must be a whole number from 0 to 65536, not -1"),
        ("unet(width=12)", "net 'unet' does not exist with width=12 and inner=64: use a multiple of 8 as width, and a "
                           "multiple of 32, or of 8 up to 96, as inner"),
        ("unet(inner=104)", "net 'unet' does not exist with width=32 and inner=104: use .*"),
        ("dit(patch=0)", "option 'patch' of 'dit' must be a whole number from 1 to 65536, not 0"),
        ("dit(depth=-1)", "option 'depth' of 'dit' must be a whole number from 0 to 1000, not -1"),
        ('dit(depth="4")', "option 'depth' of 'dit' must be a whole number from 0 to 1000, not \"4\""),
        ("dit(depth=2.5)", "option 'depth' of 'dit' must be a whole number from 0 to 1000, not 2.5"),
    ],
)  # fmt: skip
def test_networks_that_do_not_exist(spec: str, said: str) -> None:
    """The core says so too, whatever the type."""
    with pytest.raises(ValueError, match=f"^{said}$"):
        make_net(spec, 1, 28)


@pytest.mark.parametrize("inner", [8, 16, 40, 96, 120])
def test_attention_of_any_width_that_is_accepted(inner: int) -> None:
    assert forward(Variant("unet", (("inner", inner),))).shape == (2, 1, 28, 28)


def test_annotations_that_cannot_be_read_are_no_bounds() -> None:
    """Those of a package may be of names that its module has not."""

    def row(*, width: Nowhere = 3) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Nothing."""

    assert bounds(row) == {}
    assert str(canonical(Variant("row", (("width", -7),)), row)) == "row(width=-7)"


def test_a_weight_that_is_not_finite_is_no_cell(make_study: Any) -> None:
    """1/SNR where no signal is left. The line says which weight, where, and what to do."""
    from bench.errors import UserError

    said = re.escape(
        "weight 'p2(k=0.0)' of objective 'v' is not finite on schedule 'flow' at t=100: use another weight"
    )
    with pytest.raises(UserError, match=said):
        _ = make_study(objective=["v"], schedule=["flow"], weight=["p2(k=0.0)"]).cells
    assert make_study(objective=["v"], schedule=["linear"], weight=["p2(k=0.0)"]).cells
