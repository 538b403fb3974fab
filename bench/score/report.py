"""Scoring images that somebody else made, and saying what came of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.errors import UserError
from bench.images import datasets, files
from bench.images.source import InDoubtError, Reading, Source
from bench.machine import devices
from bench.rows import entries
from bench.score import copies, taken
from bench.score.kept import Progress
from bench.score.printed import ScoreReport
from bench.score.scorer import Scorer, last, preparing, seldom
from bench.store.store import Store


class Scored(NamedTuple):
    """Scores of N images, and the name of what scored them."""

    report: ScoreReport
    scorer: str


def score_path(
    path: Path,
    store: Store,
    *,
    dataset: str = "mnist",
    data_dir: Path | None = None,
    device: str = "auto",
    thorough: bool = False,
    reading: Reading = files.USUAL,
) -> Scored:
    """:func:`scoring`, and nobody watches."""
    return last(
        scoring(path, store, dataset=dataset, data_dir=data_dir, device=device, thorough=thorough, reading=reading)
    )


def scoring(
    path: Path,
    store: Store,
    *,
    dataset: str = "mnist",
    data_dir: Path | None = None,
    device: str = "auto",
    thorough: bool = False,
    reading: Reading = files.USUAL,
) -> Generator[Progress, None, Scored]:
    """Score the images in a folder of image files, or in an .npy or .npz file, and say now and then how far it is.

    :param store: where the reference is kept, so that it is worked out only once.
    :param thorough: also look for copies of training images, at each class by itself, and at pixels.
    :param reading: what the user says about the files.
    :raises UserError: for what cannot be read or scored. Where values can be read in two ways, it has both scores.
    """
    dataset = datasets.named(dataset)
    where = devices.pick_device(device)
    row = datasets.row(dataset)
    try:
        source = files.take(path, row.channels, row.side, reading, row.classes)
    except InDoubtError as doubt:
        scorer = Scorer(dataset, datasets.load(dataset, data_dir), store, where)
        raise _both(doubt, path, scorer, reading) from None
    if thorough and source.n > taken.STREAMED:
        raise UserError(f"--thorough is for at most {taken.STREAMED:,} images, not {source.n:,}")
    images = datasets.load(dataset, data_dir)
    scorer = yield from preparing(dataset, images, store, where, pairs=source.n <= taken.STREAMED)
    bounds = scorer.bounds(source.n)._asdict() if source.n <= len(images.test) else {}
    found = yield from seldom(taken.scoring(scorer, source))
    report = ScoreReport(
        path=str(path),
        read_as=source.how,
        n=source.n,
        **dict(scorer.provenance),
        counts=source.counts,
        notes=(*source.notes, *_warnings(source, found, scorer.network.features)),
        metrics=found.metrics,
        fid_by_class=found.fid_by_class,
        **bounds,
        thorough=copies.look(scorer, source.whole()) if thorough else None,
    )
    return Scored(report, scorer.name)


def _both(doubt: InDoubtError, path: Path, scorer: Scorer, reading: Reading) -> UserError:
    """The doubt, with the score of each way to read the values."""
    said = []
    for low, high in doubt.ranges:
        source = files.take(path, *scorer.images.shape, replace(reading, range=(low, high)), scorer.images.classes)
        fid = scorer.stream(source).scores(scorer.reference)["fid"]
        said.append(f"--range {low:g} {high:g} gives FID {fid:.4g}")
    return UserError(f"{str(doubt).removesuffix('; say --range')}; {', '.join(said)}")


def _warnings(source: Source, found: taken.Taken, features: int) -> list[str]:
    warnings = []
    if source.n < features:
        warnings.append(
            f"warning: {source.n} images are fewer than the {features} features, so FID says little: about "
            f"{found.metrics['fid_bias']:.3g} of it comes from so few images; compare at equal N only, or take more"
        )
    if source.n > taken.STREAMED:
        warnings.append(f"more than {taken.STREAMED:,} images: scores that compare pairs of them are left out")
    if found.hint:
        warnings.append(f"hint: {found.hint}")
    return warnings


def to_text(scored: Scored) -> str:
    """A line on what was scored, a table, and what a thorough look found."""
    from tabulate import tabulate

    report = scored.report
    bounds = [bound for bound in (report.floor, report.ceiling) if bound is not None]
    table = [
        [name, report.metrics[name], *[bound.get(name) for bound in bounds], metric.better or ""]
        for name, metric in entries("metric").items()
        if name in report.metrics
    ]
    heads = ["metric", "value", *(["floor (test images)", "ceiling (noise)"] if bounds else []), "better"]
    counts = report.counts.text() if report.counts else ""
    parts = [
        f"{report.n:,} images from {report.path} ({report.read_as}), scored by {scored.scorer}",
        *([counts] if counts else []),
        *report.notes,
        str(tabulate(table, heads, tablefmt="github", floatfmt=".4g")),
    ]
    if report.fid_by_class is not None:
        parts.append("\n" + copies.classes_line("FID by label", report.fid_by_class))
    if report.thorough is not None:
        parts.append("\n" + "\n".join(copies.describe(report.thorough)))
    return "\n".join(parts)
