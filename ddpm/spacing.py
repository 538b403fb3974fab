"""Which steps a sampler visits: (schedule, S) → exactly S distinct times in 1 … T, falling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddpm.bounds import Rho
from ddpm.schedule import Schedule
from ddpm.spec import Variant, build


def linspace(s: Schedule, steps: int) -> list[int]:
    """Even from T to 1, both kept (Improved DDPM, section 4); one step is T. diffusers' ``linspace``.

    Use: by default.
    """
    if steps == 1:
        return [s.T]
    return [int(t) + 1 for t in np.round(np.linspace(0, s.T - 1, steps))[::-1]]


def leading(s: Schedule, steps: int) -> list[int]:
    """Every ⌊T/S⌋-th step from 1 (DDIM's code): x_T is taken for the noisier end, which is at most T − ⌊T/S⌋ + 1.

    Use: to reproduce DDIM's numbers; it never samples at T.
    """
    return [1 + i * (s.T // steps) for i in reversed(range(steps))]


def trailing(s: Schedule, steps: int) -> list[int]:
    """Every T/S-th step back from T, to the nearest (Lin et al., arXiv 2305.08891, section 3.3): x_T is used at T.

    Use: with few steps and schedules that leave no signal in x_T.
    """
    return [(2 * i * s.T + steps) // (2 * steps) for i in range(steps, 0, -1)]


def quadratic(s: Schedule, steps: int) -> list[int]:
    """Even in √t from T to 1: more of the steps where little noise is left (DDIM, appendix D, quadratic τ).

    Use: with few DDIM steps on `linear`.
    """
    return _apart(np.linspace(1, s.T**0.5, steps) ** 2 if steps > 1 else np.array([s.T]), s.T)


def karras(s: Schedule, steps: int, *, rho: Rho = 7.0) -> list[int]:
    """Even in (σ/α)^(1/ρ) (Karras et al., arXiv 2206.00364, eq. 5), each at the step with the nearest σ/α, as a ratio.

    Use: with `heun` or `dpmpp_2m`.
    """
    noise = (s.sigma / s.alpha)[1:].numpy().clip(max=1e6)  # no signal at all is no place on this scale
    low, high = noise[0] ** (1 / rho), noise[-1] ** (1 / rho)
    wanted = np.linspace(low, high, steps) ** rho if steps > 1 else noise[-1:]
    return _apart(np.interp(np.log(wanted), np.log(noise), np.arange(1, s.T + 1)), s.T)


SPACINGS: dict[str, Callable[..., list[int]]] = {
    "linspace": linspace,
    "leading": leading,
    "trailing": trailing,
    "quadratic": quadratic,
    "karras": karras,
}


def space(schedule: Schedule, steps: int, spacing: Variant | str = "linspace", start: float | None = None) -> list[int]:
    """Exactly ``steps`` distinct times, falling: in 1 … T, or in 1 … ``start`` times T.

    :raises ValueError: for fewer than one step, or more than there are.
    """
    last = latest(schedule.T, start)
    if not 1 <= steps <= last:
        raise ValueError(f"sampling steps must be between 1 and {'T=' if start is None else ''}{last}, not {steps}")
    return build(SPACINGS, spacing, schedule.until(last), steps)


def latest(T: int, start: float | None = None) -> int:
    """The latest step that sampling visits: T, or the one nearest to that share of it."""
    return T if start is None else max(1, round(start * T))


def _apart(wanted: np.ndarray, T: int) -> list[int]:
    """Rising real times → the nearest whole ones, moved up (and where there is no room, down) to be distinct."""
    times = np.round(wanted).astype(int)
    count = np.arange(len(times))
    times = np.maximum.accumulate(times - count) + count  # each at least one above the one before
    times = np.minimum(times, T - count[::-1])
    return [int(t) for t in times[::-1]]
