"""The regression check: a fresh run of a small study against a committed baseline of several training seeds.

A cell has slipped when its FID is both significantly and noticeably worse. With R reference seeds whose log FIDs have
mean m and standard deviation s, a new run of the same recipe stays under m + t_{1−α, R−1} s √(1 + 1/R) with
probability 1 − α: the one-sided prediction limit of a normal sample.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bench import ROOT, UserError

BASELINES = ROOT / "results" / "baselines"
ALPHA = 0.01
SEEDS = 3
"""Fewest seeds a baseline is made from."""
MARGIN = 0.25
"""FID must be worse by this share, whatever its significance, to count as a slip."""
MATCH = ("net", "objective", "weight", "schedule", "T", "sampler", "sample_steps", "eta", "clip")
LATER: dict[str, list[str | None]] = {
    "timesteps": ["uniform"],
    "spacing": ["linspace"],
    "clipping": ["static", "none"],
    "ema": [None],
}
"""What is part of a cell's name unless it is the usual, so that baselines made before it existed keep their names."""


class Verdict(NamedTuple):
    """One cell against its baseline."""

    cell: str
    fid: float
    baseline: float  # geometric mean over the reference seeds
    limit: float  # the FID above which a run has slipped
    passed: bool


def name_of(row: dict[str, Any]) -> str:
    """What a cell is, but for its seed."""
    parts = [k for k in MATCH if row[k] is not None]
    parts += [k for k, usual in LATER.items() if row.get(k, usual[0]) not in usual]
    return " ".join(f"{k}={row[k]}" for k in parts)


def limit(fids: Iterable[float], alpha: float = ALPHA, margin: float = MARGIN) -> tuple[float, float]:
    """The geometric mean of the reference FIDs, and the FID above which a new run has slipped."""
    logs = np.log(list(fids))
    n, mean = len(logs), logs.mean()
    spread = stats.t.ppf(1 - alpha, n - 1) * logs.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(np.exp(mean)), float(np.exp(mean + max(spread, math.log1p(margin))))


def make_baseline(study: str, rows: list[dict[str, Any]], about: dict[str, Any]) -> dict[str, Any]:
    """A baseline from finished rows of several seeds.

    :raises UserError: if a cell is not finished, or there are fewer than three seeds.
    """
    cells: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] != "done":
            raise UserError(f"cannot make a baseline: {name_of(row)} seed {row['seed']} is {row['status']}")
        cells.setdefault(name_of(row), []).append(row["fid"])
    if min(map(len, cells.values())) < SEEDS:
        raise UserError(f"cannot make a baseline from fewer than {SEEDS} seeds")
    shared = {k: rows[0][k] for k in ("dataset", "n", "classifier", "epochs")}
    return {"study": study, **shared, "seeds": sorted({row["seed"] for row in rows}), "fid": cells, **about}


def read_baseline(path: Path) -> dict[str, Any]:
    """The baseline in a file.

    :raises UserError: if it is missing or is not one.
    """
    try:
        baseline: dict[str, Any] = json.loads(path.read_text())
        for name in ("dataset", "n", "classifier", "epochs"):
            baseline[name]
        if not all(len(fids) >= SEEDS and min(fids) > 0 for fids in baseline["fid"].values()):
            raise ValueError("too few seeds, or no FIDs")
    except FileNotFoundError as error:
        raise UserError(f"no baseline {path} (make one with `ddpm-bench check --update-baseline`)") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a baseline") from error
    return baseline


def judge(rows: list[dict[str, Any]], baseline: dict[str, Any]) -> list[Verdict]:
    """Each finished row against the baseline.

    :raises UserError: if the two were not measured alike, or do not name the same cells.
    """
    for row in rows:
        for k in ("dataset", "n", "classifier", "epochs"):
            if row[k] != baseline[k]:
                raise UserError(f"the baseline has {k}={baseline[k]}, this run {row[k]}: they cannot be compared")
    here, there = {name_of(row) for row in rows}, set(baseline["fid"])
    for without, only in (("baseline", here - there), ("run", there - here)):
        if only:
            raise UserError(f"the {without} lacks the cell {min(only)}: they cannot be compared")
    verdicts = []
    for row in rows:
        mean, worst = limit(baseline["fid"][name_of(row)])
        verdicts.append(Verdict(name_of(row), row["fid"], mean, worst, row["fid"] <= worst))
    return verdicts
