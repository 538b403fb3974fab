"""Scoring images that somebody else made, and saying what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from bench.errors import UserError
from bench.images import datasets, files
from bench.machine import devices
from bench.rows import entries, known
from bench.score import copies
from bench.score.printed import ScoreReport
from bench.score.scorer import Scorer
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
) -> Scored:
    """Score the images in a folder of PNGs, or in an .npy or .npz file.

    :param store: where the reference is kept, so that it is worked out only once.
    :param thorough: also look for copies of training images, at each class by itself, and at pixels.
    :raises UserError: for what cannot be read or scored.
    """
    known("dataset", dataset)
    where = devices.pick_device(device)
    row = entries("dataset")[dataset]
    large = files.stream(path, row.channels, row.side)
    if large is None:
        whole, how = files.read(path, row.channels, row.side)
        n = len(whole)
    else:
        n, parts, how = large
        if thorough:
            raise UserError(f"--thorough is for at most {files.STREAMED:,} images, not {n:,}")
    images = datasets.load(dataset, data_dir)
    scorer = Scorer(dataset, images, store, where)
    bounds = scorer.bounds(n)._asdict() if n <= len(images.test) else {}
    report = ScoreReport(
        path=str(path),
        read_as=how,
        n=n,
        **dict(scorer.provenance),
        metrics=scorer.score(whole) if large is None else scorer.stream(parts).scores(scorer.reference),
        **bounds,
        thorough=copies.look(scorer, whole) if thorough else None,
    )
    return Scored(report, scorer.name)


def to_text(scored: Scored) -> str:
    """A line on what was scored, a table, and what a thorough look found."""
    from tabulate import tabulate

    report = scored.report
    bounds = [bound for bound in (report.floor, report.ceiling) if bound is not None]
    table = [
        [name, report.metrics[name], *[bound[name] for bound in bounds], metric.better or ""]
        for name, metric in entries("metric").items()
        if name in report.metrics
    ]
    heads = ["metric", "value", *(["floor (test images)", "ceiling (noise)"] if bounds else []), "better"]
    parts = [
        f"{report.n:,} images from {report.path} ({report.read_as}), scored by {scored.scorer}",
        str(tabulate(table, heads, tablefmt="github", floatfmt=".4g")),
    ]
    if report.thorough is not None:
        parts.append("\n" + "\n".join(copies.describe(report.thorough)))
    return "\n".join(parts)
