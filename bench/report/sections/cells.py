"""Every metric of every setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bench.analysis.frames import AXES, Results
from bench.report.blocks import Block, Cell, Column, Emph, WithError, heading, table, text
from bench.report.formats import best_marked
from bench.report.sections.common import (
    CELL,
    MOST_ROWS,
    axis_cells,
    axis_columns,
    axis_names,
    judge_cells,
    judge_columns,
    left_out,
    numbers,
    of_classes,
    other_judges,
    several_seeds,
    spread,
    words,
)
from bench.score.calibrated import BLIND, FEW
from bench.text import listing, plural

OTHERS = (
    "The distances beside FID are those of the other judges, and two that need no network: lower is better. Each is on "
    "a scale of its own. If they order two cells differently from FID, the order is in doubt."
)
DAMAGE = {
    "jpeg": "compression (JPEG)",
    "missing class": "a missing class",
    "training images": "copies of training images",
}
"""What a damage is called, where its name does not say it."""
SHARES, OF_CLASSES = ("precision", "recall"), ("confidence", "class_balance")


def section(results: Results) -> Iterator[Block]:
    """A row a setting, best first, below the floor and the ceiling."""
    if results.bounds is None:
        return
    axes, others = axis_names(results, AXES, CELL), other_judges(results)
    rows: list[list[Cell]] = [
        [Emph(name), *[""] * (len(axes) - 1), record["fid"], *judge_cells(others, record), *_scores(results, record)]
        for name, record in zip(("floor", "ceiling"), results.bounds, strict=True)
    ]
    rows += [
        [*axis_cells(axes, row), spread(row, several_seeds(results)), *judge_cells(others, row), *_scores(results, row)]
        for _, row in results.settings.head(MOST_ROWS).iterrows()
    ]
    yield heading(2, "All settings")
    yield text(
        f"Sorted by FID, below real test images (floor) and noise (ceiling). N = {results.study.score.n:,} everywhere. "
        f"The standard error of KID is over draws of samples from one trained model. {_words(results)}"
        "Lower is better for FID and KID, higher for the others, but not for confidence and recall: samples that are "
        "nothing like digits can have 100% of both. The best of a column is bold.",
        f" {OTHERS}" if others else "",
    )
    columns = [
        *axis_columns(axes), *numbers("FID"), *judge_columns(others), *numbers("KID × 1000 ± s.e."),
        *numbers(*of_classes(results, "IS"), how="two decimals"),
        *numbers(*(name.replace("_", " ") for name in _shares(results)), how="three decimals"),
    ]  # fmt: skip
    first = len(axes)
    ways = ["lower", *["lower"] * len(others), "lower", *["higher"] * (len(columns) - first - len(others) - 2)]
    own = {i: way for i, way in enumerate(ways, first) if columns[i].title not in ("confidence", "recall")}
    yield table(columns, best_marked(columns, rows, own, first=2))
    yield from left_out(results, len(results.settings), "settings")
    if len(results.apart):
        yield text(f"The {plural(len(results.apart), 'cell')} of the oracle are not ranked.")
    yield text(_repeated(results))
    yield from _blindness(("fid", *others, "kid", *of_classes(results, "inception_score"), *_shares(results)))


def _repeated(results: Results) -> str:
    """Whether images were drawn twice, which no distance sees."""
    shares = results.done["repeated"].dropna()
    if shares.empty:
        return "Whether images were drawn more than once is not known: these results are older than that score."
    twice = int((shares > 0).sum())
    most = f", at most {shares.max():.1%} of a cell's images" if twice else ""
    return f"Cells with images that were drawn more than once: {twice:,} of {len(shares):,}{most}."


def _blindness(shown: Iterable[str]) -> Iterator[Block]:
    """What each score in the table does not see."""
    yield text(
        f"No score sees everything. Real test images of MNIST were damaged, and MNIST's judges scored sets of {FEW:,}. "
        "The table has the damage that a score did not see at any strength that was tried. Other data sets were not "
        "measured."
    )
    rows: list[list[Cell]] = [
        [words(name), listing(DAMAGE.get(damage, damage) for damage in BLIND[name])] for name in shown if name in BLIND
    ]
    yield table([Column("score", "left"), Column("does not see", "left")], rows)


def _shares(results: Results) -> tuple[str, ...]:
    return SHARES + of_classes(results, *OF_CLASSES)


def _scores(results: Results, row: Any) -> list[Cell]:
    kid = WithError(1000 * row["kid"], 1000 * row["kid_se"])
    return [kid, *(row[name] for name in (*of_classes(results, "inception_score"), *_shares(results)))]


def _words(results: Results) -> str:
    """What the scores of classes are."""
    if not of_classes(results, *OF_CLASSES):
        return ""
    from bench.images.datasets import row  # which loads torch

    most = row(results.study.dataset).classes
    return (
        f"IS is the inception score, at most {most} here. Confidence is the mean of the classifier's largest class "
        f"probability. Class balance is the entropy of the predicted classes over log {most}: it is 1 when all are "
        "equally frequent. "
    )
