"""The panel of judges: what is pinned, what each sees, and how records of one judge are read beside another's."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from bench import cli
from bench.errors import UserError
from bench.gate import quality
from bench.images import datasets
from bench.images.damage import blurred, compressed, moved, noisy
from bench.images.datasets import Images
from bench.machine.devices import multiplying
from bench.paths import ROOT
from bench.report import calibration as calibration_page
from bench.report.blocks import words
from bench.report.render import markdown
from bench.report.sections import answer
from bench.score import calibration, classifier, copies, eyes, kept, own, views
from bench.score.calibrated import Calibration, Point, Tried, distance, sd_from_halves, smallest
from bench.score.calibration import DAMAGES
from bench.score.distances import Moments, frechet_bias, frechet_distance
from bench.score.judges import (
    JUDGES,
    PANELS,
    WEIGHTS,
    column,
    hash_of,
    hashes,
    judges_of,
    panel,
    pinned,
    with_hash,
    with_own_column,
)
from bench.score.kept import Progress
from bench.score.learning import JudgeNetwork
from bench.score.reference import in_order
from bench.score.scorer import Scorer, preparing

if TYPE_CHECKING:
    from tests.conftest import World

CPU = torch.device("cpu")
MNIST = judges_of("mnist")
SHIPPED = [(dataset, name) for dataset in PANELS for name in [*judges_of(dataset), *views.VIEWS]]


def eye_of(name: str, dataset: str = "mnist") -> eyes.Eye:
    judge = judges_of(dataset).get(name)
    if judge is None:
        return eyes.views_of(dataset, (1, 28))[name]
    return eyes.of_network(eyes.load(judge), judge.sha256, CPU, judge)


def test_the_panel_is_small_and_pinned() -> None:
    """Three networks at least, of different kinds; under 2 MB for a data set; headline and reader among them."""
    recipes = [judge.recipe() for judge in JUDGES.values() if judge.recipe]
    assert len(recipes) >= 3
    assert len({recipe.network for recipe in recipes}) == len({recipe.seed for recipe in recipes}) == len(recipes)
    weights = set()
    for dataset, row in PANELS.items():
        paths = [judge.path for judge in judges_of(dataset).values() if judge.judge.recipe]
        assert len(paths) >= 3
        assert sum(path.stat().st_size for path in paths) < 2e6
        assert {row.headline, row.reader} <= row.pins.keys() <= JUDGES.keys()
        weights |= {path.name for path in paths}
    files = {path.name for path in WEIGHTS.iterdir()}
    named_files = weights | {eye_of(name, dataset).shipped.name for dataset, name in SHIPPED}
    assert files == named_files, "no file that nobody names"


@pytest.mark.parametrize(("dataset", "name"), SHIPPED)
def test_the_shipped_moments_are_those_of_the_code(dataset: str, name: str) -> None:
    """Of 1,000 training images: each mean within five standard errors, and a distance that chance alone explains."""
    try:
        images = datasets.load(dataset)
    except UserError:
        pytest.skip(f"{dataset} is not on this machine")
    eye = eye_of(name, dataset)
    shipped = kept.read(eye.shipped, eye.moments)
    assert shipped.dataset_sha256 == images.sha256
    picked = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(7))[:1000]
    found = Moments.of(eye.see(images.train[picked], shipped.fitted))
    error = np.sqrt(shipped.moments.covariance.diagonal() / len(picked))
    assert (np.abs(found.mean - shipped.moments.mean) <= 5 * error + 1e-9).all()
    expected = frechet_bias(found, shipped.moments, len(picked))
    assert 0.3 * expected < frechet_distance(found, shipped.moments) < 3 * expected


@pytest.mark.parametrize("dataset", PANELS)
def test_the_shipped_moments_fit_each_other(dataset: str) -> None:
    """Each part of a judge's features has a mean square of 1, and a judge made of others has their moments inside."""
    judges = judges_of(dataset)
    found = {name: kept.read(judge.moments_path, judge.moments).moments for name, judge in judges.items()}
    for name, judge in judges.items():
        mean, covariance = found[name].mean, found[name].covariance
        if judge.judge.recipe is not None:
            square = np.split(covariance.diagonal() + mean**2, np.cumsum(eyes.load(judge).parts)[:-1])
            assert [part.mean() for part in square] == pytest.approx([1.0] * len(square), rel=0.01)
        start = 0
        for member, weight in judge.members:
            part = slice(start, start := start + len(found[member.name].mean))
            np.testing.assert_allclose(mean[part], found[member.name].mean * weight**0.5, rtol=1e-4, atol=1e-5)
            inside = covariance[part, part]
            np.testing.assert_allclose(inside, found[member.name].covariance * weight, rtol=1e-3, atol=1e-5)


def test_altered_moments_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("moments") / "some.safetensors"
    moments = Moments(np.arange(3.0), np.array([[2.0, 0.5, 0.1], [0.5, 3.0, 0.2], [0.1, 0.2, 1.0]]))
    sha256 = kept.write(path, kept.Shipped(moments, "d" * 64, torch.ones(2)))
    back = kept.read(path, sha256)
    assert (back.moments.covariance == moments.covariance).all()
    assert (back.moments.mean == moments.mean).all()
    assert back.dataset_sha256 == "d" * 64
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="corrupt moments"):
        kept.read(path, sha256)


def test_texture_sees_noise(mnist: Images) -> None:
    """Noise of 16 grey levels is worse than clean by ten times the scatter of clean sets, and more noise is worse."""
    eye = eye_of("texture")
    shipped = kept.read(eye.shipped, eye.moments)
    random = torch.Generator().manual_seed(0)

    def fid(images: Tensor) -> float:
        return frechet_distance(Moments.of(eye.see(images, shipped.fitted)), shipped.moments)

    sets = mnist.test[torch.randperm(len(mnist.test), generator=random)].split(1000)[:3]
    clean = [fid(images) for images in sets]
    found = [fid(noisy(sets[0], level, random)) for level in (8, 16, 32)]
    assert found == sorted(found)
    assert found[1] - np.mean(clean) > 10 * np.std(clean, ddof=1)


def test_the_spectrum_is_that_of_white_noise() -> None:
    """Of pixels that are independent each band has the variance as its power; a constant image has none."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2000, 1, 8, 8), generator=random, dtype=torch.uint8)
    variance = float((noise.double() / 255).var())
    found = views.spectrum(noise, torch.zeros(0))
    assert found.shape == (2000, views.rings(8).max())
    power = (10**found - views.QUIET).mean(0)
    torch.testing.assert_close(power, torch.full_like(power, variance), rtol=0.05, atol=0)
    flat = views.spectrum(torch.full((1, 1, 8, 8), 200, dtype=torch.uint8), torch.zeros(0))
    torch.testing.assert_close(flat, torch.full_like(flat, np.log10(views.QUIET)))


def test_damage_is_what_it_says(mnist: Images) -> None:
    images = mnist.test[:200]
    grey = torch.full((200, 1, 28, 28), 128, dtype=torch.uint8)
    assert noisy(grey, 16, torch.Generator().manual_seed(0)).double().std() == pytest.approx(16, rel=0.02)
    dot = torch.zeros(1, 1, 29, 29, dtype=torch.uint8)
    dot[..., 14, 14] = 255
    spread = blurred(dot, 1.5).double()[0, 0]
    at = torch.arange(29.0).double() - 14
    assert (spread.sum(0) * at.square()).sum() / spread.sum() == pytest.approx(1.5**2, rel=0.15)
    rough, fine = (compressed(images, quality).int() - images.int() for quality in (20, 95))
    assert rough.abs().sum() > 3 * fine.abs().sum() > 0
    assert torch.equal(moved(images, 2)[..., 2:, 2:], images[..., :-2, :-2])


def test_a_record_is_also_in_its_own_judge_s_column() -> None:
    """An old record's fid is that judge's; a column by weights that are not here is left out."""
    old = MNIST["classifier"].sha256
    assert with_own_column({"fid": 3.0, "kid": 1.0}, old, {})["fid_classifier"] == 3.0
    assert column("classifier") not in with_own_column({"fid": 3.0}, "f" * 64, {})
    scores = {"fid": 1.0, "fid_texture": 2.0, "fid_mixer": 4.0, "pixel_distance": 5.0}
    others = {"fid_texture": MNIST["texture"].sha256[:12], "fid_mixer": "0" * 12}
    shown = with_own_column(scores, old, others)
    assert shown == {"fid": 1.0, "fid_classifier": 1.0, "fid_texture": 2.0, "pixel_distance": 5.0}


def test_the_other_judges_of_a_metric() -> None:
    old = MNIST["classifier"].sha256
    assert panel("fid", old) == (*(column(name) for name in JUDGES if name != "classifier"), *views.VIEWS)
    assert "fid_classifier" in panel("fid", MNIST["texture"].sha256)
    assert panel("fid", "f" * 64) == tuple(views.VIEWS)
    assert panel("fid") == panel("fid", pinned("mnist"))
    assert panel("kid") == ()
    assert hashes("kmnist") is None
    assert with_hash(old) == with_hash(old[:12]) == MNIST["classifier"]
    assert with_hash("") is None


def test_scores_have_a_column_for_every_other_judge(scorer: Scorer, mnist: Images) -> None:
    """One pass each; the numbers are those of the judge alone; parts add up to the same."""
    images = mnist.test[:300]
    scores = scorer.score(images)
    assert scores.keys() >= {"fid", *panel("fid", scorer.classifier)}
    assert scorer.panel == {column(k): j.sha256[:12] for k, j in MNIST.items() if j.sha256 != scorer.classifier}
    eye = eye_of("mixer")
    alone = Moments.of(eye.see(images, torch.zeros(0)))
    assert scores["fid_mixer"] == pytest.approx(
        frechet_distance(alone, kept.read(eye.shipped, eye.moments).moments), rel=1e-9
    )
    assert scorer.score(images, only="pixel_distance") == {"pixel_distance": pytest.approx(scores["pixel_distance"])}
    own_name = column(PANELS["mnist"].headline)
    assert scorer.score(images, only=own_name) == {own_name: pytest.approx(scores["fid"], rel=1e-9)}
    parts = scorer.stream(images.split(128)).scores(scorer.reference)
    # a covariance of fewer images than features is rounded, whose zeros have roots of 1e-8 or so each
    assert {k: parts[k] for k in parts} == pytest.approx({k: scores[k] for k in parts}, rel=1e-5, abs=1e-4)
    assert parts.keys() >= {"fid", *panel("fid", scorer.classifier)}


class Watching(JudgeNetwork):
    """Remembers how CUDA would multiply while it is evaluated."""

    parts = (3,)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """No features at all."""
        self.seen += [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]
        return torch.zeros(len(images), 3), torch.zeros(len(images), 10)


def test_scoring_never_uses_tf32(monkeypatch: pytest.MonkeyPatch, tiny_images: Images) -> None:
    """The settings that CUDA reads are IEEE's while a judge looks, whatever they were, and are put back."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [setting.fp32_precision for setting in settings]

    def as_on_cuda(how: str, device: torch.device) -> AbstractContextManager[None]:
        return multiplying(how, torch.device("cuda"))

    monkeypatch.setattr(classifier, "multiplying", as_on_cuda)
    network = Watching()
    try:
        for setting in settings:
            setting.fp32_precision = "tf32"
        classifier.extract(network, tiny_images.test[:20])
        assert network.seen == ["ieee", "ieee"]
        assert [setting.fp32_precision for setting in settings] == ["tf32", "tf32"]
    finally:
        for setting, was in zip(settings, before, strict=True):
            setting.fp32_precision = was


def test_a_data_set_s_own_classifier_says_how_far_it_is(world: World, own_classifier: None) -> None:
    told = list(preparing("mnist", world.images, world.store, CPU))
    assert told[0] == Progress("training the classifier of mnist", 0)
    scorer = Scorer("mnist", world.images, world.store, CPU)
    found = classifier.accuracy(scorer.network, world.images)
    assert scorer.accuracy == pytest.approx(found, abs=1e-4)
    assert scorer.panel == {}
    scores = scorer.score(world.images.test[:50])
    assert scores.keys() >= set(views.VIEWS)
    assert not any(name in scores for name in map(column, JUDGES))
    assert not list(own.training("mnist", world.images, world.store, CPU)), "once is enough"
    other = replace(world.images, sha256="cd" * 32)
    assert next(own.training("mnist", other, world.store, CPU)).share == 0, "of other images it is trained again"


def test_large_images_have_no_distance_of_pixels(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their covariance would not fit in memory; it is left out wherever it is asked for."""
    row = views.VIEWS["pixel_distance"]
    assert 32 * 32 * 3 < row.most < 128 * 128 * 3
    assert "pixel_distance" in eyes.views_of("x", (3, 32))
    assert "pixel_distance" not in eyes.views_of("x", (3, 128))
    monkeypatch.setitem(views.VIEWS, "pixel_distance", replace(row, most=28 * 28 - 1))
    scorer, images = Scorer("mnist", world.images, world.store, CPU), world.images.test[:50]
    looked = copies.look(scorer, images)
    for found in (scorer.score(images), scorer.stream([images]).scores(scorer.reference)):
        assert "spectrum_distance" in found
        assert "pixel_distance" not in found
    assert "pixel_distance" not in looked
    assert copies.describe(looked)
    with pytest.raises(UserError, match="pixel_distance is by a judge or view that this data set does not have"):
        quality.judge(scorer, images, images, metric="pixel_distance")


def test_only_one_process_trains_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait, and say so."""
    monkeypatch.setattr(own, "LOOK_S", 0.01)
    lock = FileLock(world.store.path("locks", "classifier-mnist", ".lock"), thread_local=False)
    world.store.writable()
    training = own.training("mnist", world.images, world.store, CPU)
    with lock:
        assert "which another process trains" in next(training).what
        assert "which another process trains" in next(training).what
    assert next(training).what == "training the classifier of mnist"
    training.close()
    with lock.acquire(timeout=0):
        pass


def points(metric: str, clean: float, sd: float, *values: float) -> list[Point]:
    strengths = DAMAGES["noise"].strengths
    assert strengths == (4, 8, 16)
    rows = [("", 0.0, clean, sd), *(("noise", s, v, 0.0) for s, v in zip(strengths, values, strict=True))]
    return [
        Point(damage=damage, strength=float(s), n=1000, metric=metric, draws=3, mean=mean, sd=spread)
        for damage, s, mean, spread in rows
    ]


def test_the_smallest_damage_seen() -> None:
    """Three times the scatter, in the metric's own direction, and at every strength from there on."""
    found = Calibration(
        dataset="mnist", classifier=MNIST["classifier"].sha256, dataset_sha256="d" * 64, panel={}, code="c",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        damages={"noise": Tried(unit="levels", strengths=(4, 8, 16), slight=8)},
        points=(
            *points("fid", 1.0, 0.1, 1.2, 1.4, 2.0),
            *points("precision", 0.7, 0.01, 0.8, 0.9, 0.95),
            *points("recall", 0.7, 0.01, 0.5, 0.7, 0.5),
            *points("repeated", 0.0, 0.0, 0.0, 0.0, 0.1),
        ),
    )  # fmt: skip
    assert distance(found, "fid", "noise", 8, 1000) == pytest.approx(4)
    assert [smallest(found, name, "noise", 1000) for name in ("fid", "precision", "recall", "repeated")] == [
        8, None, 16, 16,
    ]  # fmt: skip
    assert smallest(found, "fid", "noise", 10_000) is None
    page = markdown.source(list(calibration_page.compose(found)))
    assert "| noise | 8 | levels | `fid` |" in page
    assert Calibration.parse(found.model_dump_json().encode()) == found


def test_scatter_of_a_whole_set_from_its_halves() -> None:
    """On means of normal numbers, whose scatter is known."""
    random, n = np.random.default_rng(0), 100
    found = []
    for _ in range(400):
        values = random.normal(size=n)
        orders = (random.permutation(n).reshape(2, -1) for _ in range(5))
        found.append(sd_from_halves([(values[one].mean(), values[other].mean()) for one, other in orders]))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(1 / np.sqrt(n), rel=0.05)


def test_every_metric_is_measured_at_both_sizes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = 10, 40
    for name, value in {"FEW": few, "MANY": many, "CLEAN_DRAWS": 3, "DRAWS": 2}.items():
        monkeypatch.setattr(calibration, name, value)
    chosen = {name: DAMAGES[name] for name in ("noise", "missing class", "repeated images")}
    monkeypatch.setattr(calibration, "DAMAGES", chosen)
    *told, found = calibration.calibrate(Scorer("mnist", world.images, world.store, CPU), "mnist")
    assert len(told) == 7
    assert isinstance(found, Calibration)
    threes = int((world.images.test_labels[in_order(len(world.images.test))[:many]] == calibration.MISSING).sum())
    assert threes > 0
    short = found.at("fid", "missing class", 1, many)
    assert short is not None
    assert short.size == many - threes
    assert {point.size for point in found.points if point.n == few or point.damage != "missing class"} == {None}
    page = markdown.source(list(calibration_page.compose(found)))
    assert f"{many - threes:,} images with missing class 1 at N = {many:,}" in page
    metrics = {point.metric for point in found.points}
    assert metrics > {"fid", "copies", *calibration.PAIRS}
    for n in (few, many):
        assert {point.metric for point in found.points if point.n == n} == metrics
    spread = {point.metric: point.sd for point in found.points if not point.damage and point.n == many}
    assert spread["fid"] > 0  # from draws
    assert spread["kid"] > 0  # from halves


def test_a_class_that_is_not_there_cannot_be_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would see that damage, because it is none."""
    for name, value in {"FEW": 10, "MANY": 40, "CLEAN_DRAWS": 3, "DRAWS": 2}.items():
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.setattr(calibration, "DAMAGES", {name: DAMAGES[name] for name in ("shift", "missing class")})
    images = replace(world.images, test_labels=world.images.test_labels.clamp(max=calibration.MISSING - 1))
    *_, found = calibration.calibrate(Scorer("mnist", images, world.store, CPU), "mnist")
    assert isinstance(found, Calibration)
    assert list(found.damages) == ["shift"]
    assert {point.damage for point in found.points} == {"", "shift"}


def test_weights_are_those_of_the_rows() -> None:
    for dataset in PANELS:
        for judge in judges_of(dataset).values():
            if judge.judge.recipe is None:
                assert judge.sha256 == hash_of(judge.members)
                continue
            assert hashlib.sha256(judge.path.read_bytes()).hexdigest() == judge.sha256
            about = classifier.about(judge.path)
            assert about["dataset"] == dataset
            bar = datasets.DATASETS[dataset].accuracy if judge.name == PANELS[dataset].reader else 0.75
            assert bar is not None
            assert float(about["accuracy"]) > bar


BAD, GOOD = "Do not trust these numbers: ", "The classifier "


@pytest.mark.parametrize(
    ("dataset", "accuracy", "chance", "opening"),
    [
        ("kmnist", 0.11, 0.1, BAD), ("kmnist", 0.94, None, GOOD), ('emnist(split="letters")', 0.1, 0.04, BAD),
        ("dermamnist", 0.67, 0.67, BAD), ("dermamnist", 0.75, 0.67, GOOD), ("dermamnist", 0.1, None, GOOD),
    ],
)  # fmt: skip
def test_a_bad_classifier_is_said_first(dataset: str, accuracy: float, chance: float | None, opening: str) -> None:
    """Far below what is usual for the data set, or near what naming a single class gets, where nothing is stated.

    Where a pinned judge scored, nothing is said; nor in older results, which do not have the share of that class.
    """
    kept = {"a cell": SimpleNamespace(chance=chance)}
    results: Any = SimpleNamespace(accuracy=accuracy, kept=kept, study=SimpleNamespace(dataset=dataset))
    (said,) = answer.own_classifier(results)
    text = words(said.content)
    assert text.startswith(opening)
    assert f"{accuracy:.1%} of the test images" in text
    assert ("Naming the most frequent class only" in text) == (chance is not None and dataset != "kmnist")
    assert not list(answer.own_classifier(SimpleNamespace(accuracy=None)))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_every_judge_is_offered_to_torch_fidelity(mnist: Images) -> None:
    """Under a name with its hash, and what it gives there is what it gives here."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    from bench.score import fidelity

    offered = fidelity.register_all("mnist")
    assert offered.keys() == MNIST.keys()
    for name, registered in offered.items():
        assert registered == classifier.name_of("mnist", MNIST[name].sha256)
        extractor = FEATURE_EXTRACTORS_REGISTRY[registered](registered, ["features", "logits"])
        features, logits = extractor(mnist.test[:20])
        ours = classifier.extract(eyes.load(MNIST[name]), mnist.test[:20])
        torch.testing.assert_close(features.double(), ours.features)
        torch.testing.assert_close(logits.double(), ours.logits)


def test_metrics_cannot_lose_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that cannot be written is known before anything is measured; and the numbers are written first."""
    found = calibration_page.read(ROOT / "reports" / "metrics")
    (tmp_path / "file").write_text("")
    (tmp_path / "report.md").write_text("# Mine\n")
    monkeypatch.setattr("bench.score.calibration.measure", lambda *_, **__: pytest.fail("it was measured"))
    for out, said in (("file/out", "Not a directory"), ("", "is not a report of ddpm-bench")):
        assert cli.main(["metrics", "--out", str(tmp_path / out), "--results", str(tmp_path / "results")]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1

    def full(*_: object) -> None:
        raise UserError("disk full")

    monkeypatch.setattr(calibration_page, "write_files", full)
    monkeypatch.setattr("bench.score.calibration.measure", lambda *_, **__: iter([found]))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["metrics", "--out", "~/there", "--results", str(tmp_path / "results")]) == 2
    assert calibration_page.read(tmp_path / "there") == found


@pytest.mark.parametrize(
    ("argv", "folder"), [([], "metrics"), (["--dataset", "fashion_mnist"], "metrics-fashion_mnist")]
)
def test_each_data_set_has_a_page_of_its_own(
    argv: list[str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README and docs read the page of MNIST: no other data set may take its place."""
    found = calibration_page.read(ROOT / "reports" / "metrics")
    monkeypatch.setattr("bench.cli.metrics.ROOT", tmp_path)
    monkeypatch.setattr(calibration_page, "write_files", lambda *_: None)
    monkeypatch.setattr("bench.score.calibration.measure", lambda *_, **__: iter([found]))
    assert cli.main(["metrics", *argv, "--results", str(tmp_path / "results")]) == 0
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [folder]
    assert calibration_page.read(tmp_path / "reports" / folder) == found


def test_the_committed_page_is_made_of_its_record() -> None:
    """By the judges of today; and every damage is seen at a strength that a person would call slight.

    By a judge, but for images that are there twice and copies: these have a metric each.
    """
    folder = ROOT / "reports" / "metrics"
    found = calibration_page.read(folder)
    assert markdown.source(list(calibration_page.compose(found))) == (folder / "report.md").read_text(encoding="utf-8")
    assert found.classifier == pinned("mnist")
    assert found.damages.keys() == DAMAGES.keys()
    for name, row in DAMAGES.items():
        assert found.damages[name] == Tried(unit=row.unit, strengths=row.strengths, slight=row.slight)
        seers = set(calibration_page.seen_by(found, name))
        assert seers & {*calibration_page.members(found), "repeated", "copies"}, name
