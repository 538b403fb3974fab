"""Scorers of made-up judges on small pictures, and the judge of a data set that has none: what each step does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import Tensor

from bench.images.dataset import Images
from bench.images.datasets import to_uint8
from bench.score import classifier, eyes, judges, kept, metrics, own, scorer, turns
from bench.score.classifier import Epoch, extract
from bench.score.distances import Moments, mean_over_pairs
from bench.score.judges import JUDGES, PANELS, Panel
from bench.score.kept import Progress, Shipped
from bench.score.learning import JudgeNetwork, Step
from bench.score.reference import in_order
from bench.score.running import Running
from bench.score.scorer import Scorer
from bench.score.views import VIEWS, principal, projected, spectrum
from bench.store.records import ALWAYS, Bounds, Provenance, ReferenceRecord
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures
from tests import small
from tests.small import watched

T = TypeVar("T")
CPU = torch.device("cpu")
DATASET, LETTERS = "shapes", 'emnist(split="letters")'
CHANNELS, CLASSES, TRAIN, TEST = 2, 3, 30, 40
pictures = partial(small.pictures, channels=CHANNELS)
WIDTHS = {"classifier": 2, "texture": 3, "mixer": 4, "together": 9, "own": 5}
NAMES = {width: name for name, width in WIDTHS.items()}
KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "alone": ("classifier", "classifier", ("classifier", "texture")),
    "together": ("together", "classifier", ("classifier", "texture", "mixer", "together")),
    "apart": ("texture", "mixer", ("classifier", "texture", "mixer")),
}
"""What is made up: the headline judge, the reader, and all judges. A data set of the kind ``own`` has none."""
LOOKING, COMPARING = "looking at the training images", "looking at training images to compare with"


class Plain(JudgeNetwork):
    """A few features, and a logit for each class, linear in the pixels."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.classes, self.parts = classes, (width,)
        self.see, self.head = torch.nn.Linear(64 * channels, width), torch.nn.Linear(width, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, 8, 8) → features (B, width), logits (B, classes)."""
        seen = self.see(images.flatten(1).float() / 255)
        return seen, self.head(seen)


def plain(width: int, seed: int = 0) -> Plain:
    """Its weights are drawn by a generator of their own: the global one takes longer to seed."""
    random, network = torch.Generator().manual_seed(seed), Plain(CHANNELS, CLASSES, width)
    for weights in network.parameters():
        weights.data = torch.randn(weights.shape, generator=random) / 8
    return network


def made_up() -> Images:
    """Its test images are of class 0 twice as often as of class 2."""
    labels = torch.tensor([0, 1, 0, 1, 2] * 8)
    return Images(pictures(TRAIN, seed=1), torch.arange(TRAIN) % 3, pictures(TEST, seed=2), labels, "d" * 64, CLASSES)


def itself(value: T) -> T:
    return value


@dataclass
class World:
    """A made-up data set, a results folder, and what networks were evaluated: name, number of images, device."""

    monkeypatch: pytest.MonkeyPatch
    weights: Path
    store: Store
    images: Images = field(default_factory=made_up)
    looked: list[tuple[str, int, object]] = field(default_factory=list)
    trained: list[tuple[object, ...]] = field(default_factory=list)
    roots: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def watching(network: JudgeNetwork, images: Tensor, device: torch.device | str = "cpu") -> classifier.Features:
            self.looked.append((NAMES[network.features], len(images), device))
            return extract(network, images, device)

        def code_hash(*roots: str) -> str:
            self.roots.append(roots)
            return "code"

        self.monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # which is most of what these tests would do
        self.monkeypatch.setattr(classifier, "extract", watching)
        self.monkeypatch.setattr(scorer, "code_hash", code_hash)
        self.monkeypatch.setattr(scorer, "installed", lambda: "")
        self.monkeypatch.setattr(judges, "WEIGHTS", self.weights)
        self.monkeypatch.setattr(eyes, "WEIGHTS", self.weights)

    def pin(self, kind: str, shipped: tuple[str, ...] = ()) -> None:
        """Make the judges of that kind the pinned ones, with moments that come with the package for some."""
        if kind == "own":
            self.monkeypatch.setattr(classifier, "RECIPE", classifier.RECIPE._replace(network=partial(Plain, width=5)))
            self.monkeypatch.setattr(own, "training", self.training)
            return
        headline, reader, names = KINDS[kind]
        pins = {}
        for name in names:
            width, sha256 = WIDTHS[name], "c" * 64
            if name != "together":
                recipe = classifier.RECIPE._replace(network=partial(Plain, width=width))
                self.monkeypatch.setitem(JUDGES, name, replace(JUDGES[name], recipe=partial(itself, recipe)))
                path = self.weights / f"{DATASET}-{name}.safetensors"
                sha256 = classifier.save(plain(width), path, {"accuracy": f"0.{width}75"})
            pins[name] = (sha256, self.ship(name, width) if name in shipped else "")
        self.monkeypatch.setitem(PANELS, DATASET, Panel(headline, reader, pins))

    def ship(self, name: str, width: int) -> str:
        """Write moments as the package has them; they are nobody's, so that they can be told from those worked out."""
        moments = Moments(np.full(width, float(width)), np.eye(width) * width)
        path = self.weights / f"{DATASET}-{name}.moments.safetensors"
        return kept.write(path, Shipped(moments, self.images.sha256, torch.eye(64 * CHANNELS, width)))

    def training(self, *given: Any) -> Generator[Progress, None, None]:
        """In place of :func:`bench.score.own.training`."""
        self.trained.append(given)
        yield Progress("training", 0.5)
        classifier.save(plain(5), own.path_of(DATASET, self.store), {"accuracy": "0.25"})

    def scorer(self, kind: str, judge: str | None = None) -> Scorer:
        """One of that kind, of which nothing was evaluated so far."""
        self.pin(kind)
        found = Scorer(DATASET, self.images, self.store, CPU, judge)
        self.looked.clear()
        return found

    def kept(self, sha256: str, what: str) -> dict[str, Tensor]:
        """What the store has of a judge or view."""
        found = self.store.load_tensors(ReferenceFeatures, eyes.key_of(sha256, self.images, what))
        assert found is not None
        assert found[1] == ReferenceFeatures(code="code")
        return found[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "weights").mkdir()
    yield World(monkeypatch, tmp_path / "weights", Store(tmp_path / "results"))
    classifier.load.cache_clear()


def seen_by(name: str, images: Tensor) -> Tensor:
    """The features that a network or view gives."""
    if name == "pixel_distance":
        return projected(images, principal(made_up().train))
    if name == "spectrum_distance":
        return spectrum(images, torch.zeros(0))
    if name == "together":
        weighted = zip(("classifier", "texture", "mixer"), (1, 0.08, 1), strict=True)
        return torch.cat([seen_by(member, images) * weight**0.5 for member, weight in weighted], 1)
    return extract(plain(WIDTHS[name.removeprefix("fid_")]), images).features


def assert_close(found: Tensor, expected: Tensor) -> None:
    """As torch.testing has it, whose import takes seconds."""
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def assert_moments(found: Moments, rows: Tensor) -> None:
    np.testing.assert_allclose(found.mean, rows.mean(0).numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.covariance, np.cov(rows.numpy(), rowvar=False), rtol=1e-4, atol=1e-7)


# how a scorer is made


def test_a_scorer_of_a_headline_judge(world: World) -> None:
    """It says how far it is while it is made, one judge or view after another; their moments are kept."""
    world.pin("alone")
    told, found = watched(Scorer.made(DATASET, world.images, world.store, CPU))
    assert told == [Progress(LOOKING, 1)] * 4
    assert world.looked == [("classifier", TRAIN, CPU), ("texture", TRAIN, CPU)]
    assert all(device is CPU for _, _, device in world.looked)
    assert type(found) is Scorer
    assert (found.images, found.store, found.device) == (world.images, world.store, CPU)
    row, texture = judges.judges_of(DATASET).values()
    assert found.dataset_sha256 == "d" * 64
    assert (found.code, world.roots) == ("code", [("bench.score.metrics",)])
    assert found.classifier == row.sha256
    assert found.accuracy == 0.275
    assert found.name == f"ddpm-bench-shapes-{row.sha256[:12]}"
    assert found.panel == {"fid_texture": texture.sha256[:12]}
    assert found.provenance == Provenance(classifier=row.sha256, dataset_sha256="d" * 64)
    assert isinstance(found.network, Plain)
    assert torch.equal(found.network.see.weight, plain(2).see.weight)

    assert_moments(found.reference.moments, seen_by("classifier", world.images.train))
    assert list(found.reference.beside) == ["fid_texture", *VIEWS, "fid_classifier"]
    for name, moments in found.reference.beside.items():
        assert_moments(moments, seen_by(name, world.images.train))
    assert found.reference.beside["fid_classifier"] is found.reference.moments
    views = [hashlib.sha256(name.encode()).hexdigest() for name in VIEWS]
    for sha256, width in ((row.sha256, 2), (texture.sha256, 3), (views[0], 64), (views[1], 4)):
        assert len(world.kept(sha256, "moments")["mean"]) == width
    assert len(list((world.store.root / "scoring").iterdir())) == 4

    told, again = watched(Scorer.made(DATASET, world.images, world.store, CPU))
    assert (told, len(world.looked)) == ([], 2)
    assert_moments(again.reference.moments, seen_by("classifier", world.images.train))


def test_a_scorer_that_nobody_watches(world: World) -> None:
    found = world.scorer("alone")
    assert (found.images, found.store, found.device) == (world.images, world.store, CPU)
    assert found.name == f"ddpm-bench-shapes-{judges.judges_of(DATASET)['classifier'].sha256[:12]}"
    assert_moments(found.reference.beside["fid_texture"], seen_by("texture", world.images.train))


def test_a_scorer_by_another_judge(world: World) -> None:
    """The headline judge is then one of the others."""
    found, rows = world.scorer("alone", "texture"), judges.judges_of(DATASET)
    assert found.classifier == rows["texture"].sha256
    assert found.accuracy == 0.375
    assert found.panel == {"fid_classifier": rows["classifier"].sha256[:12]}
    assert list(found.reference.beside) == ["fid_classifier", *VIEWS, "fid_texture"]
    assert_moments(found.reference.moments, seen_by("texture", world.images.train))


def test_a_scorer_of_a_judge_made_of_others(world: World) -> None:
    """There is no file of it, which would tell its accuracy."""
    found, rows = world.scorer("together"), judges.judges_of(DATASET)
    assert (found.classifier, found.accuracy) == ("c" * 64, None)
    assert found.panel == {f"fid_{name}": rows[name].sha256[:12] for name in ("classifier", "texture", "mixer")}
    assert list(found.reference.beside) == ["fid_classifier", "fid_texture", "fid_mixer", *VIEWS, "fid_together"]
    assert_moments(found.reference.moments, seen_by("together", world.images.train))


def test_a_scorer_of_a_data_set_without_pinned_judges(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.pin("own")
    load, loaded = own.load, []

    def watching(*given: Any) -> JudgeNetwork:
        loaded.append(given)
        return load(*given)

    monkeypatch.setattr(own, "load", watching)
    told, found = watched(Scorer.made(DATASET, world.images, world.store, CPU))
    assert told == [Progress("training", 0.5), *[Progress(LOOKING, 1)] * 3]
    assert world.trained == [(DATASET, world.images, world.store, CPU)]
    sha256 = hashlib.sha256(own.path_of(DATASET, world.store).read_bytes()).hexdigest()
    assert loaded == [(DATASET, world.images, world.store, sha256)]
    assert (found.classifier, found.accuracy) == (sha256, 0.25)
    assert found.name == f"ddpm-bench-shapes-{sha256[:12]}"
    assert found.panel == {}
    assert list(found.reference.beside) == list(VIEWS)
    assert_moments(found.reference.moments, seen_by("own", world.images.train))


def test_moments_that_come_with_the_package_are_not_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of judges made of others and of views, too; what was fitted for a view comes with them."""
    world.pin("together", shipped=KINDS["together"][2])
    for name in VIEWS:
        sha256 = world.ship(name.replace("_", "-"), 7)
        monkeypatch.setitem(VIEWS[name].moments, DATASET, sha256)
    told, found = watched(Scorer.made(DATASET, world.images, world.store, CPU))
    assert (told, world.looked) == ([], [])
    assert not world.store.root.exists()
    assert found.reference.moments.mean.tolist() == [9] * 9
    assert {name: moments.mean.tolist() for name, moments in found.reference.beside.items()} == {
        "fid_classifier": [2] * 2,
        "fid_texture": [3] * 3,
        "fid_mixer": [4] * 4,
        "pixel_distance": [7] * 7,
        "spectrum_distance": [7] * 7,
        "fid_together": [9] * 9,
    }
    seen = found.see(world.images.test, only="pixel_distance").beside["pixel_distance"]
    assert torch.equal(seen, projected(world.images.test, torch.eye(64 * CHANNELS, 7)))


def test_chance_is_the_share_of_the_most_frequent_class(world: World) -> None:
    found = world.scorer("alone")
    assert found.chance == 0.4
    found.images = replace(found.images, classes=0)
    assert found.chance is None


@pytest.mark.parametrize(("said", "found"), [({"accuracy": "0.5"}, 0.5), ({"accuracy": "good"}, None), ({}, None)])
def test_the_accuracy_that_a_file_tells(tmp_path: Path, said: dict[str, str], found: float | None) -> None:
    classifier.save(plain(2), tmp_path / "net.safetensors", said)
    assert scorer._accuracy(tmp_path / "net.safetensors") == found
    assert scorer._accuracy(tmp_path / "gone") is None


# what is seen

SEEN: list[tuple[str, str | None, list[str], list[str], str]] = [
    ("alone", None, ["classifier", "texture"], ["fid_texture", *VIEWS], "classifier"),
    ("alone", "fid", ["classifier"], [], "classifier"),
    ("alone", "kid", ["classifier"], [], "classifier"),
    ("alone", "fid_classifier", ["classifier"], ["fid_classifier"], "classifier"),
    ("alone", "fid_texture", ["classifier", "texture"], ["fid_texture"], "classifier"),
    ("alone", "pixel_distance", ["classifier"], ["pixel_distance"], "classifier"),
    ("together", None, ["together"], ["fid_classifier", "fid_texture", "fid_mixer", *VIEWS], "classifier"),
    ("together", "confidence", ["together"], [], "classifier"),
    ("together", "fid_together", ["together"], ["fid_together"], "classifier"),
    ("together", "fid_mixer", ["together", "mixer"], ["fid_mixer"], "classifier"),
    ("apart", None, ["texture", "mixer", "classifier"], ["fid_mixer", "fid_classifier", *VIEWS], "mixer"),
    ("apart", "fid", ["texture"], [], "texture"),
    ("apart", "kid", ["texture", "mixer"], [], "mixer"),
    ("apart", "confidence", ["texture", "mixer"], [], "mixer"),
    ("apart", "fid_texture", ["texture"], ["fid_texture"], "texture"),
    ("apart", "fid_mixer", ["texture", "mixer"], ["fid_mixer"], "texture"),
    ("apart", "spectrum_distance", ["texture"], ["spectrum_distance"], "texture"),
    ("own", None, ["own"], [*VIEWS], "own"),
    ("own", "fid", ["own"], [], "own"),
    ("own", "confidence", ["own"], [], "own"),
    ("own", "fid_classifier", ["own"], [], "own"),
    ("own", "spectrum_distance", ["own"], ["spectrum_distance"], "own"),
]


@pytest.mark.parametrize(("kind", "only", "networks", "columns", "reads"), SEEN)
def test_who_looks(
    world: World, kind: str, only: str | None, networks: list[str], columns: list[str], reads: str
) -> None:
    """Each network once, in this order, and none that is not needed; and whose logits they are."""
    found, images, asked = world.scorer(kind), pictures(12, seed=3), torch.arange(12) % 3
    seen = found.see(images, asked, only)
    assert world.looked == [(name, 12, CPU) for name in networks]
    assert all(device is CPU for _, _, device in world.looked)
    assert_close(seen.features, seen_by(networks[0], images))
    assert torch.equal(seen.logits, extract(plain(WIDTHS[reads]), images).logits)
    assert seen.asked is asked
    assert list(seen.beside) == columns
    for name, rows in seen.beside.items():
        expected = seen_by(name.removeprefix("fid_"), images)
        assert_close(rows, expected)


def test_no_class_is_asked_for_unless_told(world: World) -> None:
    assert world.scorer("own").see(pictures(3, seed=3)).asked is None


def test_a_judge_of_more_members_than_it_has_is_an_error(world: World) -> None:
    found = world.scorer("together")
    found._members.append("fid_other")
    with pytest.raises(ValueError, match=r"^zip\(\) argument 2 is shorter than argument 1$"):
        found.see(pictures(3, seed=3))


# scores


def test_scores_are_of_what_is_seen(world: World) -> None:
    found, images, asked = world.scorer("apart"), world.images.test, world.images.test_labels
    seen = found.see(images, asked)
    expected = metrics.score(seen, found.reference)
    of_judges = {"fid_classifier", "fid_texture", "fid_mixer", "fid_together"}
    assert set(expected) == metrics.METRICS.keys() - of_judges | {"fid_classifier", "fid_mixer"}
    assert found.score(images, asked) == expected
    assert found.score(images) == metrics.score(seen._replace(asked=None), found.reference)
    world.looked.clear()
    assert found.score(images, asked, "class_accuracy") == {"class_accuracy": expected["class_accuracy"]}
    assert found.score(images, only="fid_texture") == {"fid_texture": expected["fid"]}
    assert [name for name, _, _ in world.looked] == ["texture", "mixer", "texture"]


def test_images_that_come_in_parts(world: World) -> None:
    found, images = world.scorer("apart"), world.images.test
    by_hand = Running(3, {"fid_classifier": 2, "fid_mixer": 4, "pixel_distance": 64, "spectrum_distance": 4}, CLASSES)
    parts = images.split(15)
    for part in parts:
        by_hand.add(found.see(part))
    world.looked.clear()
    running = found.stream(iter(parts))
    assert [(name, n) for name, n, _ in world.looked] == [
        (name, n) for n in (15, 15, 10) for name in ("texture", "mixer", "classifier")
    ]
    assert running.n == TEST
    assert running.scores(found.reference) == by_hand.scores(found.reference)
    assert found.stream([]).n == 0


def test_nothing_so_far(world: World) -> None:
    running = world.scorer("apart").running()
    assert running.n == 0
    assert running.seen.mean.shape == (3,)
    assert {name: gathered.mean.shape for name, gathered in running.beside.items()} == {
        "fid_classifier": (2,),
        "fid_mixer": (4,),
        "pixel_distance": (64,),
        "spectrum_distance": (4,),
    }
    assert running.chance.shape == running.count.shape == (CLASSES,)


def numbered(n: int) -> dict[str, float]:
    return dict.fromkeys(sorted(ALWAYS), float(n))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Images that were scored; the scores are their number in this list."""
    found: list[Tensor] = []

    def score(self: Scorer, images: Tensor) -> dict[str, float]:
        found.append(images)
        return numbered(len(found))

    monkeypatch.setattr(Scorer, "score", score)
    return found


def test_floor_and_ceiling(world: World, scored: list[Tensor]) -> None:
    """Of test images drawn at random, and of noise drawn after them; what is kept says what it is of."""
    found = world.scorer("alone")
    assert found.bounds(25) == Bounds(numbered(1), numbered(2))
    random = torch.Generator().manual_seed(0)
    order = torch.randperm(TEST, generator=random)[:25]
    noise = torch.randn((25, CHANNELS, 8, 8), generator=random)
    assert torch.equal(scored[0], world.images.test[order])
    assert torch.equal(scored[1], ((noise + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    key = ReferenceRecord.key_of(found.classifier, "d" * 64, 25)
    assert dict(world.store.records(ReferenceRecord)) == {
        key: ReferenceRecord(
            classifier=found.classifier,
            dataset_sha256="d" * 64,
            code="code",
            n=25,
            floor=numbered(1),
            ceiling=numbered(2),
        )
    }


def test_floor_and_ceiling_are_kept(world: World, scored: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made again where the code of metrics is another, or another package adds some."""
    found = world.scorer("alone")
    assert found.bounds(25) == found.bounds(25) == Bounds(numbered(1), numbered(2))
    assert len(scored) == 2
    for i, (code, packages, whole) in enumerate(
        (("newer", "", "newer"), ("newer", "some 1.0", "newer some 1.0"), ("code", "", "code")), 1
    ):
        found.code = code
        monkeypatch.setattr(scorer, "installed", lambda packages=packages: packages)
        assert found.bounds(25) == found.bounds(25) == Bounds(numbered(2 * i + 1), numbered(2 * i + 2))
        (record,) = (record for _, record in world.store.records(ReferenceRecord))
        assert record.code == whole
        assert torch.equal(scored[-2], scored[0])
        assert torch.equal(scored[-1], scored[1])
    assert len(scored) == 8
    assert found.bounds(TEST + 1) == Bounds(numbered(9), numbered(10)), "of another number they are others"
    assert [len(images) for images in scored[-2:]] == [TEST, TEST], "of all, where there are fewer"


def test_real_floor_and_ceiling(world: World) -> None:
    found = world.scorer("alone")
    random = torch.Generator().manual_seed(0)
    drawn = world.images.test[torch.randperm(TEST, generator=random)[:25]]
    noise = to_uint8(torch.randn(drawn.shape, generator=random))
    assert found.bounds(25) == Bounds(found.score(drawn), found.score(noise))


# the reference's subset


def test_as_much_of_the_subset_as_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch at a time, in the fixed order; more of it later, without those that were looked at."""
    monkeypatch.setattr(classifier, "BATCH", 4)
    found = world.scorer("alone")
    expected = seen_by("classifier", world.images.train[in_order(TRAIN)])
    assert list(found.reference.reading(6)) == [Progress(COMPARING, 4 / 6), Progress(COMPARING, 1)]
    assert world.looked == [("classifier", 4, CPU), ("classifier", 2, CPU)]
    assert all(device is CPU for _, _, device in world.looked)
    held = world.kept(found.classifier, "subset")
    assert held.keys() == {"subset"}
    assert_close(held["subset"], expected[:6])

    assert list(found.reference.reading(6)) == list(found.reference.reading(5)) == []
    assert len(world.looked) == 2
    shares = [Progress(COMPARING, share) for share in (10 / 13, 1)]
    assert list(found.reference.reading(13)) == shares
    assert [n for _, n, _ in world.looked[2:]] == [4, 3]
    held = world.kept(found.classifier, "subset")
    assert_close(held["subset"], expected[:13])


def test_the_whole_subset(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many as there are, or of fewer where the subset is smaller."""
    monkeypatch.setattr(classifier, "BATCH", 16)
    found = world.scorer("alone")
    assert list(found.reference.reading()) == [Progress(COMPARING, 16 / TRAIN), Progress(COMPARING, 1)]
    expected = seen_by("classifier", world.images.train[in_order(TRAIN)])
    assert_close(found.reference.subset, expected)
    assert list(found.reference.reading(TRAIN + 1)) == []

    monkeypatch.setattr(scorer, "SUBSET", 11)
    smaller = world.scorer("alone", "texture")
    assert list(smaller.reference.reading()) == [Progress(COMPARING, 1)]
    assert world.looked == [("texture", 11, CPU)]
    assert len(smaller.reference.subset) == 11


def test_what_was_kept_is_found_by_the_next(world: World) -> None:
    """That of the same judge, images and code."""
    first = world.scorer("alone")
    assert len(first.reference.rows(8)) == 8
    again = world.scorer("alone")
    assert torch.equal(again.reference.rows(8), first.reference.rows(8))
    assert world.looked == []
    assert len(world.scorer("alone", "texture").reference.rows(8)) == 8
    assert world.looked == [("texture", 8, CPU)]

    world.monkeypatch.setattr(scorer, "code_hash", lambda *roots: "newer")
    newer = world.scorer("alone")
    assert torch.equal(newer.reference.rows(8), first.reference.rows(8))
    assert world.looked == [("classifier", 8, CPU)]
    found = world.store.load_tensors(ReferenceFeatures, eyes.key_of(newer.classifier, world.images, "subset"))
    assert found is not None
    assert found[1] == ReferenceFeatures(code="newer")


def test_nothing_is_kept_of_a_batch_that_is_not_the_last(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BATCH", 4)
    reading = world.scorer("alone").reference.reading(6)
    assert next(reading) == Progress(COMPARING, 4 / 6)
    reading.close()  # type: ignore[attr-defined]
    assert world.scorer("alone").reference._held == {}


def test_rows_of_the_subset(world: World) -> None:
    """No more are looked at than are asked for."""
    reference = world.scorer("alone").reference
    expected = seen_by("classifier", world.images.train[in_order(TRAIN)])
    assert_close(reference.rows(7), expected[:7])
    assert world.looked == [("classifier", 7, CPU)]
    assert_close(reference.rows(3), expected[:3])
    assert_close(reference.rows(TRAIN + 5), expected)
    assert [n for _, n, _ in world.looked] == [7, 23]


def test_the_mean_within_the_subset_is_worked_out_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(rows: Tensor) -> float:
        asked.append(len(rows))
        return mean_over_pairs(rows)

    monkeypatch.setattr(scorer, "mean_over_pairs", counting)
    reference = world.scorer("alone").reference
    expected = mean_over_pairs(seen_by("classifier", world.images.train[in_order(TRAIN)]))
    assert reference.within == reference.within == pytest.approx(expected, rel=1e-12)
    held = world.kept(judges.judges_of(DATASET)["classifier"].sha256, "subset")
    assert held.keys() == {"subset", "within"}
    assert held["within"].dtype == torch.float64
    assert world.scorer("alone").reference.within == float(held["within"]) == reference.within
    assert asked == [TRAIN]
    world.monkeypatch.setattr(scorer, "code_hash", lambda *roots: "newer")
    assert world.scorer("alone").reference.within == reference.within
    assert asked == [TRAIN, TRAIN]


# getting ready


def test_getting_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BATCH", 12)
    monkeypatch.setattr(scorer, "TELL_S", -1.0)
    world.pin("alone")
    told, found = watched(scorer.preparing(DATASET, world.images, world.store, CPU))
    parts = [Progress(COMPARING, share) for share in (12 / 30, 24 / 30, 1)]
    assert told == [*[Progress(LOOKING, 1)] * 4, *parts]
    assert (found.images, found.store, found.device) == (world.images, world.store, CPU)
    assert found.name.startswith("ddpm-bench-shapes-")
    assert len(found.reference._held["subset"]) == TRAIN


def test_getting_ready_without_pairs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "TELL_S", -1.0)
    world.pin("alone")
    told, found = watched(scorer.preparing(DATASET, world.images, world.store, CPU, pairs=False))
    assert told == [Progress(LOOKING, 1)] * 4
    assert found.reference._held == {}


def test_getting_ready_is_told_of_seldom(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "BATCH", 12)
    monkeypatch.setattr(scorer, "TELL_S", 1e9)
    world.pin("alone")
    told = list(scorer.preparing(DATASET, world.images, world.store, CPU, pairs=True))
    assert told == [Progress(LOOKING, 1), Progress(COMPARING, 12 / 30)]


def test_something_else_is_told_of_at_once_and_the_same_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where it is exactly a second; the clock starts at 0, and so does what was told, as nothing."""
    clock = [0.0]
    monkeypatch.setattr(scorer, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    told_at = {
        (0.25, ""): False,
        (1.0, ""): False,
        (1.5, ""): True,
        (2.0, ""): False,
        (2.5, ""): False,
        (2.75, ""): True,
        (2.75, "more"): True,
        (3.5, "more"): False,
        (3.75, "more"): False,
        (4.0, "more"): True,
        (4.25, ""): True,
        (5.0, ""): False,
    }

    def work() -> Generator[Progress, None, str]:
        for clock[0], what in told_at:
            yield Progress(what, clock[0])
        return "done"

    told, found = watched(scorer.seldom(work()))
    assert told == [Progress(what, at) for (at, what), is_told in told_at.items() if is_told]
    assert found == "done"


def test_what_comes_of_something_that_nobody_watches() -> None:
    steps = []

    def work() -> Generator[Progress, None, str]:
        for i in range(3):
            steps.append(i)
            yield Progress("working", i)
        return "done"

    assert scorer.last(work()) == "done"
    assert steps == [0, 1, 2]


# the judge of a data set without pinned ones


def keep(store: Store, dataset: str = LETTERS, sha256: str = "d" * 64) -> Path:
    """A judge of those images, in its place."""
    path = own.path_of(dataset, store)
    classifier.save(plain(2), path, {"dataset_sha256": sha256})
    return path


class Training:
    """In place of :func:`bench.score.classifier.train`: made-up events, and how it was called."""

    def __init__(self, *events: Step | tuple[Epoch, JudgeNetwork], error: Exception | None = None) -> None:
        self.events, self.error = events, error
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *given: Any, **more: Any) -> Iterator[Step | tuple[Epoch, JudgeNetwork]]:
        """Tell of the events, then fail if there is an error."""
        self.calls.append((given, more))
        yield from self.events
        if self.error:
            raise self.error


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    """Two epochs, with a step in each."""
    found = Training(
        Step(1, 4, 0.5), (Epoch(1, 2.0, 0.25), plain(2, 1)), Step(2, 4, 0.25), (Epoch(2, 1.0, 0.71239), plain(2, 2))
    )
    monkeypatch.setattr(classifier, "train", found)
    return found


def test_where_a_judge_is_kept() -> None:
    """By the data set's name, and by a hash of its options, but for where it lies."""
    store = Store(Path("results"))
    assert own.file_of("mnist") == "mnist"
    assert own.path_of("mnist", store) == Path("results/classifiers/mnist.safetensors")
    ending = hashlib.sha256(LETTERS.encode()).hexdigest()[:12]
    assert own.file_of(LETTERS) == f"emnist-{ending}"
    assert own.path_of(LETTERS, store) == Path(f"results/classifiers/emnist-{ending}.safetensors")
    ending = hashlib.sha256(b"folder(side=8)").hexdigest()[:12]
    assert own.file_of('folder(path="here",side=8)') == own.file_of('folder(path="there",side=8)') == f"folder-{ending}"
    assert own.file_of('folder(path="here")') == "folder"


@pytest.mark.parametrize(("classes", "recipe"), [(3, classifier.RECIPE), (1, classifier.RECIPE), (0, turns.RECIPE)])
def test_what_is_loaded(monkeypatch: pytest.MonkeyPatch, classes: int, recipe: Any) -> None:
    calls, network, store, images = [], plain(2), Store(Path("results")), replace(made_up(), classes=classes)

    def load(*given: Any) -> JudgeNetwork:
        calls.append(given)
        return network

    monkeypatch.setattr(classifier, "load", load)
    assert own.recipe_of(images) is recipe
    assert own.load(LETTERS, images, store, "e" * 64) is network
    assert calls == [(own.path_of(LETTERS, store), "e" * 64, CHANNELS, recipe.network, classes)]


def test_whether_there_is_a_judge_of_these_images(tmp_path: Path) -> None:
    store, images = Store(tmp_path), made_up()
    assert not own._there(LETTERS, images, store)
    path = keep(store)
    assert own._there(LETTERS, images, store)
    assert not own._there("mnist", images, store)
    assert not own._there(LETTERS, replace(images, sha256="e" * 64), store)
    assert store.damaged == []
    path.write_bytes(path.read_bytes()[:-9])
    assert not own._there(LETTERS, images, store)
    assert store.damaged == [path]
    classifier.save(plain(2), path, {})
    assert not own._there(LETTERS, images, store)


def test_what_training_tells_and_keeps(tmp_path: Path, training: Training) -> None:
    store, images = Store(tmp_path), replace(made_up(), train=pictures(300, seed=1))
    what = "training the classifier of emnist"
    shares = (0, 0.5 / 4, 1 / 500, 1.25 / 4, 2 / 500)
    assert list(own._train(LETTERS, images, store, CPU)) == [Progress(what, share) for share in shares]
    assert training.calls == [((images,), {"recipe": classifier.RECIPE, "epochs": 500, "device": CPU})]
    assert training.calls[0][1]["device"] is CPU
    path = own.path_of(LETTERS, store)
    said = {"dataset": LETTERS, "dataset_sha256": "d" * 64, "accuracy": "0.7124"}
    assert classifier.about(path) == said
    assert all(torch.equal(kept, plain(2, 2).state_dict()[name]) for name, kept in load_file(path).items())


def test_training_on_images_without_labels(tmp_path: Path, training: Training) -> None:
    """There is no accuracy to be told, and where images lie is not."""
    store, dataset = Store(tmp_path), 'folder(path="here",side=8)'
    images = replace(made_up(), classes=0)
    told = list(own._train(dataset, images, store, CPU))
    assert told[0] == Progress("training the judge of folder", 0)
    assert [progress.what for progress in told] == ["training the judge of folder"] * 5
    assert training.calls == [((images,), {"recipe": turns.RECIPE, "epochs": 1000, "device": CPU})]
    assert classifier.about(own.path_of(dataset, store)) == {"dataset": "folder(side=8)", "dataset_sha256": "d" * 64}


@pytest.mark.parametrize(
    ("n", "classes", "epochs"),
    [
        (1, 3, 1000),
        (128, 3, 1000),
        (255, 3, 1000),
        (256, 3, 500),
        (300, 3, 500),
        (384, 3, 334),
        (128 * 71 + 5, 3, 15),
        (128 * 72, 3, 14),
        (128 * 1000, 3, 14),
        (128 * 1000, 0, 4),
    ],
)
def test_a_small_data_set_is_gone_through_more_often(
    tmp_path: Path, training: Training, n: int, classes: int, epochs: int
) -> None:
    """As often as gives a thousand steps, and no less than the recipe says."""
    images = replace(made_up(), train=torch.zeros((n, 1, 1, 1), dtype=torch.uint8), classes=classes)
    assert len(list(own._train("mnist", images, Store(tmp_path), CPU))) == 5
    assert training.calls[0][1]["epochs"] == epochs


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], list[bool]]:
    """How locks are made and used; and whether the next tries find one taken."""
    used: list[object] = []
    taken: list[bool] = []

    class Lock:
        def __init__(self, path: Path, **more: object) -> None:
            used.append((path, more))

        def acquire(self, **more: object) -> None:
            used.append(("acquire", more))
            if taken and taken.pop(0):
                raise Timeout("some.lock")

        def release(self) -> None:
            used.append("release")

    monkeypatch.setattr(own, "FileLock", Lock)
    return used, taken


def test_a_judge_is_trained_under_a_lock(
    tmp_path: Path, training: Training, locks: tuple[list[object], list[bool]]
) -> None:
    """It may be begun by one thread and ended by another. Whoever waits for the lock looks about once a second."""
    store, images = Store(tmp_path), made_up()
    used, taken = locks
    taken += [True, True, False]
    told = list(own.training(LETTERS, images, store, CPU))
    waiting = Progress("waiting for the classifier of emnist, which another process trains", 0)
    assert told[:3] == [waiting, waiting, Progress("training the classifier of emnist", 0)]
    assert len(told) == 7
    path = store.path("locks", f"classifier-{own.file_of(LETTERS)}", ".lock")
    assert used == [(path, {"thread_local": False}), *[("acquire", {"timeout": 1.0})] * 3, "release"]
    assert training.calls == [((images,), {"recipe": classifier.RECIPE, "epochs": 1000, "device": CPU})]
    assert training.calls[0][1]["device"] is CPU
    assert own._there(LETTERS, images, store)

    used.clear()
    assert list(own.training(LETTERS, images, store, CPU)) == [], "once is enough"
    assert used == [(path, {"thread_local": False})]
    assert len(training.calls) == 1
    others = replace(images, sha256="e" * 64)
    assert len(list(own.training(LETTERS, others, store, CPU))) == 5
    assert training.calls[1][0] == (others,)


def test_whoever_gets_the_lock_looks_again(
    tmp_path: Path, training: Training, locks: tuple[list[object], list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have trained it just before."""
    store, images, found = Store(tmp_path), made_up(), iter([False, True])
    asked = []

    def there(*given: object) -> bool:
        asked.append(given)
        return next(found)

    monkeypatch.setattr(own, "_there", there)
    assert list(own.training(LETTERS, images, store, CPU)) == []
    assert asked == [(LETTERS, images, store)] * 2
    assert locks[0][1:] == [("acquire", {"timeout": 1.0}), "release"]
    assert training.calls == []


def lock_of(store: Store) -> FileLock:
    store.writable()
    return FileLock(store.path("locks", f"classifier-{own.file_of(LETTERS)}", ".lock"))


def test_what_another_process_trains_is_waited_for(
    tmp_path: Path, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is there, though the other has not let go of the lock yet."""
    monkeypatch.setattr(own, "LOOK_S", 0.01)
    store, images = Store(tmp_path), made_up()
    steps = own.training(LETTERS, images, store, CPU)
    waiting = Progress("waiting for the classifier of emnist, which another process trains", 0)
    with lock_of(store):
        assert [next(steps), next(steps)] == [waiting, waiting]
        keep(store)
        assert list(steps) == []
    assert training.calls == []


@pytest.mark.parametrize("how", ["done", "broken", "closed"])
def test_the_lock_is_let_go_of(tmp_path: Path, training: Training, how: str) -> None:
    store, images = Store(tmp_path), made_up()
    training.error = RuntimeError("out of memory") if how == "broken" else None
    steps = own.training(LETTERS, images, store, CPU)
    assert next(steps) == Progress("training the classifier of emnist", 0)
    with pytest.raises(Timeout), lock_of(store).acquire(timeout=0):
        pass
    if how == "done":
        assert len(list(steps)) == 4
    elif how == "broken":
        with pytest.raises(RuntimeError, match=r"^out of memory$"):
            list(steps)
    else:
        steps.close()
    with lock_of(store).acquire(timeout=0):
        pass
    assert own.path_of(LETTERS, store).is_file() == (how == "done")


def test_the_numbers_of_training() -> None:
    assert (own.STEPS, own.BATCH, own.LOOK_S, scorer.TELL_S) == (1000, 128, 1.0, 1.0)
