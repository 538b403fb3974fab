"""The nightly gate: fresh runs of a small study against a committed baseline of several training seeds.

A cell has slipped when its FID is both significantly and noticeably worse. With R reference seeds whose log FIDs have
mean m and standard deviation s, the mean of k new runs of the same recipe stays under m + t_{1−α, R−1} s √(1/k + 1/R)
with probability 1 − α: the one-sided prediction limit of a normal sample. (:mod:`bench.gate.change` is the gate
of every change.)
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from scipy import stats

from bench.errors import UserError
from bench.gate.baselines import SEEDS, Change, NightlyBaseline, read_json
from bench.gate.verdicts import FAIL, NOT_MEASURED, PASS, UNDECIDED, Outcome
from bench.machine.environment import Environment
from bench.score.judges import column, with_hash
from bench.study.axes import AXES

ALPHA = 0.01
REFERENCE_SEEDS, NIGHTLY_SEEDS, MOST_SEEDS = 10, 3, 12
"""How many a baseline and a run are made from, and a run that cannot tell in the end, unless said otherwise."""
MARGIN = 0.25
"""FID must be worse by this share, whatever its significance, to count as a slip."""
_CHOICES = [axis for axis in AXES if not axis.repeats]
MATCH = [axis.name for axis in _CHOICES if axis.named]
LATER: dict[str, list[Any]] = {axis.column: [axis.tell(axis.usual)] for axis in _CHOICES if not axis.named} | {
    "clipping": ["static", "none"]
}  # fmt: skip (which clip has said already)
"""What is part of a cell's name unless it is the usual, so that baselines made before it existed keep their names."""


def name_of(row: dict[str, Any]) -> str:
    """What a cell is, but for its seed."""
    parts = [k for k in MATCH if row[k] is not None]
    parts += [k for k, usual in LATER.items() if row.get(k, usual[0]) not in usual]
    return " ".join(f"{k}={row[k]}" for k in parts)


def by_run(rows: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """Cell → the FID of each training run: the geometric mean where it was sampled with several seeds; NaN is none."""
    runs: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        fid = row["fid"] if row["fid"] is not None and 0 < row["fid"] < math.inf else math.nan
        runs.setdefault(name_of(row), {}).setdefault(row["seed"], []).append(fid)
    return {name: [statistics.geometric_mean(fids) for fids in of.values()] for name, of in runs.items()}


def by_judge(rows: Sequence[dict[str, Any]], classifier: str) -> list[dict[str, Any]]:
    """The rows with FID by the judge of that hash, where it is of the panel: the headline may have changed since."""
    judge = with_hash(classifier)
    fids = [row.get(column(judge.name)) if judge else None for row in rows]
    return [
        row if fid is None else row | {"fid": fid, "classifier": classifier}
        for row, fid in zip(rows, fids, strict=True)
    ]


def make_baseline(
    study: str, rows: list[dict[str, Any]], environment: Environment | None = None, history: Sequence[Change] = ()
) -> NightlyBaseline:
    """A baseline from finished rows of several seeds.

    :raises UserError: if a cell is not finished, or there are fewer than three seeds.
    """
    for row in rows:
        if row["status"] != "done":
            raise UserError(f"cannot make a baseline: {name_of(row)} seed {row['seed']} is {row['status']}")
    cells = by_run(rows)
    if min(map(len, cells.values())) < SEEDS:
        raise UserError(f"cannot make a baseline from fewer than {SEEDS} seeds")
    shared = {k: rows[0][k] for k in ("dataset", "n", "classifier", "epochs")}
    try:
        return NightlyBaseline(
            study=study,
            **shared,
            seeds=tuple(sorted({row["seed"] for row in rows})),
            fid={name: tuple(fids) for name, fids in cells.items()},
            environment=environment,
            history=tuple(history),
        )
    except ValidationError as error:
        raise UserError("cannot make a baseline: a cell has no finite, positive FID") from error


def read_baseline(path: Path) -> NightlyBaseline:
    """The baseline in a file.

    :raises UserError: if it is missing or is not one.
    """
    try:
        return read_json(path, NightlyBaseline, "a baseline")
    except FileNotFoundError as error:
        raise UserError(
            f"no baseline {path} (make one with `ddpm-bench check nightly --update-baseline --why …`)"
        ) from error


def fresh_seeds(baseline: NightlyBaseline, count: int) -> list[int]:
    """The first seeds that the baseline was not made from: its own would only repeat it."""
    return list(itertools.islice((i for i in itertools.count() if i not in set(baseline.seeds)), count))


def looks(seeds: int | None = None, most: int | None = None) -> list[int]:
    """Numbers of seeds at which a run is judged, each twice the one before, up to ``most``.

    Without either it starts at :data:`NIGHTLY_SEEDS` and goes up to :data:`MOST_SEEDS`; who names ``seeds`` alone gets
    those and no more.

    :raises UserError: if there are to be more seeds at first than in the end.
    """
    first = seeds or NIGHTLY_SEEDS
    last = most or (seeds if seeds else MOST_SEEDS)
    if last < first:
        raise UserError(f"--most {last} is fewer than the {first} seeds to start with")
    found = [first]
    while found[-1] < last:
        found.append(min(2 * found[-1], last))
    return found


def judge(
    rows: list[dict[str, Any]], baseline: NightlyBaseline, promotion: bool = False, looks: int = 1
) -> list[Outcome]:
    """Each cell's runs against the baseline's; the chance of one false alarm among all cells is at most α.

    :param promotion: whether a cell passes only where it is shown not to be worse than the margin.
    :param looks: how often the run may be judged, on more seeds each time; α is shared among them.
    :raises UserError: if the two were not measured alike, or do not name the same cells.
    """
    rows = by_judge(rows, baseline.classifier)
    for row in rows:
        for k in ("dataset", "n", "classifier", "epochs"):
            if row[k] != (expected := getattr(baseline, k)):
                raise UserError(f"the baseline has {k}={expected}, this run {row[k]}: they cannot be compared")
    cells = by_run(rows)
    here, there = set(cells), set(baseline.fid)
    for without, only in (("baseline", here - there), ("run", there - here)):
        if only:
            raise UserError(f"the {without} lacks the cell {min(only)}: they cannot be compared")
    alpha = ALPHA / len(cells) / looks  # Bonferroni: each cell's limit is known before the run
    return [_judge(name, fids, baseline.fid[name], alpha, promotion) for name, fids in cells.items()]


def _judge(name: str, fids: list[float], reference: Sequence[float], alpha: float, promotion: bool) -> Outcome:
    if any(map(math.isnan, fids)):
        return Outcome(name, NOT_MEASURED, None, None, "no FID")
    mean, reach = _center(reference), prediction_reach(reference, len(fids), alpha)
    slip, margin = _center(fids) - mean, math.log1p(MARGIN)
    about = f"baseline {math.exp(mean):.4g}, × {math.exp(slip):.3f}"
    if promotion:
        limit = math.exp(mean + margin - reach)
        word = PASS if slip + reach < margin else FAIL if slip - reach > margin else UNDECIDED
    else:
        limit = math.exp(mean + max(reach, margin))
        word = PASS if slip <= margin else FAIL if slip > reach else UNDECIDED
    return Outcome(name, word, math.exp(mean + slip), limit, about)


def _center(fids: Iterable[float]) -> float:
    return float(np.log(list(fids)).mean())


def prediction_reach(reference: Sequence[float], runs: int, alpha: float) -> float:
    """How far above the reference's the mean logarithm of so many runs of its kind is, with a chance of α or less."""
    return spread_reach([math.log(value) for value in reference], runs, alpha)


def spread_reach(reference: Sequence[float], runs: int, alpha: float) -> float:
    """The same of the values themselves."""
    n = len(reference)
    return float(stats.t.ppf(1 - alpha, n - 1) * np.std(reference, ddof=1) * math.sqrt(1 / runs + 1 / n))
