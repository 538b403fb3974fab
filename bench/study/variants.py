"""Whatever a study chooses by name, with its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from ddpm.spec import canonical, parse

if TYPE_CHECKING:
    pass

from bench.study.model import ORACLE

KINDS = ("net", "objective", "weight", "schedule", "timesteps", "sampler", "spacing")
"""What takes options."""


def _variants(kind: str) -> tuple[Iterable[str], Callable[[str], list[Callable[..., Any]]]]:
    """The names of a kind that takes options, and name → the functions whose keyword-only parameters those are."""
    from ddpm.nets import NETS
    from ddpm.objective import OBJECTIVES, WEIGHTS
    from ddpm.sampler import SAMPLERS
    from ddpm.schedule import SCHEDULES, rescale
    from ddpm.spacing import SPACINGS
    from ddpm.timestep import TIMESTEPS

    kinds: dict[str, tuple[Iterable[str], Callable[[str], list[Callable[..., Any]]]]] = {
        "net": ([*NETS, ORACLE], lambda name: [NETS[name]] if name in NETS else []),
        "objective": (OBJECTIVES, lambda name: [OBJECTIVES[name].target]),
        "weight": (WEIGHTS, lambda name: [WEIGHTS[name].table]),
        "schedule": (SCHEDULES, lambda name: [SCHEDULES[name], rescale]),
        "timesteps": (TIMESTEPS, lambda name: [TIMESTEPS[name]]),
        "sampler": (SAMPLERS, lambda name: [SAMPLERS[name]]),
        "spacing": (SPACINGS, lambda name: [SPACINGS[name]]),
    }
    return kinds[kind]


def named(kind: str, value: object) -> Any:
    """``{unet: {width: 24}}`` → ``unet(width=24)``; whatever is not of that form is left for others to refuse."""
    if kind not in KINDS:
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        options = {} if options is None else options
    elif isinstance(value, str):
        name, options = parse(value)
    else:
        return value
    names, functions = _variants(kind)
    if name not in names:
        return name
    if not isinstance(options, dict):
        raise ValueError(f"the options of '{name}' are a mapping, not {options!r}")
    return canonical(name, options, *functions(name))


# names with their options, as one string
Net = Annotated[str, BeforeValidator(partial(named, "net"))]
Objective = Annotated[str, BeforeValidator(partial(named, "objective"))]
Weight = Annotated[str, BeforeValidator(partial(named, "weight"))]
Schedule = Annotated[str, BeforeValidator(partial(named, "schedule"))]
Timesteps = Annotated[str, BeforeValidator(partial(named, "timesteps"))]
Sampler = Annotated[str, BeforeValidator(partial(named, "sampler"))]
Spacing = Annotated[str, BeforeValidator(partial(named, "spacing"))]


def choices() -> dict[str, list[str]]:
    """The valid names of whatever a study chooses by name."""
    from bench.images.datasets import DATASETS
    from ddpm.nets import NETS
    from ddpm.objective import OBJECTIVES, WEIGHTS
    from ddpm.sampler import SAMPLERS
    from ddpm.schedule import SCHEDULES
    from ddpm.spacing import SPACINGS
    from ddpm.timestep import TIMESTEPS
    from ddpm.train import OPTIMISERS

    return {
        "dataset": list(DATASETS),
        "optimiser": list(OPTIMISERS),
        "net": [*NETS, ORACLE],
        "objective": list(OBJECTIVES),
        "weight": ["default", *WEIGHTS],
        "schedule": list(SCHEDULES),
        "timesteps": list(TIMESTEPS),
        "sampler": list(SAMPLERS),
        "spacing": list(SPACINGS),
    }
