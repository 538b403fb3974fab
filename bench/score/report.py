"""Scoring images that somebody else made, and saying what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown
from bench.images import datasets, files
from bench.machine import devices
from bench.score import copies
from bench.score.metrics import METRICS
from bench.score.scorer import Scorer
from bench.store.store import Store


@dataclass(frozen=True)
class Scored:
    """Scores of N images, and what they must share with others to compare: classifier and data."""

    path: Path
    n: int
    read_as: str
    scorer: str
    classifier: str
    dataset_sha256: str
    metrics: dict[str, float]
    bounds: dict[str, dict[str, float]]
    """``floor`` (test images) and ``ceiling`` (noise) at the same N, where there are as many test images."""
    thorough: dict[str, Any] | None


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
    if dataset not in datasets.DATASETS:
        raise unknown("dataset", dataset, datasets.DATASETS)
    where = devices.pick_device(device)
    row = datasets.DATASETS[dataset]
    large = files.stream(path, row.channels, row.side)
    if large is None:
        whole, how = files.read(path, row.channels, row.side)
        n = len(whole)
    else:
        n, parts, how = large
        if thorough:
            raise UserError(f"--thorough is for at most {files.STREAMED:,} images, not {n:,}")
    known = datasets.load(dataset, data_dir)
    scorer = Scorer(dataset, known, store, where)
    return Scored(
        path=path,
        n=n,
        read_as=how,
        scorer=scorer.name,
        classifier=scorer.classifier,
        dataset_sha256=scorer.dataset_sha256,
        metrics=scorer.score(whole) if large is None else scorer.stream(parts).scores(scorer.reference),
        bounds=scorer.bounds(n) if n <= len(known.test) else {},
        thorough=copies.look(scorer, whole) if thorough else None,
    )


def to_json(scored: Scored) -> str:
    """Everything, for scripts; also a baseline of the pytest plug-in."""
    about = {"n": scored.n, "classifier": scored.classifier, "dataset_sha256": scored.dataset_sha256}
    more = {} if scored.thorough is None else {"thorough": scored.thorough}
    found = {"metrics": scored.metrics, **scored.bounds, **more}
    return json.dumps({"path": str(scored.path), "read_as": scored.read_as, **about, **found}, indent=1)


def to_text(scored: Scored) -> str:
    """A line on what was scored, a table, and what a thorough look found."""
    from tabulate import tabulate

    bounds = scored.bounds
    table = [
        [name, scored.metrics[name], *[bounds[b][name] for b in bounds], metric.better or ""]
        for name, metric in METRICS.items()
        if name in scored.metrics
    ]
    heads = ["metric", "value", *(["floor (test images)", "ceiling (noise)"] if bounds else []), "better"]
    parts = [
        f"{scored.n:,} images from {scored.path} ({scored.read_as}), scored by {scored.scorer}",
        str(tabulate(table, heads, tablefmt="github", floatfmt=".4g")),
    ]
    if scored.thorough is not None:
        parts.append("\n" + "\n".join(copies.describe(scored.thorough)))
    return "\n".join(parts)
