"""The judges: networks in whose features samples are scored, each pinned by the hash of its weights. No torch here.

``fid`` is by the headline judge, whose hash is in the record's provenance. The other judges have a column each,
``fid_<judge>``. Two distances need no network (:mod:`bench.score.views`) and have their own names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.score.views import VIEWS

if TYPE_CHECKING:
    from bench.score.learning import Recipe

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Judge:
    """What a judge is, whatever the data set.

    ``recipe`` gives its network and how that is trained. ``about`` says what it sees.

    ``members`` are names of other judges and the weights of their features. Such a judge has no recipe and no file of
    weights, and its hash is :func:`hash_of` them.
    """

    recipe: Callable[[], Recipe] | None
    about: str
    members: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """The judges that are pinned for a data set.

    ``headline`` is the judge that ``fid`` and every other metric of features is by. ``reader`` says of which class a
    sample is: the most accurate one. ``pins``: judge → the sha256 of its weights, and of the moments of the training
    images' features.
    """

    headline: str
    reader: str
    pins: Mapping[str, tuple[str, str]]


class Pinned(NamedTuple):
    """A judge as it was trained for a data set: ``sha256`` of its weights, ``moments`` of its training images'."""

    name: str
    dataset: str
    judge: Judge
    sha256: str
    moments: str
    folder: Path | None = None

    @property
    def path(self) -> Path:
        """Where its weights are."""
        return (self.folder or WEIGHTS) / f"{self.dataset}-{self.name}.safetensors"

    @property
    def moments_path(self) -> Path:
        """Where the moments are that samples are compared with."""
        return self.path.with_suffix(".moments.safetensors")

    @property
    def members(self) -> list[tuple[Pinned, float]]:
        """The judges that it is made of, with their weights; none for a network of its own."""
        return [(judges_of(self.dataset)[name], weight) for name, weight in self.judge.members]


def _classifier() -> Recipe:
    from bench.score.classifier import RECIPE

    return RECIPE


def _texture() -> Recipe:
    from bench.score.texture import RECIPE

    return RECIPE


def _mixer() -> Recipe:
    from bench.score.mixer import RECIPE

    return RECIPE


JUDGES: dict[str, Judge] = {
    "classifier": Judge(
        _classifier,
        "Six convolutions trained on shifted images. It sees what is drawn, and hardly any noise in the pixels.",
    ),
    "texture": Judge(
        _texture,
        "Four convolutions trained to tell images, noise levels and blur apart. It sees noise, blur and compression.",
    ),
    "mixer": Judge(
        _mixer,
        "An MLP-Mixer on patches, trained on plain images with another seed. It shares no part with the other judges.",
    ),
    "together": Judge(
        None,
        "The three networks' features side by side, texture with a small weight. It sees what is drawn, and noise too.",
        members=(("classifier", 1.0), ("texture", 0.08), ("mixer", 1.0)),
    ),
}
PANELS: dict[str, Panel] = {
    "mnist": Panel(
        headline="together",
        reader="classifier",
        pins={
            "classifier": (
                "1bfd7ff5932a8175e6c923dd7563392c17c00769c25aac9bab852162b1baa230",
                "08c4ad819394cf5990d9bb842505d662548cf6bbd3b2b33b8290d6372cb8f2e8",
            ),
            "texture": (
                "cd47cf98c951d898dc4225df8fd4080307e2e9fa5aff41649fc64aa3b52edab1",
                "38431590b60bb6339a9565ce54b9b9c706f3ca53324fb38a8562f2c80f6fdca2",
            ),
            "mixer": (
                "c7b8f875f0182778728648fa44327277a6b2a7189f0d2a8184b5d4a2d4d390d8",
                "95e122e42bc4acae2e9119af7c2df64a19bf0b903a0c3ff6f92e244446f1f255",
            ),
            "together": (
                "dcc45264b2caa098a46fe9804278af489b6a2238ca783064647e6f38c5772188",
                "6862557cf37ea21e3ef012725ce31d4dd9248c90ea0fd18a906e62fe67346dec",
            ),
        },
    ),
    "fashion_mnist": Panel(
        headline="together",
        reader="classifier",
        pins={
            "classifier": (
                "775c0179bf138c0e0a88a9016e28a618ad5e82df1e55ffe2f9c4bb089a21e45a",
                "8ea0c0f228c15e4daf781a56e5b80ff1f7c7324ab4e76f07b9341682c867201d",
            ),
            "texture": (
                "5d30c8fb61177c152bc89bc68b14cfc931111bf8da461c1ce05c0a25b4ce1c66",
                "e6fe6a72beeb5ecf4b5115bdf381f2998fdf595df408c49643c0b027ea66b219",
            ),
            "mixer": (
                "7de6f43dd858b19f6be29151a1d7f31bc5d883f8526751bc3ed46bea22170403",
                "6b9b2d9ebe9c20756f7bd851704389046409dcc4ac4848b1066b4763077981ce",
            ),
            "together": (
                "1abf5a0eb123fc1846eb987c5788ecc2701d5823c117c91bc534d78ba9e3144f",
                "e3c9550bdfe96e85fc0771052e6cb1cbc55bb0a123d6f8df50ca37d831c199b5",
            ),
        },
    ),
}
"""Data set → its judges. A data set without a row has a classifier of its own, trained once for a results folder."""


def column(judge: str) -> str:
    """The name of a judge's own FID."""
    return f"fid_{judge}"


def judges_of(dataset: str) -> dict[str, Pinned]:
    """The pinned judges of a data set, by name; none where it has a classifier of its own."""
    pins = PANELS[dataset].pins if dataset in PANELS else {}
    return {name: Pinned(name, dataset, JUDGES[name], *pin) for name, pin in pins.items()}


def hash_of(members: Iterable[tuple[Pinned, float]]) -> str:
    """What names a judge made of others: a hash of their hashes and weights."""
    text = " ".join(f"{judge.sha256}*{weight:g}" for judge, weight in members)
    return hashlib.sha256(text.encode()).hexdigest()


def headline(dataset: str) -> Pinned | None:
    """The judge that ``fid`` is by, where one is pinned."""
    return judges_of(dataset)[PANELS[dataset].headline] if dataset in PANELS else None


def reader(dataset: str) -> Pinned | None:
    """The judge that says of which class a sample is, where one is pinned."""
    return judges_of(dataset)[PANELS[dataset].reader] if dataset in PANELS else None


def pinned(dataset: str) -> str | None:
    """The hash of the headline judge of this data set, where one is pinned."""
    judge = headline(dataset)
    return judge.sha256 if judge else None


def hashes(dataset: str) -> frozenset[str] | None:
    """The hashes of all judges of a data set: records by any of them can be read. None: any hash will do."""
    return frozenset(judge.sha256 for judge in judges_of(dataset).values()) or None


def with_hash(start: str) -> Pinned | None:
    """The judge of any data set whose hash starts so: 12 digits, or all."""
    every = (judge for dataset in PANELS for judge in judges_of(dataset).values())
    return next((judge for judge in every if start and judge.sha256.startswith(start)), None)


def with_own_column(scores: Mapping[str, float], classifier: str, others: Mapping[str, str]) -> dict[str, float]:
    """A record's scores as a table shows them: ``fid`` also in the column of the judge that it is by.

    A column by other weights than the pinned ones is left out: it is another judge's.

    :param classifier: the hash in the record's provenance.
    :param others: column → the first digits of the hash of its judge.
    """
    here = {(column(judge.name), judge.sha256[:12]) for dataset in PANELS for judge in judges_of(dataset).values()}
    columns = set(map(column, JUDGES))
    shown = {name: value for name, value in scores.items() if name not in columns or (name, others.get(name)) in here}
    judge = with_hash(classifier)
    return shown | ({column(judge.name): scores["fid"]} if judge and "fid" in scores else {})


def panel(metric: str, classifier: str | None = None) -> tuple[str, ...]:
    """The columns of the other judges for a metric: what a claim on it can also be read in. Only ``fid`` has any.

    :param classifier: the hash in the records' provenance; None is MNIST's pinned judge. For the classifier of a data
        set without pinned judges, only the distances that need no network are left.
    """
    if metric != "fid":
        return ()
    judge = with_hash(classifier) if classifier else headline("mnist")
    others = judges_of(judge.dataset) if judge else {}
    return (*(column(name) for name in others if judge and name != judge.name), *VIEWS)
