"""Each way to teach with every objective and schedule: it gives a loss, or a study with it is refused with a reason."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.gate.numbers import Toy
from bench.study import possible
from bench.study.study import Study
from ddpm.batch import Around
from ddpm.objective import OBJECTIVES, default_weight
from ddpm.oracle import gaussian
from ddpm.schedule import SCHEDULES, make_schedule
from ddpm.spec import Variant
from ddpm.teach import TEACH, make_teach
from ddpm.train import Loss

SIZE, S2 = 8, 0.25
LARGE = 1e5
"""Above any loss here. Pairs of a teacher that is far off, with a gain above 1,000, give 1e29."""


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    """x₀ of variance :data:`S2`, ε and z."""
    random = torch.Generator().manual_seed(0)
    x0, eps, z = torch.randn((3, SIZE, 1, 8, 8), generator=random)
    return S2**0.5 * x0, eps, z


def why_not(study: Study, **at: Any) -> str | None:
    """What the checks of training axes say, the first that says something."""
    point = {axis: getattr(study.axes, axis)[0] for axis in possible.TRAINING} | at
    checks = (check for check in possible.CHECKS if set(check.axes) <= set(possible.TRAINING))
    return next(filter(None, (check.why(study, point) for check in checks)), None)


def largest(teach: str, schedule: str, T: int, objective: str) -> float:
    """The loss of a batch at times from 1 to T, early and late in training, whichever is larger."""
    s, (x0, eps, z) = make_schedule(schedule, T), pictures()
    loss = Loss(s, objective, default_weight(objective), teach)
    t, found = torch.linspace(1, T, SIZE).round().long(), []
    for done in (0.0, 0.99):
        random = torch.Generator().manual_seed(1)
        around = Around(Toy(), gaussian(s, objective, S2), done=done, random=random, plain=Toy())
        found.append(loss(Toy(), x0, t, eps, z if loss.draws else None, around))
    return float(torch.stack(found).max())


@pytest.mark.parametrize("T", [50, 1000])
@pytest.mark.parametrize("teach", [*TEACH, "progressive(first=8)"])
def test_every_objective_and_schedule(make_study: Callable[..., Study], teach: str, T: int) -> None:
    """As trained: in float32, the teacher being as good as it gets. (A toy in its place makes reflow's pairs huge.)"""
    net = "unet(second_time=true)" if make_teach(teach).second else "unet"
    study = make_study(net=[net], teach=[teach], T=[T], budget={"epochs": 8})
    refused = {}
    for schedule, objective in itertools.product(SCHEDULES, OBJECTIVES):
        of = {"schedule": Variant(schedule), "objective": Variant(objective)}
        if why := why_not(study, **of, weight=Variant(default_weight(objective))):
            refused[schedule, objective] = why
        else:
            assert largest(teach, schedule, T, objective) < LARGE, (schedule, objective)
    silent = {cell: refused.pop(cell) for cell in (("flow", "eps"), ("flow", "score"))}
    assert all("cannot be inverted on schedule 'flow'" in why for why in silent.values())
    least = make_teach(teach).least
    assert set(refused.values()) == ({f"teach {teach} needs T of {least} or more, not {T}"} if least > T else set())
    assert len(refused) in (0, len(SCHEDULES) * len(OBJECTIVES) - 2)
