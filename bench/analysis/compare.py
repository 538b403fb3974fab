"""Two sets of results, cell by cell: what changed, and whether it is more than training seeds explain.

A set is a results folder, or what a git revision had in one.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import NamedTuple

from bench.analysis.claims import scale_of
from bench.analysis.stats import ALPHA, Contrast, Scale, Seeds, by_training, contrast, holm
from bench.analysis.table import Known
from bench.errors import UserError
from bench.paths import CHECKOUT
from bench.rows import entries
from bench.store.lookup import open_store
from bench.store.records import CellRecord, Provenance, ScoredCell
from bench.study.axes import AXES
from bench.study.model import Cell
from bench.text import plural


class Setting(NamedTuple):
    """What a cell is but for its seeds and N, what it was scored by and against, and its scores by N and by seeds.

    A folder may hold cells of several judges. Scores by one are never compared with scores by another.
    """

    label: str
    dataset: str
    judged: Provenance
    scores: dict[int, dict[Seeds, float]]


Side = dict[tuple[str, Provenance], Setting]
"""A set of results: its settings by their configuration and by what they were scored by and against."""


class Row(NamedTuple):
    """One setting that both sets have: means, their ratio B/A or difference B − A, and what to make of it."""

    label: str
    n: int
    runs_a: int
    runs_b: int
    a: float
    b: float
    found: Contrast
    p_holm: float
    verdict: str


@contextmanager
def opened(text: str) -> Iterator[Path]:
    """The folder that ``text`` names: a path, or ``REVISION`` or ``REVISION:FOLDER`` of this repository.

    :raises UserError: if it is neither.
    """
    if Path(text).is_dir():
        yield Path(text)
        return
    revision, _, folder = text.partition(":")
    folder = folder or "results/reference"
    neither = f"'{text}' is neither a results folder nor REVISION[:FOLDER] of this repository"
    if CHECKOUT is None or not (CHECKOUT / ".git").exists():
        raise UserError(
            f"no results folder {text} (git revisions can be compared only in a git checkout of ddpm-bench)"
        )
    if revision.startswith("-"):  # git would take it for an option
        raise UserError(neither)
    with tempfile.TemporaryDirectory() as scratch:
        packed = subprocess.run(
            ["git", "archive", revision, "--", folder], cwd=CHECKOUT, capture_output=True, check=False
        )
        if packed.returncode:
            said = packed.stderr.decode(errors="replace").strip().splitlines()
            raise UserError(f"{neither}: {said[-1].removeprefix('fatal: ') if said else 'git failed'}")
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(scratch, filter="data")
        yield Path(scratch, folder)


def read(folder: Path, metric: str) -> Side:
    """Every scored cell of a results folder.

    :raises UserError: if there is none.
    """
    store = open_store(folder)
    side: Side = {}
    known = Known()
    for _, record in store.records(CellRecord):
        if not isinstance(record, ScoredCell) or (score := known.scores(record).get(metric)) is None:
            continue
        cell, by = record.config, record.panel.get(metric, record.provenance.classifier)[:12]
        judged = record.provenance.model_copy(update={"classifier": by})  # of another judge's column, that judge
        label = f"{cell.job.setting}, {cell.sampling.setting}"
        setting = side.setdefault((config_of(cell), judged), Setting(label, cell.job.dataset, judged, {}))
        setting.scores.setdefault(cell.n, {})[cell.job.seed, cell.sampling.sample_seed] = score
    if not side:
        raise UserError(f"no cells scored by {metric} in {folder}")
    return side


def config_of(cell: Cell) -> str:
    """A cell's configuration as its key has it, but for its seeds and N: where a data set lies is no part of it."""
    config = cell.sampling.stated | {"job": json.loads(cell.job.canonical)}
    for axis in AXES:
        if axis.repeats:
            (config if axis.part == "sampling" else config["job"]).pop(axis.name, None)
    return json.dumps(config, sort_keys=True)


def check(a: Side, b: Side) -> None:
    """Refuse sets with a setting whose scores do not compare.

    :raises UserError: saying what differs.
    """

    def same(what: str, one: Iterable[object], other: Iterable[object]) -> None:
        mine, theirs = set(one), set(other)
        if not mine & theirs:
            values = [", ".join(sorted(str(value)[:12] for value in found)) for found in (mine, theirs)]
            raise UserError(f"A and B cannot be compared: {what} is {values[0]} in A and {values[1]} in B")

    sides = [_by_configuration(side) for side in (a, b)]
    for key in sides[0].keys() & sides[1].keys():
        mine, theirs = (side[key] for side in sides)
        label, dataset = mine[0].label, mine[0].dataset
        for what, of in (
            (f"the classifier of {dataset}", lambda one: [one.judged.classifier]),
            (f"the data of {dataset}", lambda one: [one.judged.dataset_sha256]),
            (f"N of {label}", lambda one: one.scores),
        ):
            same(what, *(itertools.chain.from_iterable(map(of, settings)) for settings in (mine, theirs)))


def _by_configuration(side: Side) -> dict[str, list[Setting]]:
    found: dict[str, list[Setting]] = {}
    for (config, _), setting in side.items():
        found.setdefault(config, []).append(setting)
    return found


def usable(side: Side, name: str, metric: str) -> tuple[Side, list[str]]:
    """The scores that can be compared, and a line for each that cannot: a ratio needs a positive number.

    Such a score is often that of a run that diverged. It ends no comparison of all the others.
    """
    positive = scale_of(metric) == "ratio"
    found: Side = {}
    lines = []
    for key, setting in side.items():
        kept: dict[int, dict[Seeds, float]] = {}
        for n, scores in setting.scores.items():
            for (seed, draw), score in sorted(scores.items()):
                if math.isfinite(score) and (score > 0 or not positive):
                    kept.setdefault(n, {})[seed, draw] = score
                    continue
                needs = "a ratio needs a positive number" if positive else "it is not a finite number"
                lines.append(
                    f"left out: {metric} of {setting.label}, n {n}, training seed {seed}, sampling seed {draw} in "
                    f"{name} is {score:g} ({needs})"
                )
        found[key] = setting._replace(scores=kept)
    return found, lines


def compare(a: Side, b: Side, metric: str = "fid") -> list[Row]:
    """The settings that both have, by label; p-values are adjusted for their number (Holm).

    :param a: as :func:`usable` has it, and ``b``.
    :raises UserError: if there is nothing to compare.
    """
    scale = scale_of(metric)
    shared = [
        (a[key].label, n, a[key].scores[n], b[key].scores[n])
        for key in a.keys() & b.keys()
        for n in a[key].scores.keys() & b[key].scores.keys()
    ]
    if not shared:
        raise UserError("A and B have no cell in common")
    shared.sort(key=lambda one: one[:2])
    contrasts = [contrast(x, y, scale) for *_, x, y in shared]
    adjusted = holm([found.p for found in contrasts])
    rising = entries("metric")[metric].better == "higher"
    mean = geometric_mean if scale == "ratio" else fmean
    return [
        Row(
            label,
            n,
            len(by_training(x)),
            len(by_training(y)),
            mean(x.values()),
            mean(y.values()),
            found,
            p,
            _verdict(found, p, scale, rising, min(len(by_training(side)) for side in (x, y))),
        )
        for (label, n, x, y), found, p in zip(shared, contrasts, adjusted, strict=True)
    ]


def dropped(row: Row) -> str:
    """What the comparison of a setting leaves out, since its grid of seeds has holes."""
    return f"left out: {plural(row.found.dropped, 'pair')} of {row.label}, n {row.n}, outside the whole grid of seeds"


def _verdict(found: Contrast, p: float, scale: Scale, rising: bool, runs: int) -> str:
    """In a word; ``rising``: whether more is better; ``runs``: of the side that has fewer."""
    nothing = 1 if scale == "ratio" else 0
    if found.value == nothing and (math.isnan(p) or found.low == found.high):
        return "the same"
    if math.isnan(p):
        return "one run: cannot tell" if runs < 2 or found.pairs == 1 else "no spread: cannot tell"
    if p >= ALPHA:
        return "undecided"
    return "B better" if (found.value > nothing) == rising else "B worse"
