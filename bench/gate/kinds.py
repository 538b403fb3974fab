"""Kinds of measurement: how two of a kind are compared, and how far apart rounding and changes leave them.

The two lie far apart, so one look tells them from each other. Between the two limits nobody can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.gate.verdicts import FAIL, PASS, UNDECIDED, Outcome

if TYPE_CHECKING:
    from bench.gate.subject import Subject

Limits = tuple[float, float]
"""The most that rounding does, the least that a change does."""
FINGERS = 16
"""Numbers that stand for many: :func:`fingerprint`."""


@dataclass(frozen=True)
class Kind:
    """How measurements are compared, and the limits: for some number formats of an engine other ones.

    ``exact``: whether it compares only where the baseline's random numbers are drawn, in float32: in training a device
    draws its own.
    """

    apart: Callable[[np.ndarray, np.ndarray], float]
    limits: Limits
    formats: dict[str, Limits] = field(default_factory=dict)
    exact: bool = False


def elementwise(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative difference of numbers."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1e-8)).max())


def scores(found: np.ndarray, expected: np.ndarray) -> float:
    """The same for scores, which may be near 0."""
    return float((np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2)).max())


def rows(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest distance of rows of :data:`FINGERS` numbers (or of one shorter row), relative to their length."""
    width = FINGERS if expected.size % FINGERS == 0 else expected.size
    a, b = found.reshape(-1, width), expected.reshape(-1, width)
    return float((np.linalg.norm(a - b, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-12)).max())


def levels(found: np.ndarray, expected: np.ndarray) -> float:
    """The mean absolute difference of images, in levels of 255."""
    return float(np.abs(found.astype(float) - expected.astype(float)).mean())


KINDS: dict[str, Kind] = {
    "tables": Kind(elementwise, (1e-9, 1e-7)),  # formulas in float64
    "vectors": Kind(rows, (1e-8, 1e-6)),  # what formulas do to images, in float64
    "training": Kind(rows, (1e-6, 1e-4)),  # in float64, whose rounding so few steps do not amplify to anything
    "scores": Kind(scores, (1e-4, 1e-3)),  # of a classifier's features in float32
    "counts": Kind(scores, (5e-3, 2e-2)),  # shares of images, of which rounding may move one or two
    "images": Kind(levels, (0.02, 0.05), {"tf32": (0.2, 0.6), "bfloat16": (1.0, 3.0)}),
    # by samplers whose few steps amplify the network's rounding
    "steep images": Kind(levels, (0.02, 0.05), {"tf32": (1.0, 3.0), "bfloat16": (8.0, 16.0)}),
    # trained in float32, which amplifies rounding: what is compiled differs by 0.03
    "job": Kind(rows, (4e-2, 1e-1), exact=True),
    "job images": Kind(levels, (0.25, 1.0), exact=True),
}


class Check(NamedTuple):
    """One check: the kind, and what is measured."""

    kind: str
    of: Callable[[Subject], np.ndarray]


def compare(name: str, kind: str, found: np.ndarray, expected: np.ndarray, number_format: str) -> Outcome:
    """The outcome of one check."""
    about = KINDS[kind]
    rounding, change = about.formats.get(number_format, about.limits)
    if found.shape != expected.shape:
        return Outcome(name, FAIL, None, rounding, f"of shape {found.shape}, not {expected.shape}")
    value = about.apart(found, expected)
    if not np.isfinite(value):
        return Outcome(name, FAIL, None, rounding, "not finite")
    verdict = PASS if value <= rounding else FAIL if value >= change else UNDECIDED
    note = {PASS: "", FAIL: "changed", UNDECIDED: "more than rounding, less than any change known"}[verdict]
    return Outcome(name, verdict, value, rounding, note)


def fingerprint(*tensors: np.ndarray) -> np.ndarray:
    """:data:`FINGERS` numbers that stand for many: their sums with random signs.

    Two that differ by a share of their length differ in these by about that share (Johnson & Lindenstrauss 1984).
    """
    total = np.zeros(FINGERS)
    for key, tensor in enumerate(tensors):
        random = np.random.Generator(np.random.Philox(key=key))
        flat = tensor.astype(np.float64).ravel()
        bits = np.unpackbits(random.integers(256, size=(-(-len(flat) // 8), FINGERS), dtype=np.uint8), axis=0)
        total += flat @ (2.0 * bits[: len(flat)] - 1)
    return total
