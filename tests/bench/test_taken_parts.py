"""Scores of somebody else's images, piece by piece: with a judge that sees two sums of small made-up pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.images.conventions import Change
from bench.images.dataset import Images
from bench.images.source import Counts, Source
from bench.score import classifier, metrics, taken
from bench.score.classifier import Features
from bench.score.distances import Moments, frechet_distance
from bench.score.kept import Progress
from bench.score.learning import JudgeNetwork
from bench.score.reference import Reference
from bench.score.running import Running
from bench.score.taken import Taken, _Seen
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures
from tests.small import watched

RUNNING = ("fid", "fid_bias", "inception_score", "confidence", "class_balance", "other")
"""What comes of sums over all images, of this judge."""
KEY = hashlib.sha256(f"{'c' * 64} {'d' * 64} classes".encode()).hexdigest()[:16]
EACH_CLASS = [Progress("looking at the training images of each class", share) for share in (0, 1 / 3, 2 / 3)]


def pictures(n: int, seed: int = 0, classes: Tensor | None = None) -> Tensor:
    """uint8 (n, 1, 4, 5), so that height and width are told apart; the judge takes them for those classes."""
    random = torch.Generator().manual_seed(seed)
    found = torch.randint(0, 250, (n, 1, 4, 5), generator=random, dtype=torch.uint8)
    if classes is not None:
        found[:, 0, -1, -1] = classes.byte()
        found[:, 0, 0] //= (classes + 1).byte()[:, None]
    return found


def labelled(*counts: int, seed: int = 3) -> Tensor:
    """So many labels of each class, mixed."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


class Edges(JudgeNetwork):
    """Two features, the sums of the first row and of the first column; the class is the last pixel, modulo 3."""

    parts = (2,)
    classes = 3

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 1, H, W) → features (B, 2), logits (B, 3)."""
        seen = images[:, 0].double()
        classes = images[:, 0, -1, -1].long() % 3
        return torch.stack([seen[:, 0].sum(1), seen[:, :, 0].sum(1)], 1), 4 * torch.eye(3).double()[classes]


class Known(Reference):
    """As that of a scorer: it says how far it is with what pairs need."""

    def reading(self) -> Iterator[Progress]:
        """Two steps."""
        yield Progress("reading", 0.5)
        yield Progress("reading", 1.0)


class Judge:
    """As much of a scorer as is needed here, with so many training images of each class."""

    def __init__(self, root: Path, *counts: int) -> None:
        labels = labelled(*counts)
        train = pictures(len(labels), 1, labels)
        self.images = Images(train, labels, train[:0], labels[:0], "d" * 64, 3)
        self.network, self.device, self.store = Edges(), torch.device("cpu"), Store(root)
        self.classifier, self.code = "c" * 64, "one"
        self.looked: list[Tensor] = []
        seen = self.see(train)
        self.reference = Known(seen.features, beside={"other": Moments.of(seen.beside["other"])})
        self.looked.clear()

    def running(self) -> Running:
        """Of none so far."""
        return Running(2, {"other": 2}, 3)

    def see(self, images: Tensor) -> Features:
        """The two features, and two others; what was looked at is remembered."""
        self.looked.append(images)
        features, logits = self.network(images)
        return Features(features, logits, beside={"other": features.flip(1) + 1})


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    """One of a class without enough training images, the last."""
    return Judge(tmp_path, 24, 31, 19)


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """With what features are asked for."""
    calls: list[tuple[Any, ...]] = []
    extract = classifier.extract

    def noted(*given: Any) -> Features:
        calls.append(given)
        return extract(*given)

    monkeypatch.setattr(classifier, "extract", noted)
    return calls


def source_of(images: Tensor, sizes: Sequence[int], labels: Tensor | None = None) -> Source:
    """Pictures in parts of these sizes."""

    def batches() -> Iterator[np.ndarray]:
        return (part.numpy() for part in images.split(list(sizes)))

    return Source(
        len(images), "made up", Counts(len(images), len(images)), batches, None if labels is None else labels.numpy()
    )


def seen_of(judge: Any, source: Source) -> _Seen:
    seen = _Seen(source, judge)
    for images in source:
        seen.add(images, judge.see(images))
    return seen


def moments_of(judge: Any, images: Tensor) -> Moments:
    return Moments.of(judge.network(images)[0])


def assert_same(found: Moments | None, expected: Moments) -> None:
    assert found is not None
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-12)


# what is kept of the images


@pytest.mark.parametrize(("n", "kept"), [(29, 29), (30, 30), (31, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_features_are_kept_up_to_a_limit(
    judge: Any, monkeypatch: pytest.MonkeyPatch, n: int, kept: int, known: bool
) -> None:
    monkeypatch.setattr(taken, "STREAMED", 30)
    images = pictures(n)
    features, logits = judge.network(images)
    seen = seen_of(judge, source_of(images, (7, 1, 12, n - 20), torch.arange(n) % 3 if known else None))
    assert seen.features.dtype == seen.logits.dtype == torch.float64
    assert (seen.features.shape, seen.logits.shape) == ((kept, 2), (kept, 3))
    assert torch.equal(seen.features, features[:kept])
    assert torch.equal(seen.logits, logits[:kept])


def test_nothing_is_seen_at_first(judge: Any) -> None:
    source = source_of(pictures(30), (30,))
    seen = _Seen(source, judge)
    assert seen.source is source
    assert (seen.done, seen.running.n, seen.classes) == (0, 0, [])
    assert (seen.few.shape, seen.few.dtype) == ((0,), torch.uint8)


def test_parts_are_counted(judge: Any) -> None:
    seen = _Seen(source_of(pictures(30), (30,)), judge)
    for size, done in ((7, 7), (1, 8), (12, 20), (10, 30)):
        seen.add(pictures(size), judge.see(pictures(size)))
        assert seen.done == done


def test_sizes_unless_told_otherwise(judge: Any) -> None:
    """Features of 50,000 images at most, and changes tried on 500 of them."""

    def source(n: int) -> Source:
        return Source(n, "made up", Counts(n, n), lambda: iter(()))

    for n, kept in ((50_000, 50_000), (50_001, 0)):
        assert len(_Seen(source(n), judge).features) == kept
    for n, tried in ((499, 499), (500, 500), (501, 251), (1000, 500), (1001, 334)):
        seen = _Seen(source(n), judge)
        seen.add(pictures(1), judge.see(pictures(1)))
        assert len(seen.few) == tried


@pytest.mark.parametrize(
    ("n", "which"),
    [
        (3, [0, 1, 2]),
        (4, [0, 1, 2, 3]),
        (5, [0, 2, 4]),
        (7, [0, 2, 4, 6]),
        (8, [0, 2, 4, 6]),
        (9, [0, 3, 6]),
        (11, [0, 3, 6, 9]),
        (13, [0, 4, 8, 12]),
    ],
)
@pytest.mark.parametrize("sizes", [(13,), (1,) * 13, (1, 1, 4, 2, 5), (2, 1, 7, 3), (5, 8)])
def test_changes_are_tried_on_every_so_many(
    judge: Any, monkeypatch: pytest.MonkeyPatch, n: int, which: list[int], sizes: tuple[int, ...]
) -> None:
    """On at most 4 here, spread over all, whatever the parts that they come in."""
    monkeypatch.setattr(taken, "TRIED", 4)
    images = pictures(n)
    ends = np.minimum(np.cumsum(sizes), n)
    seen = seen_of(judge, source_of(images, [size for size in np.diff(ends, prepend=0).tolist() if size]))
    assert seen.few.dtype == torch.uint8
    assert torch.equal(seen.few, images[which])


@pytest.mark.parametrize("sizes", [(60,), (1, 19, 2, 38)])
def test_sums_of_all_and_of_each_class(judge: Any, sizes: tuple[int, ...]) -> None:
    """Of each class by its label, whatever is seen in it; other features only of all."""
    labels, taken_for = labelled(25, 14, 21), labelled(20, 30, 10, seed=8)
    images = pictures(60, 2, taken_for)
    seen = seen_of(judge, source_of(images, sizes, labels))
    assert seen.running.n == seen.running.beside["other"].n == 60
    assert_same(seen.running.moments, moments_of(judge, images))
    assert [running.n for running in seen.classes] == [25, 14, 21]
    for c, running in enumerate(seen.classes):
        assert not running.beside
        assert_same(running.moments, moments_of(judge, images[labels == c]))
        assert running.count.tolist() == [int((taken_for[labels == c] == k).sum()) for k in range(3)]


def test_no_sums_of_classes_without_labels(judge: Any) -> None:
    assert seen_of(judge, source_of(pictures(30), (30,))).classes == []


# scores of what was kept


@pytest.mark.parametrize("known", [True, False])
def test_few_images_have_every_score(judge: Any, known: bool) -> None:
    """Those of pairs too; and of classes asked for where labels say them."""
    images, labels = pictures(40, 2, labelled(20, 12, 8)), labelled(10, 15, 15, seed=5)
    found = seen_of(judge, source_of(images, (7, 33), labels if known else None)).scores(judge)
    features, logits = judge.network(images)
    by_pairs = metrics.score(Features(features, logits, labels if known else None), judge.reference)
    asking = {"class_accuracy", "worst_class_accuracy"} if known else set()
    of_pairs = {"kid", "kid_se", "precision", "recall", "density", "coverage", "fid_infinity", "repeated"}
    assert set(found) == {*RUNNING, *of_pairs, *asking}
    other = Moments.of(features.flip(1) + 1)
    assert found == pytest.approx(
        by_pairs | {"other": frechet_distance(other, judge.reference.beside["other"])}, rel=1e-9
    )


@pytest.mark.parametrize("known", [True, False])
def test_scores_of_all_features_count_before_those_of_sums(
    judge: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    calls: list[tuple[Any, ...]] = []

    def noted(*given: Any) -> dict[str, float]:
        calls.append(given)
        return {"kid": 2.5, "fid": -1.0}

    monkeypatch.setattr(metrics, "score", noted)
    images, labels = pictures(30), torch.arange(30) % 3
    seen = seen_of(judge, source_of(images, (11, 19), labels if known else None))
    found = seen.scores(judge)
    assert found == seen.running.scores(judge.reference) | {"fid": -1.0, "kid": 2.5}
    ((sample, reference),) = calls
    assert reference is judge.reference
    assert sample.features is seen.features
    assert sample.logits is seen.logits
    assert sample.beside == {}
    if known:
        assert torch.equal(sample.asked, labels)
    else:
        assert sample.asked is None


def test_accuracy_of_many_images_by_hand(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over classes of the share of each that is taken for it, and the lowest; the last class has no images."""
    monkeypatch.setattr(taken, "STREAMED", 23)
    labels = torch.tensor([0] * 16 + [1] * 8)
    taken_for = torch.tensor([0] * 12 + [1] * 4 + [1] * 2 + [2] * 6)
    mixed = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    images = pictures(24, 2, taken_for)[mixed]
    seen = seen_of(judge, source_of(images, (5, 19), labels[mixed]))
    found = seen.scores(judge)
    assert found == seen.running.scores(judge.reference) | {"class_accuracy": 0.5, "worst_class_accuracy": 0.25}
    assert set(found) == {*RUNNING, "class_accuracy", "worst_class_accuracy"}


def test_no_accuracy_of_many_images_without_labels(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken, "STREAMED", 23)
    seen = seen_of(judge, source_of(pictures(24), (5, 19)))
    found = seen.scores(judge)
    assert set(found) == set(RUNNING)
    assert found == seen.running.scores(judge.reference)


# all of it


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Tensor]]:
    """With what a hint is asked for; it says "a word"."""
    calls: list[tuple[Any, Tensor]] = []

    def noted(scorer: Any, images: Tensor) -> str:
        calls.append((scorer, images))
        return "a word"

    monkeypatch.setattr(taken, "hint", noted)
    return calls


@pytest.mark.parametrize("limit", [59, 60])
def test_scoring_says_how_far_it_is(
    judge: Any, monkeypatch: pytest.MonkeyPatch, tried: list[tuple[Any, Tensor]], limit: int
) -> None:
    """Of a class by itself there is a FID with 20 images or more, of those that are scored and for training."""
    monkeypatch.setattr(taken, "STREAMED", limit)
    monkeypatch.setattr(taken, "TRIED", 30)
    labels = labelled(20, 19, 21)
    images = pictures(60, 2, labels)
    source = source_of(images, (7, 1, 50, 2), labels)
    told, found = watched(taken.scoring(judge, source))
    looking = [Progress("looking at the images", n / 60) for n in (7, 8, 58, 60)]
    reading = [Progress("reading", 0.5), Progress("reading", 1.0)] if limit == 60 else []
    assert told == [*looking, *reading, *EACH_CLASS]
    assert [len(part) for part in judge.looked] == [7, 1, 50, 2]
    assert torch.equal(torch.cat(judge.looked), images)
    train = judge.images.train[judge.images.train_labels == 0]
    fid = frechet_distance(moments_of(judge, images[labels == 0]), moments_of(judge, train))
    assert found.fid_by_class is not None
    assert found.fid_by_class[0] == pytest.approx(fid, rel=1e-9)
    assert found.fid_by_class[1:] == (None, None)
    assert found.hint == "a word"
    assert found.metrics == pytest.approx(seen_of(judge, source).scores(judge), rel=1e-12)
    assert ("kid" in found.metrics) == (limit == 60)
    ((scorer, few),) = tried
    assert scorer is judge
    assert torch.equal(few, images[::2])


def test_scoring_without_labels(judge: Any, tried: list[tuple[Any, Tensor]]) -> None:
    """No class is looked at."""
    source = source_of(pictures(30), (10, 20))
    told, found = watched(taken.scoring(judge, source))
    assert told == [
        Progress("looking at the images", 1 / 3),
        Progress("looking at the images", 1.0),
        Progress("reading", 0.5),
        Progress("reading", 1.0),
    ]
    assert found.fid_by_class is None
    assert found.hint == "a word"
    assert found.metrics == pytest.approx(seen_of(judge, source).scores(judge), rel=1e-12)
    assert torch.equal(tried[0][1], pictures(30))


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.usefixtures("tried")
def test_as_many_moments_as_classes_are_needed(judge: Any, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    def other(scorer: Any) -> Generator[Progress, None, list[Moments | None]]:
        yield from ()
        return [None] * n

    monkeypatch.setattr(taken, "moments_of_classes", other)
    with pytest.raises(ValueError, match=r"^zip\(\) argument 2 is "):
        taken.score(judge, source_of(pictures(30), (30,), torch.arange(30) % 3))


def test_a_score_is_what_comes_of_scoring(judge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    end = Taken({"fid": 1.0}, None, None)

    def scoring(*given: Any) -> Generator[Progress, None, Taken]:
        calls.append(given)
        yield Progress("looking", 0.5)
        return end

    monkeypatch.setattr(taken, "scoring", scoring)
    source = source_of(pictures(30), (30,))
    assert taken.score(judge, source) is end
    assert calls == [(judge, source)]


# moments of each class


def test_moments_of_each_class_are_made_and_kept(tmp_path: Path, extracted: list[tuple[Any, ...]]) -> None:
    """20 training images are enough and 19 are not; classes after such a one are looked at all the same."""
    judge: Any = Judge(tmp_path, 20, 19, 33)
    told, found = watched(taken.moments_of_classes(judge))
    assert told == EACH_CLASS
    rows = [judge.images.train[judge.images.train_labels == c] for c in (0, 2)]
    assert [(network, device) for network, _, device in extracted] == [(judge.network, judge.device)] * 2
    assert all(device is judge.device for _, _, device in extracted)
    for (_, given, _), expected in zip(extracted, rows, strict=True):
        assert torch.equal(given, expected)
    assert len(found) == 3
    assert found[1] is None
    for one, images in zip(found[::2], rows, strict=True):
        assert_same(one, moments_of(judge, images))
    held = judge.store.load_tensors(ReferenceFeatures, KEY)
    assert held is not None
    assert held[1] == ReferenceFeatures(code="one")
    assert set(held[0]) == {"mean.0", "covariance.0", "mean.2", "covariance.2"}
    for c, images in zip((0, 2), rows, strict=True):
        assert_same(
            Moments(held[0][f"mean.{c}"].numpy(), held[0][f"covariance.{c}"].numpy()), moments_of(judge, images)
        )


def test_moments_of_each_class_are_made_once(judge: Any, extracted: list[tuple[Any, ...]]) -> None:
    """By the same code; other code makes them again."""
    _, first = watched(taken.moments_of_classes(judge))
    assert len(extracted) == 2
    told, again = watched(taken.moments_of_classes(judge))
    assert (told, len(extracted)) == ([], 2)
    assert again[2] is None
    for one, other in zip(again[:2], first[:2], strict=True):
        assert other is not None
        assert_same(one, other)
    judge.code = "two"
    told, made = watched(taken.moments_of_classes(judge))
    assert (told, len(extracted)) == (EACH_CLASS, 4)
    assert made[2] is None
    held = judge.store.load_tensors(ReferenceFeatures, KEY)
    assert held is not None
    assert held[1] == ReferenceFeatures(code="two")


def test_what_other_code_has_kept_is_not_used(judge: Any) -> None:
    """Not even of a class that now has too few images; what the same code has kept is."""
    own = {"mean.2": torch.ones(2).double(), "covariance.2": torch.eye(2).double()}
    judge.store.save_tensors(KEY, own, ReferenceFeatures(code="one"))
    told, found = watched(taken.moments_of_classes(judge))
    assert told == []
    assert found[:2] == [None, None]
    assert_same(found[2], Moments(np.ones(2), np.eye(2)))
    judge.code = "two"
    told, found = watched(taken.moments_of_classes(judge))
    assert told == EACH_CLASS
    assert [one is None for one in found] == [False, False, True]


def test_that_no_class_has_enough_images_is_kept_too(tmp_path: Path, extracted: list[tuple[Any, ...]]) -> None:
    judge: Any = Judge(tmp_path, 19, 19, 19)
    assert watched(taken.moments_of_classes(judge)) == (EACH_CLASS, [None] * 3)
    assert watched(taken.moments_of_classes(judge)) == ([], [None] * 3)
    assert not extracted


# what may be wrong


def test_the_distance_of_some_images(judge: Any, extracted: list[tuple[Any, ...]]) -> None:
    images = pictures(25, 4)
    found = taken._fid(judge, images)
    assert found == pytest.approx(frechet_distance(moments_of(judge, images), judge.reference.moments), rel=1e-9)
    ((network, given, device),) = extracted
    assert network is judge.network
    assert given is images
    assert device is judge.device


def test_changes_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table's order: those that are likely, less those after which the images are the same."""
    images = pictures(6).numpy()
    asked: list[tuple[str, Any, Any]] = []

    def change(name: str, made: np.ndarray, likely: bool = True) -> Change:
        def of(given: np.ndarray, side: int) -> np.ndarray:
            asked.append((name, given, side))
            return made

        def is_likely(given: np.ndarray) -> bool:
            asked.append((name, given, None))
            return likely

        return Change(of, "words", is_likely)

    table = {
        "z": change("z", images[:, :, :, ::-1]),
        "same": change("same", images.copy()),
        "unlikely": change("unlikely", images + 1, False),
        "a": change("a", images[:, :, 1:3, 1:3]),
    }
    monkeypatch.setattr(taken, "CHANGES", table)
    found = list(taken._changes(images, 17))
    assert [name for name, _ in found] == ["z", "a"]
    for (_, other), expected in zip(found, (images[:, :, :, ::-1], images[:, :, 1:3, 1:3]), strict=True):
        assert other.is_contiguous()
        np.testing.assert_array_equal(other.numpy(), expected)
    order = [(name, side) for name in ("z", "same", "unlikely", "a") for side in (None, 17)]
    assert [(name, side) for name, _, side in asked] == [one for one in order if one != ("unlikely", 17)]
    assert all(given is images for _, given, _ in asked)


@pytest.mark.parametrize("size", [7, 10])
@pytest.mark.parametrize(
    ("given", "best", "line"),
    [
        (3.0, 1.0, "darker, they would fit far better: FID of {} of them is 1, and 3 as they are (--apply dark)"),
        (2.999999, 1.0, None),
        (3.0, 1.0000001, None),
        (1.0, 1.0, None),
        (0.5, 1.0, None),
        (
            12345.678,
            0.123456,
            "darker, they would fit far better: FID of {} of them is 0.1235, and 1.235e+04 as they are (--apply dark)",
        ),
        (0.0, 0.0, "darker, they would fit far better: FID of {} of them is 0, and 0 as they are (--apply dark)"),
    ],
)
def test_a_change_is_named_from_a_third_on(
    judge: Any, monkeypatch: pytest.MonkeyPatch, size: int, given: float, best: float, line: str | None
) -> None:
    """The best of them, wherever it stands in the table."""
    sides: list[int] = []

    def darkened(given: np.ndarray, side: int) -> np.ndarray:
        sides.append(side)
        return given * 0

    table = {
        "lighter": Change(lambda x, side: x + 1, "lighter"),
        "dark": Change(darkened, "darker"),
        "a": Change(lambda x, side: x + 2, "lighter still"),
    }
    monkeypatch.setattr(taken, "CHANGES", table)
    images = pictures(size)
    values = {int(images.sum()): given, 0: best}

    def fid(scorer: Any, some: Tensor) -> float:
        assert scorer is judge
        return values.get(int(some.sum()), best + 0.01)

    monkeypatch.setattr(taken, "_fid", fid)
    assert taken.hint(judge, images) == (line and line.format(size))
    assert sides == [4]


@pytest.mark.parametrize(("better", "named"), [(4, True), (5, False)])
def test_how_far_better_is_a_factor(judge: Any, monkeypatch: pytest.MonkeyPatch, better: float, named: bool) -> None:
    monkeypatch.setattr(taken, "BETTER", better)
    monkeypatch.setattr(taken, "CHANGES", {"dark": Change(lambda x, side: x * 0, "darker")})
    monkeypatch.setattr(taken, "_fid", lambda scorer, some: 8.0 if some.any() else 2.0)
    assert (taken.hint(judge, pictures(7)) is not None) == named


def test_what_would_fit_is_named_with_its_distances(judge: Any) -> None:
    """With the real table of changes, and nothing of what fits."""
    dark = pictures(30, 6, torch.arange(30) % 3) // 3 + judge.images.train[:30] // 2
    spoilt = 255 - dark
    assert taken.hint(judge, dark) is None
    best, given = (frechet_distance(moments_of(judge, x), judge.reference.moments) for x in (dark, spoilt))
    assert best * 3 < given
    assert taken.hint(judge, spoilt) == (
        f"black and white swapped, they would fit far better: FID of 30 of them is {best:.4g}, and "
        f"{given:.4g} as they are (--apply invert)"
    )
