"""The judges: networks in whose features samples are scored, each pinned by the hash of its weights. No torch here.

``fid`` is by the headline judge, whose hash is in the record's provenance. The other judges have a column each,
``fid_<judge>``. Two distances need no network (:mod:`bench.score.views`) and have their own names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.score.learning import Recipe

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Judge:
    """A judge of one data set.

    ``recipe`` gives its network and how that is trained. ``file`` and ``sha256`` are its weights. ``moments`` is the
    sha256 of the file beside it with the moments of the training images' features. ``about`` says what it sees.
    """

    recipe: Callable[[], Recipe]
    file: str
    sha256: str
    moments: str
    about: str
    dataset: str = "mnist"

    @property
    def path(self) -> Path:
        """Where its weights are."""
        return WEIGHTS / self.file

    @property
    def moments_path(self) -> Path:
        """Where the moments are that samples are compared with."""
        return self.path.with_suffix(".moments.safetensors")


def _classifier() -> Recipe:
    from bench.score.classifier import RECIPE

    return RECIPE


JUDGES: dict[str, Judge] = {
    "classifier": Judge(
        _classifier,
        "mnist-classifier.safetensors",
        "1bfd7ff5932a8175e6c923dd7563392c17c00769c25aac9bab852162b1baa230",
        "",
        "Six convolutions trained on shifted digits. It sees what is drawn, and hardly any noise in the pixels.",
    ),
}
HEADLINE = {"mnist": "classifier"}
"""Data set → the judge that ``fid`` and every other metric of features is by."""
VIEWS = ("pixel_distance", "spectrum_distance")
"""The distances that need no network."""


def column(judge: str) -> str:
    """The name of a judge's own FID."""
    return f"fid_{judge}"


def judges_of(dataset: str) -> dict[str, Judge]:
    """The pinned judges of a data set, by name; none where it has a classifier of its own."""
    return {name: judge for name, judge in JUDGES.items() if judge.dataset == dataset}


def headline(dataset: str) -> str | None:
    """The name of the judge that ``fid`` is by, where one is pinned."""
    return HEADLINE.get(dataset)


def pinned(dataset: str) -> str | None:
    """The hash of the headline judge of this data set, where one is pinned."""
    name = headline(dataset)
    return JUDGES[name].sha256 if name else None


def hashes(dataset: str) -> frozenset[str] | None:
    """The hashes of all judges of a data set: records by any of them can be read. None: any hash will do."""
    return frozenset(judge.sha256 for judge in judges_of(dataset).values()) or None


def named(sha256: str) -> str | None:
    """The name of the judge with these weights."""
    return next((name for name, judge in JUDGES.items() if judge.sha256 == sha256), None)


def panel(metric: str, classifier: str | None = None) -> tuple[str, ...]:
    """The columns of the other judges for a metric: what a claim on it can also be read in. Only ``fid`` has any.

    :param classifier: the hash in the records' provenance; None is MNIST's pinned judge. For the classifier of a data
        set without pinned judges, only the distances that need no network are left.
    """
    if metric != "fid":
        return ()
    name = named(classifier or pinned("mnist") or "")
    others = judges_of(JUDGES[name].dataset) if name else {}
    return (*(column(other) for other in others if other != name), *VIEWS)
