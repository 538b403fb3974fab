"""What ``ddpm-bench score --format json`` prints, which a test of somebody else's may keep as its baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.images.source import Counts
from bench.store.records import Part, Scores
from bench.study.model import Natural


class ScoreReport(Part):
    """Scores of ``n`` images at ``path``; ``floor`` and ``ceiling`` where there are as many test images.

    ``counts``: what was read, converted, clipped and left out. ``notes``: what a reader should know, a line each.
    ``fid_by_class``: where the images have labels, FID of each class to the training images of it.
    """

    path: str
    read_as: str
    n: Natural
    counts: Counts | None = None
    notes: tuple[str, ...] = ()
    classifier: str
    dataset_sha256: str
    metrics: Scores
    floor: Scores | None = None
    ceiling: Scores | None = None
    fid_by_class: tuple[float | None, ...] | None = None
    thorough: dict[str, Any] | None = None

    def text(self) -> str:
        """As it is printed."""
        return json.dumps(self.as_json(), indent=1)


def read(path: Path) -> ScoreReport:
    """What was printed, kept in a file.

    :raises UserError: if the file is something else, or cannot be read.
    """
    try:
        return ScoreReport.parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not what `ddpm-bench score --format json` prints") from error
