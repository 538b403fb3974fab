"""How metrics are calibrated, by hand: a made-up scorer of small pictures, and a few metrics of their pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.images import datasets
from bench.images.damage import blurred, compressed, moved, noisy
from bench.score import calibrated, calibration
from bench.score.calibrated import Calibration, Point, Tried, better, distance, sd_from_halves, smallest
from bench.score.calibration import DAMAGES, Damage
from bench.score.classifier import Features
from bench.score.kept import Progress
from bench.score.metrics import Metric
from tests import small

pictures = partial(small.pictures, side=2)


def shuffled(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


SIZES = {"FEW": 3, "MANY": 11, "CLEAN_DRAWS": 2, "DRAWS": 2, "RESAMPLES": 3, "SPLITS": 2}
TRAIN, TEST = pictures(9, seed=1), pictures(15, seed=2)
ORDER = shuffled(15)[:11]
CLEAN, COPIED = TEST[ORDER], TRAIN[shuffled(9)[:5]]
OFFSET = 100.0


def near(shown: Tensor) -> np.ndarray:
    """How far each picture is from a training image."""
    x, y = (pictures.flatten(1).numpy() / 255 for pictures in (shown, TRAIN))
    found: np.ndarray = np.sqrt(((x[:, None] - y[None]) ** 2).sum(2)).min(1)
    return found


LIMIT = np.quantile(near(CLEAN), 0.01)


def scores(shown: Tensor) -> dict[str, float]:
    """What the metrics below are of these pictures."""
    x = shown.flatten(1).double().numpy()
    return {
        "plain": x.mean() + OFFSET,
        "kid": x.std(),
        "top": (x[:, :2] + 1).max(1).mean(),
        "view": ((2 * x) ** 2).mean(),
        "copies": float((near(shown) <= LIMIT).mean()),
    }


def refuse(sample: Features, reference: Any) -> float:
    pytest.fail("it is not wanted")


METRICS = {
    "plain": Metric(lambda sample, reference: float(sample.features.mean()) + vars(reference)["offset"], "lower"),
    "plain_se": Metric(refuse, None),
    "kid": Metric(lambda sample, reference: float(sample.features.std(correction=0)), "lower"),
    "fid_infinity": Metric(refuse, "lower"),
    "top": Metric(lambda sample, reference: float(sample.logits.max(1).values.mean()), "higher", classes=True),
    "right": Metric(refuse, "higher", asks=True),
    "view": Metric(lambda sample, reference: float(sample.beside["view"].square().mean()), "lower", beside=True),
    "other": Metric(refuse, "lower", beside=True),
}
"""Of pixels, of pairs, of classes, and beside; with some that are left out."""


class MadeUp:
    """A scorer whose features are the pixels."""

    images = SimpleNamespace(train=TRAIN, test=TEST, test_labels=torch.arange(15))
    reference = SimpleNamespace(offset=OFFSET)
    classifier, dataset_sha256, panel, code = "c" * 64, "d" * 64, {"fid_other": "e" * 12}, "the code"

    def __init__(self) -> None:
        self.shown: list[Tensor] = []

    def see(self, images: Tensor) -> Features:
        """Pixels; as logits the first two, each larger by 1; and beside them all, twice as large."""
        self.shown.append(images)
        x = images.flatten(1).double()
        return Features(x, x[:, :2] + 1, None, {"view": 2 * x})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sets, and a few metrics."""
    for name, value in SIZES.items():
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.setattr(calibration, "entries", {"metric": METRICS}.__getitem__)


@pytest.fixture
def clean(small: None) -> calibration._Clean:
    scorer: Any = MadeUp()
    return calibration._Clean(scorer)


def row(
    damage: str, strength: float, n: int, metric: str, values: Sequence[float], sd: float = 0.0, size: int | None = None
) -> dict[str, Any]:
    """What a point should have, of the values of some sets."""
    scatter = float(np.std(values, ddof=1)) if len(values) > 1 else sd
    mean, spread = pytest.approx(np.mean(values), rel=1e-9), pytest.approx(scatter, rel=1e-9)
    own = {"damage": damage, "strength": strength, "n": n, "metric": metric, "draws": len(values), "size": size}
    return own | {"mean": mean, "sd": spread}


def rows_of(damage: str, strength: float, sets: Sequence[Tensor], n: int, size: int | None = None) -> list[Any]:
    found = [scores(shown) for shown in sets]
    return [row(damage, strength, n, metric, [one[metric] for one in found], size=size) for metric in found[0]]


# sizes and kinds of damage


def test_how_much_is_measured() -> None:
    assert (calibration.CLEAN_DRAWS, calibration.DRAWS, calibrated.FEW, calibrated.MANY) == (10, 3, 1000, 10_000)
    assert (calibration.RESAMPLES, calibration.SPLITS, calibration.MISSING) == (10, 5, 3)
    assert calibration.PAIRS == ("kid", "precision", "recall", "density", "coverage", "repeated")
    assert calibration.LEFT_OUT == ("fid_infinity",)
    assert (calibrated.SEEN, calibrated.COPIES) == (3.0, "copies")


def test_every_row_of_the_table() -> None:
    """Unit, strengths, a slight one, and the class that it is about."""
    assert [(name, row.unit, row.strengths, row.slight, row.of) for name, row in DAMAGES.items()] == [
        ("noise", "grey levels, standard deviation", (4, 8, 16), 8, None),
        ("blur", "pixels, standard deviation", (0.3, 0.4, 0.6), 0.4, None),
        ("jpeg", "quality", (90, 75, 50), 75, None),
        ("shift", "pixels, right and down", (1, 2), 1, None),
        ("missing class", "share of the 3s that is left out", (0.5, 1), 0.5, 3),
        ("repeated images", "share of images that are there twice", (0.02, 0.1), 0.1, None),
        ("training images", "share of images that are copies", (0.1, 0.5), 0.1, None),
    ]
    of_rows = {
        "missing class": calibration._missing,
        "repeated images": calibration._repeated,
        "training images": calibration._copied,
    }
    assert {name: row.rows for name, row in DAMAGES.items() if row.rows is not None} == of_rows
    assert {name for name, row in DAMAGES.items() if row.images is None} == of_rows.keys()


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("noise", lambda x, strength: noisy(x, strength, torch.Generator().manual_seed(5))),
        ("blur", blurred),
        ("jpeg", lambda x, strength: compressed(x, int(strength))),
        ("shift", lambda x, strength: moved(x, int(strength))),
    ],
)
def test_images_are_damaged_by_what_the_name_says(name: str, by_hand: Callable[[Tensor, float], Tensor]) -> None:
    """At every strength, also where it is a float; each damages more or less than the others."""
    random = torch.Generator().manual_seed(7)
    x = torch.randint(0, 256, (2, 1, 8, 8), generator=random, dtype=torch.uint8)
    damage, found = DAMAGES[name].images, []
    assert damage is not None
    for strength in DAMAGES[name].strengths:
        found.append(damage(x, float(strength), torch.Generator().manual_seed(5)))
        assert torch.equal(found[-1], by_hand(x, strength))
    assert len({bytes(images.numpy()) for images in [x, *found]}) == len(found) + 1


@pytest.mark.parametrize(
    ("rows", "share", "expected"),
    [
        ([4, 1, 0, 5, 2], 0.5, [1, 5, 2, 3, 7]),  # two of three 3s, rounded
        ([4, 1, 0, 5, 2], 0.4, [1, 0, 5, 2, 3]),
        ([4, 1, 0, 5, 2], 0, [4, 1, 0, 5, 2]),
        ([4, 1, 0, 5, 2], 1, [1, 5, 3, 7, 8]),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 1, [9, 8, 7, 5, 3, 1]),  # no others are left
    ],
)
def test_others_take_the_place_of_a_class(rows: list[int], share: float, expected: list[int]) -> None:
    labels = torch.tensor([3, 0, 3, 1, 3, 2, 3, 0, 1, 2])
    assert calibration._missing(labels, torch.tensor(rows), share).tolist() == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, [12, 13, 14, 15, 16, 17, 12, 13]),
        (0.3, [11, 12, 13, 14, 15, 16, 17, 11]),  # 1.2 of 8
        (0.45, [12, 13, 14, 15, 16, 17, 12, 13]),  # 1.8
        (1, [14, 15, 16, 17, 14, 15, 16, 17]),
    ],
)
def test_images_are_there_twice(share: float, expected: list[int]) -> None:
    assert calibration._repeated(torch.zeros(30), torch.arange(10, 18), share).tolist() == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.5, [9, 8, 20 + 1, 20 + 0]),
        (0.4, [9, 8, 20 + 1, 20 + 0]),  # 1.6 of 4
        (0.3, [12, 9, 8, 20 + 1]),  # 1.2
        (1, [20 + 1, 20 + 0, 20 + 3, 20 + 2]),
    ],
)
def test_training_images_come_after_the_test_images(
    share: float, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are half as many as test images: of the sixth on they are the first again."""
    monkeypatch.setattr(calibration, "MANY", 13)
    assert calibration._copied(torch.zeros(20), torch.tensor([7, 12, 9, 8]), share).tolist() == expected


def test_a_damage_is_of_images_or_of_rows() -> None:
    damage = Damage("unit", (1, 2), 1)
    assert (damage.images, damage.rows, damage.of) == (None, None, None)


# the whole of it


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is called to measure a data set of 1,500 test images, with what; 3 · 500 are needed."""
    calls: list[tuple[Any, ...]] = []
    images = SimpleNamespace(test=range(1500))

    def watch(where: Any, name: str, found: Any) -> None:
        def called(*given: Any, **more: Any) -> Any:
            calls.append((name, *given, more))
            return found

        monkeypatch.setattr(where, name, called)

    def prepared() -> Generator[Progress, None, str]:
        yield Progress("preparing", 0.5)
        return "the scorer"

    monkeypatch.setattr(calibration, "FEW", 500)
    monkeypatch.setattr(calibration, "CLEAN_DRAWS", 3)
    watch(datasets, "named", "its name")
    watch(datasets, "load", images)
    watch(calibration, "pick_device", "a device")
    watch(calibration, "preparing", prepared())
    watch(calibration, "calibrate", iter([Progress("noise 4", 0.25), "the calibration"]))
    return calls


def test_measuring_prepares_and_then_calibrates(calls: list[tuple[Any, ...]]) -> None:
    """Where there are just enough images; on any device, of data that lies anywhere."""
    store: Any = object()
    found = list(calibration.measure("what is said", store))
    assert found == [Progress("preparing", 0.5), Progress("noise 4", 0.25), "the calibration"]
    images = calls[3][2]
    assert len(images.test) == 1500
    assert calls == [
        ("named", "what is said", {}),
        ("load", "its name", None, {}),
        ("pick_device", "auto", {}),
        ("preparing", "its name", images, store, "a device", {}),
        ("calibrate", "the scorer", "its name", {}),
    ]


def test_measuring_looks_where_it_is_told(calls: list[tuple[Any, ...]]) -> None:
    store: Any = object()
    list(calibration.measure("what is said", store, data_dir=Path("there"), device="cuda:1"))
    assert calls[1:3] == [("load", "its name", Path("there"), {}), ("pick_device", "cuda:1", {})]


def test_too_few_test_images_are_refused(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is prepared."""
    monkeypatch.setattr(datasets, "load", lambda *_: SimpleNamespace(test=range(1499)))
    store: Any = object()
    with pytest.raises(UserError, match=r"^its name has 1,499 test images: 1,500 are needed$"):
        list(calibration.measure("what is said", store))
    assert calls == [("named", "what is said", {})]


def test_everything_is_calibrated_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean sets, then each strength of each damage, said before it is done; a class that is not there is left out."""
    done: list[Any] = []

    def point(damage: str, strength: float) -> Point:
        return Point(damage=damage, strength=strength, n=3, metric="fid", draws=2, mean=1.0, sd=0.5)

    class Clean:
        labels = torch.tensor([0, 3, 3])

        def __init__(self, scorer: Any) -> None:
            done.append(scorer)

        def points(self) -> Iterator[Point]:
            yield from (point("", 0), point("", 1))

        def damaged(self, name: str, damage: Damage, strength: float) -> Iterator[Point]:
            done.append((name, damage, strength))
            yield from (point(name, strength), point(name, strength + 100))

    any_class, threes, fours = Damage("u", (0.5, 1), 0.5), Damage("v", (4.0,), 4, of=3), Damage("w", (2,), 2, of=4)
    monkeypatch.setattr(calibration, "_Clean", Clean)
    monkeypatch.setattr(calibration, "DAMAGES", {"any": any_class, "fours": fours, "threes": threes})
    scorer: Any = MadeUp()
    steps, before = calibration.calibrate(scorer, "some data"), datetime.now(UTC)
    assert next(steps) == Progress("any 0.5", 0.0)
    assert done == [scorer]
    assert next(steps) == Progress("any 1", 1 / 3)
    assert done == [scorer, ("any", any_class, 0.5)]
    told, found = steps
    assert told == Progress("threes 4", 2 / 3)
    assert done == [scorer, ("any", any_class, 0.5), ("any", any_class, 1), ("threes", threes, 4.0)]
    assert isinstance(found, Calibration)
    assert before <= found.created <= datetime.now(UTC)
    assert found == Calibration(
        dataset="some data", classifier="c" * 64, dataset_sha256="d" * 64, panel={"fid_other": "e" * 12},
        code="the code", created=found.created,
        damages={
            "any": Tried(unit="u", strengths=(0.5, 1.0), slight=0.5),
            "threes": Tried(unit="v", strengths=(4.0,), slight=4.0),
        },
        points=tuple(
            point(*row)
            for row in (
                ("", 0), ("", 1), ("any", 0.5), ("any", 100.5), ("any", 1), ("any", 101), ("threes", 4), ("threes", 104)
            )
        ),
    )  # fmt: skip
    assert list(found.damages) == ["any", "threes"]


# clean sets


def test_what_is_known_of_clean_images(clean: calibration._Clean) -> None:
    """Test images in an order, and after them half as many training images."""
    assert torch.equal(clean.test, CLEAN)
    assert torch.equal(clean.labels, ORDER)
    scorer: Any = clean.scorer
    assert len(scorer.shown) == 2
    assert torch.equal(scorer.shown[0], CLEAN)
    assert torch.equal(scorer.shown[1], COPIED)
    both = torch.cat([CLEAN, COPIED]).flatten(1).double()
    assert torch.equal(clean.seen.features, both[:11])
    assert torch.equal(clean.pool.features, both)
    assert torch.equal(clean.pool.logits, both[:, :2] + 1)
    assert torch.equal(clean.pool.beside["view"], 2 * both)
    torch.testing.assert_close(clean.train, TRAIN.flatten(1).float() / 255)
    np.testing.assert_allclose(clean.near, np.append(near(CLEAN), np.zeros(5)), rtol=1e-5)
    assert clean.limit == pytest.approx(LIMIT, rel=1e-5)
    assert (near(CLEAN) <= LIMIT).sum() == 1


def test_the_rows_of_clean_sets(clean: calibration._Clean) -> None:
    assert [clean.rows(i).tolist() for i in (0, 2)] == [[0, 1, 2], [6, 7, 8]]


def spread(n: int) -> dict[str, float]:
    """Worked out again: of sets drawn with replacement, and of halves where pairs are compared."""
    random = np.random.default_rng(0)
    draws = [scores(CLEAN[random.integers(n, size=n)]) for _ in range(3)]
    orders = [random.permutation(n) for _ in range(2)]
    halves = [(scores(CLEAN[order[:5]]), scores(CLEAN[order[5:10]])) for order in orders]
    of_halves = {
        metric: math.sqrt(sum((one[metric] - other[metric]) ** 2 for one, other in halves) / 2 / 4)
        for metric in ("kid", "copies")
    }
    return {metric: float(np.std([one[metric] for one in draws], ddof=1)) for metric in draws[0]} | of_halves


def test_the_scatter_of_whole_sets(clean: calibration._Clean) -> None:
    """An odd image is in no half."""
    found = clean._spread()
    assert found == pytest.approx(spread(11), rel=1e-9)
    assert list(found) == ["plain", "top", "view", "kid", "copies"]
    assert min(found.values()) > 0


def test_one_split_is_enough_where_all_metrics_are_of_pairs(
    clean: calibration._Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "entries", lambda family: {"kid": METRICS["kid"]})
    monkeypatch.setattr(calibration, "RESAMPLES", 1)
    monkeypatch.setattr(calibration, "SPLITS", 1)
    random = np.random.default_rng(0)
    random.integers(11, size=11)
    order = random.permutation(11)
    one, other = (scores(CLEAN[half]) for half in (order[:5], order[5:10]))
    expected = {metric: abs(one[metric] - other[metric]) / 2 for metric in ("kid", "copies")}
    assert clean._spread() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("draws", "sets"), [(2, 2), (3, 3), (4, 3)])
def test_points_of_clean_sets(
    clean: calibration._Clean, draws: int, sets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many small sets as are wanted, or as there are; then the whole."""
    monkeypatch.setattr(calibration, "CLEAN_DRAWS", draws)
    whole, scatter = scores(CLEAN), spread(11)
    assert [dict(point) for point in clean.points()] == [
        *rows_of("", 0.0, [CLEAN[3 * i : 3 * i + 3] for i in range(sets)], 3),
        *(row("", 0.0, 11, metric, [value], scatter[metric]) for metric, value in whole.items()),
    ]


def test_as_near_as_the_limit_is_a_copy(clean: calibration._Clean) -> None:
    """By what is known of clean images, or by what is given."""
    clean.near, clean.limit = torch.arange(16.0), 2.0
    assert clean._of(clean.pool, torch.tensor([1, 2, 3]))["copies"] == 2 / 3
    assert clean._of(clean.pool, torch.tensor([1, 2, 3]), torch.tensor([9.0, 2.5, 2.0, 2.5]))["copies"] == 1 / 3
    found = clean._of(clean.pool, torch.tensor([12, 1, 1]))
    expected = scores(torch.stack([COPIED[1], CLEAN[1], CLEAN[1]])) | {"copies": 2 / 3}
    assert found == pytest.approx(expected, rel=1e-9)
    assert list(found) == ["plain", "kid", "top", "view", "copies"]


# damaged sets


def darkened(images: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """The last image goes, two become training images, and the others lose some grey."""
    lost = torch.randint(0, int(strength), images.shape, generator=random)
    return torch.cat([TRAIN[:2], (images.int() - lost).clamp(0).to(torch.uint8)[2:-1]])


def test_points_of_damaged_images(clean: calibration._Clean) -> None:
    """Seen again, and compared with training images again; one that is missing in the whole is told."""
    given: list[tuple[Tensor, float]] = []

    def damaging(images: Tensor, strength: float, random: torch.Generator) -> Tensor:
        given.append((images, strength))
        return darkened(images, strength, random)

    found = [dict(point) for point in clean.damaged("dark", Damage("u", (9,), 9, images=damaging), 50)]
    ((images, strength),) = given
    assert torch.equal(images, CLEAN)
    assert strength == 50
    dark = darkened(CLEAN, 50, torch.Generator().manual_seed(1))
    assert found == [
        *rows_of("dark", 50.0, [dark[:3], dark[3:6]], 3),
        *rows_of("dark", 50.0, [dark], 11, size=10),
    ]
    scorer: Any = clean.scorer
    assert len(scorer.shown) == 3
    copies = [point["mean"] for point in found if point["metric"] == "copies"]
    assert copies[0] >= 1 / 3  # more than of the clean ones


def test_points_of_sets_of_other_rows(clean: calibration._Clean) -> None:
    """Nothing is seen again. Training images are among them here."""
    given: list[Any] = []

    def replacing(labels: Tensor, rows: Tensor, share: float) -> Tensor:
        given.append((labels.tolist(), rows.tolist(), share))
        return torch.cat([rows[2:], len(labels) + rows[:1]])

    found = [dict(point) for point in clean.damaged("other", Damage("u", (9,), 9, rows=replacing), 0.25)]
    every = list(range(11))
    assert given == [(ORDER.tolist(), rows, 0.25) for rows in ([0, 1, 2], [3, 4, 5], every)]
    sets = [torch.stack([CLEAN[2], COPIED[0]]), torch.stack([CLEAN[5], COPIED[3]])]
    assert found == [
        *rows_of("other", 0.25, sets, 3),
        *rows_of("other", 0.25, [torch.cat([CLEAN[2:], COPIED[:1]])], 11, size=10),
    ]
    scorer: Any = clean.scorer
    assert len(scorer.shown) == 2


def test_as_many_damaged_sets_as_are_said(clean: calibration._Clean, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "DRAWS", 3)
    for damage in (
        Damage("u", (9,), 9, rows=lambda labels, rows, s: rows),
        Damage("u", (9,), 9, images=lambda x, *_: x),
    ):
        found = [dict(point) for point in clean.damaged("none", damage, 1)]
        assert found == [
            *rows_of("none", 1.0, [CLEAN[:3], CLEAN[3:6], CLEAN[6:9]], 3),
            *rows_of("none", 1.0, [CLEAN], 11),
        ]


def test_a_damage_of_nothing(clean: calibration._Clean) -> None:
    with pytest.raises(ValueError, match=r"^empty has neither images nor rows$"):
        list(clean.damaged("empty", Damage("u", (1,), 1), 1))


# parts of it


def test_features_one_after_the_other() -> None:
    """Without the classes that were asked for."""

    def seen(values: list[float]) -> Features:
        x = torch.tensor(values)[:, None]
        return Features(x, x + 10, torch.zeros(len(x)), {"a": x + 20, "b": x + 30})

    found = calibration._joined(seen([1, 2]), seen([3]))
    assert found.features.tolist() == [[1], [2], [3]]
    assert found.logits.tolist() == [[11], [12], [13]]
    assert found.asked is None
    assert {name: x.tolist() for name, x in found.beside.items()} == {
        "a": [[21], [22], [23]],
        "b": [[31], [32], [33]],
    }


def test_which_metrics_are_looked_at(small: None) -> None:
    """Those that say what is better and that can be, without FID∞; and without those of pairs where these are not."""
    scorer: Any = MadeUp()
    seen, expected = scorer.see(CLEAN), scores(CLEAN)
    found = calibration._scores(seen, scorer, pairs=True)
    assert found == pytest.approx({name: expected[name] for name in ("plain", "kid", "top", "view")}, rel=1e-12)
    assert list(found) == ["plain", "kid", "top", "view"]
    assert list(calibration._scores(seen, scorer, pairs=False)) == ["plain", "top", "view"]
    unseen = seen._replace(logits=torch.zeros(11, 0), beside={})
    assert list(calibration._scores(unseen, scorer, pairs=True)) == ["plain", "kid"]


def test_every_metric_of_pairs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("fid", *calibration.PAIRS, *calibration.LEFT_OUT)
    table = {name: Metric(lambda sample, reference: 1.0, "lower") for name in names}
    monkeypatch.setattr(calibration, "entries", {"metric": table}.__getitem__)
    scorer: Any = MadeUp()
    seen = scorer.see(CLEAN)
    assert calibration._scores(seen, scorer, pairs=False) == {"fid": 1.0}
    assert list(calibration._scores(seen, scorer, pairs=True)) == ["fid", *calibration.PAIRS]


def test_sets_are_summed() -> None:
    """Mean and scatter; a single set has none."""
    two = [{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 5.0}]
    assert [dict(point) for point in calibration._summed(two, "noise", 4, 3)] == [
        row("noise", 4.0, 3, "a", [1.0, 3.0], math.sqrt(2)),
        row("noise", 4.0, 3, "b", [5.0, 5.0], 0.0),
    ]
    three = [*two, {"a": 5.0, "b": 6.5}]
    a, b = calibration._summed(three, "noise", 4, 3, 2)
    assert (a.draws, a.mean, a.sd, a.size) == (3, 3.0, 2.0, 2)
    assert (b.mean, b.sd) == pytest.approx((5.5, math.sqrt(0.75)))
    assert [dict(point) for point in calibration._summed([{"a": 2.0}], "noise", 0.5, 3, 3)] == [
        {"damage": "noise", "strength": 0.5, "n": 3, "metric": "a", "draws": 1, "mean": 2.0, "sd": 0.0, "size": None}
    ]


@pytest.mark.parametrize(("given", "size"), [((), None), ((7,), None), ((6,), 6), ((8,), 8)])
def test_a_point_has_a_size_where_it_is_another(given: tuple[int, ...], size: int | None) -> None:
    point = calibration._point("blur", 2, 7, "fid", 3, 1.5, 0.25, *given)
    assert dict(point) == {
        "damage": "blur", "strength": 2.0, "n": 7, "metric": "fid", "draws": 3, "mean": 1.5, "sd": 0.25, "size": size
    }  # fmt: skip
    assert isinstance(point.strength, float)


# what follows from it


def found_of(*rows: tuple[str, str, float, float, float], n: int = 3) -> Calibration:
    """Of (metric, damage, strength, mean, sd), by strengths 1, 2 and 4 of noise."""
    return Calibration(
        dataset="some", classifier="c", dataset_sha256="d", panel={}, code="e",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        damages={"noise": Tried(unit="u", strengths=(1, 2, 4), slight=2)},
        points=tuple(
            Point(metric=metric, damage=damage, strength=strength, n=n, draws=2, mean=mean, sd=sd)
            for metric, damage, strength, mean, sd in rows
        ),
    )  # fmt: skip


@pytest.fixture
def directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """``low`` is better where it is lower, ``high`` where it is higher; copies have no row."""
    table = {"low": SimpleNamespace(better="lower"), "high": SimpleNamespace(better="higher")}
    monkeypatch.setattr(calibrated, "entries", {"metric": table}.__getitem__)


def test_a_point_is_found_by_all_that_it_is_of() -> None:
    found = found_of(("a", "noise", 1, 5.0, 0.5), ("a", "blur", 1, 6.0, 0.5), ("b", "noise", 1, 7.0, 0.5))
    a, blur, b = found.points
    assert a.size is None
    assert found.at("a", "noise", 1, 3) is a
    assert found.at("a", "noise", 1.0, 3) is a
    assert found.at("a", "blur", 1, 3) is blur
    assert found.at("b", "noise", 1, 3) is b
    for other in (("c", "noise", 1, 3), ("a", "jpeg", 1, 3), ("a", "noise", 2, 3), ("a", "noise", 1, 4)):
        assert found.at(*other) is None


def test_strengths_are_looked_up_as_floats() -> None:
    class Strength:
        def __float__(self) -> float:
            return 1.0

    strength: Any = Strength()
    found = found_of(("a", "noise", 1, 5.0, 0.5))
    assert found.at("a", "noise", strength, 3) is found.points[0]


def test_which_way_is_worse(directions: None) -> None:
    assert [better(name) for name in ("low", "high", "copies")] == [1, -1, 1]


def test_a_scatter_of_whole_sets_from_halves() -> None:
    assert sd_from_halves([(1.0, 5.0)]) == 2
    assert sd_from_halves([(6.0, 0.0), (1.0, 3.0)]) == math.sqrt(5)
    assert isinstance(sd_from_halves([(1.0, 5.0)]), float)


@pytest.mark.parametrize(
    ("metric", "mean", "sd", "expected"),
    [
        ("low", 7.0, 0.5, 4.0),
        ("low", 4.0, 0.5, -2.0),
        ("high", 4.0, 0.5, 2.0),
        ("copies", 5.5, 0.25, 2.0),
        ("low", 7.0, 0.0, math.inf),
        ("high", 7.0, 0.0, -math.inf),
        ("high", 4.0, 0.0, math.inf),
        ("low", 5.0, 0.0, 0.0),
        ("high", 5.0, 0.0, 0.0),
        ("low", 5.0, 0.5, 0.0),
    ],
)
def test_a_distance_is_in_units_of_scatter(
    metric: str, mean: float, sd: float, expected: float, directions: None
) -> None:
    """Without scatter it is infinite, or 0 where nothing differs."""
    found = found_of((metric, "", 0, 5.0, sd), (metric, "noise", 1, mean, 9.0))
    assert distance(found, metric, "noise", 1, 3) == expected


def test_no_distance_of_what_was_not_measured(directions: None) -> None:
    clean, noise = ("low", "", 0, 5.0, 0.5), ("low", "noise", 1, 7.0, 9.0)
    assert distance(found_of(clean, noise), "low", "noise", 1, 3) == 4
    assert distance(found_of(clean, noise), "low", "noise", 2, 3) is None
    assert distance(found_of(clean, noise), "low", "noise", 1, 4) is None
    assert distance(found_of(noise), "low", "noise", 1, 3) is None
    assert distance(found_of(clean), "low", "noise", 1, 3) is None


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((6.5, 6.5, 6.5), 1),  # three times the scatter, exactly
        ((6.49, 6.5, 6.5), 2),
        ((9.0, 6.0, 6.5), 4),  # a worse one is not seen
        ((9.0, 9.0, 6.0), None),
        ((9.0, 9.0, None), None),
        ((9.0, None, 9.0), 4),
        ((None, 9.0, 9.0), 2),
    ],
)
def test_the_smallest_strength_with_all_that_are_worse(
    means: tuple[float | None, ...], expected: float | None, directions: None
) -> None:
    measured = [("low", "noise", s, m, 9.0) for s, m in zip((1, 2, 4), means, strict=True) if m is not None]
    found = found_of(("low", "", 0, 5.0, 0.5), *measured)
    assert smallest(found, "low", "noise", 3) == expected
    assert smallest(found, "low", "noise", 4) is None
