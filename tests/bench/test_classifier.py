"""The pinned classifier, its recipe's parts, and torch-fidelity through it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from bench import cli
from bench.errors import UserError
from bench.images import datasets
from bench.images.datasets import Images
from bench.score import classifier, distances, eyes, kept, learning, mixer, texture
from bench.score.classifier import CLASSES, FEATURES, Network
from bench.score.judges import JUDGES, PANELS, Panel, hash_of, judges_of
from bench.score.retrain import retrain
from bench.score.scorer import Scorer
from bench.score.views import VIEWS

if TYPE_CHECKING:
    from tests.conftest import World

ROW = judges_of("mnist")["classifier"]
PATH, SHA256 = ROW.path, ROW.sha256


@pytest.fixture(scope="module")
def scorer(first_scorer: Scorer) -> Scorer:
    """By the judge that this file is about."""
    return first_scorer


@pytest.fixture(scope="module")
def network() -> Network:
    return classifier.load(PATH, SHA256)


def test_the_pinned_weights_are_small_and_accurate(network: Network, mnist: Images) -> None:
    assert PATH.stat().st_size < 2e6
    assert classifier.accuracy(network, mnist) >= 0.994


def test_features_are_standardised(network: Network, scorer: Scorer) -> None:
    """Mean square 1 at either depth, over the training images, all of which the reference's moments are of."""
    moments = scorer.reference.moments
    square = moments.mean**2 + moments.covariance.diagonal()
    assert square.shape == (FEATURES,)
    for part in (square[: classifier.STROKES], square[classifier.STROKES :]):
        assert part.mean() == pytest.approx(1, abs=0.001)
    picked = torch.randperm(len(scorer.images.train), generator=torch.Generator().manual_seed(0))[:100]
    features = classifier.extract(network, scorer.images.train[picked]).features
    torch.testing.assert_close(features, scorer.reference.subset[:100], rtol=1e-4, atol=1e-5)


def test_standardising_changes_no_logit(tiny_images: Images) -> None:
    torch.manual_seed(0)
    network = Network()
    before = classifier.extract(network, tiny_images.test).logits
    classifier.standardise(network, tiny_images.train)
    after = classifier.extract(network, tiny_images.test).logits
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


class Uint8(Dataset[torch.Tensor]):
    """Bare tensors, as torch-fidelity wants them."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        return self.images[i]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_torch_fidelity_agrees_end_to_end(network: Network, mnist: Images) -> None:
    """Its metrics through the registered extractor are ours, and nothing is downloaded."""
    from torch_fidelity import calculate_metrics

    from bench.score import fidelity

    name = fidelity.register("mnist", SHA256, network)
    assert name == classifier.name_of("mnist", SHA256)
    assert name == fidelity.register("mnist", SHA256, network), "registering twice is harmless"
    sample, reference = mnist.test[:400], mnist.train[:600]
    theirs = calculate_metrics(
        input1=Uint8(sample), input2=Uint8(reference), feature_extractor=name, cuda=False, fid=True, isc=True,
        isc_splits=1, prc=False, cache=False, verbose=False, batch_size=100, save_cpu_ram=True,
    )  # fmt: skip
    ours = classifier.extract(network, sample)
    there = classifier.extract(network, reference)
    fid = distances.frechet_distance(distances.Moments.of(ours.features), distances.Moments.of(there.features))
    assert theirs["frechet_inception_distance"] == pytest.approx(fid, rel=1e-3)
    assert theirs["inception_score_mean"] == pytest.approx(distances.inception_score(ours.logits), rel=1e-5)


def test_features_do_not_depend_on_order(network: Network, mnist: Images) -> None:
    images = mnist.test[:300]
    there, back = classifier.extract(network, images), classifier.extract(network, images.flip(0))
    torch.testing.assert_close(back.features.flip(0), there.features, rtol=1e-5, atol=1e-6)


def test_blur_noise_and_a_missing_class_are_all_seen(network: Network, mnist: Images, scorer: Scorer) -> None:
    """Each degradation costs FID at least twice the floor, and more of it costs more."""

    def seen(images: torch.Tensor) -> torch.Tensor:
        return classifier.extract(network, images).features

    def fid(*features: torch.Tensor) -> float:
        return distances.frechet_distance(distances.Moments.of(torch.cat(features)), scorer.reference.moments)

    images, labels = mnist.test[::5], mnist.test_labels[::5]
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (200, *images.shape[1:]), generator=random, dtype=torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(images.float(), 3, 1, 1).round().to(torch.uint8)
    clean, noisy = seen(images), seen(noise)
    floor = fid(clean)
    few, many = (fid(clean[k:], noisy[:k]) for k in (20, 200))
    assert 2 * floor < few < many
    assert fid(seen(blurred)) > 2 * floor
    assert fid(clean[labels != 3]) > 2 * floor


def test_shift_moves_and_pads() -> None:
    images = torch.zeros(64, 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    moved = learning.shift(images, torch.Generator().manual_seed(0), by=2)
    at = {tuple(map(int, image[0].nonzero()[0])) for image in moved}
    assert moved.sum() == images.sum()
    assert at <= {(y, x) for y in range(2, 7) for x in range(2, 7)}
    assert {y for y, _ in at} == {x for _, x in at} == {2, 3, 4, 5, 6}
    assert torch.equal(learning.shift(images, torch.Generator(), by=0), images)


def test_the_recipe_learns(tiny_images: Images) -> None:
    *_, (last, network) = classifier.train(tiny_images, epochs=2)
    assert last.epoch == 2
    assert np.isfinite(last.loss)
    assert network(tiny_images.test[:3])[1].shape == (3, CLASSES)


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing classifier"):
        classifier.load(tmp_path / "none.safetensors", None)
    (tmp_path / "bad.safetensors").write_bytes(PATH.read_bytes()[:-1])
    with pytest.raises(UserError, match="has sha256"):
        classifier.load(tmp_path / "bad.safetensors", SHA256)


def test_the_command_retrains_it(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same recipe gives the same bytes; it says which they are, and whether they are the pinned ones."""
    out = tmp_path / "new.safetensors"
    argv = ["classifier", "--epochs", "1", "--out", str(out)]
    assert cli.main(argv) == 0
    epoch, written, moments, pinned = capsys.readouterr().out.splitlines()
    assert epoch.startswith("epoch 1: loss ")
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    assert written.endswith(f"new.safetensors, sha256 {sha256}")
    assert pinned == "its weights are not the same as the pinned judge's"
    assert moments.endswith(hashlib.sha256((tmp_path / "new.moments.safetensors").read_bytes()).hexdigest())
    share = classifier.accuracy(classifier.load(out, sha256, build=classifier.RECIPE.network), world.images)
    assert epoch.endswith(f"test accuracy {share:.4f}")
    out.replace(world.weights)
    PANELS["mnist"] = Panel("classifier", "classifier", {"classifier": (sha256, "")})  # the world puts it back
    again = tmp_path / "again.safetensors"
    assert cli.main([*argv[:-1], str(again)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "its weights are the same as the pinned judge's"
    assert again.read_bytes() == world.weights.read_bytes()


def test_without_a_name_the_first_judge_is_retrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headline judge of MNIST is made of others, and cannot be."""

    class AskedError(Exception):
        pass

    def train(images: Images, *, recipe: learning.Recipe, **_: object) -> None:
        raise AskedError(recipe)

    monkeypatch.setattr(classifier, "train", train)
    with pytest.raises(AskedError) as asked:
        next(retrain("mnist", tmp_path / "x.safetensors"))
    assert asked.value.args == (classifier.RECIPE,)


def test_a_panel_for_a_data_set(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command makes every judge and all moments; what it prints is what a row of PANELS needs."""
    images = world.images
    few = Images(images.train[:64], images.train_labels[:64], images.test[:20], images.test_labels[:20], images.sha256)
    monkeypatch.setitem(datasets.DATASETS, "mnist", replace(datasets.DATASETS["mnist"], read=lambda root: few))
    for module in (classifier, mixer, texture):
        monkeypatch.setattr(module, "RECIPE", module.RECIPE._replace(epochs=1))
    folder = tmp_path / "panel"
    folder.mkdir()
    argv = ["classifier", "--panel", str(folder), "--device", "cpu"]
    assert cli.main(argv) == 0
    told = capsys.readouterr().out.splitlines()
    rows = dict(re.findall(r"^(\w+): (.*)$", "\n".join(told[-len(JUDGES) - len(VIEWS) :]), re.MULTILINE))
    assert list(rows) == [*(name for name in JUDGES if JUDGES[name].recipe), "together", *VIEWS]
    pins = {name: (rows[name].split(",")[0], rows[name].split()[-1]) for name in JUDGES}
    PANELS["mnist"] = Panel("together", "classifier", pins)  # the world puts it back
    for shipped in judges_of("mnist").values():
        judge = shipped._replace(folder=folder)
        moments = kept.read(judge.moments_path, judge.moments)
        assert moments.dataset_sha256 == world.images.sha256
        if judge.members:
            assert judge.sha256 == hash_of(judge.members)
            members = [eyes.load(member._replace(folder=folder)) for member, _ in judge.members]
            assert len(moments.moments.mean) == sum(network.features for network in members)
        else:
            seen = classifier.extract(eyes.load(judge), few.train).features
            torch.testing.assert_close(torch.from_numpy(moments.moments.mean), seen.mean(0), rtol=1e-4, atol=1e-5)
    trained = {path: path.stat().st_mtime_ns for path in folder.iterdir() if "moments" not in path.name}
    moments = sorted(folder.glob("mnist-*.moments.safetensors"))
    assert len(moments) == len(JUDGES) + len(VIEWS)
    for lost in [None, *moments]:  # it may be stopped after any file
        if lost:
            lost.unlink()
        assert cli.main(argv) == 0
        assert capsys.readouterr().out.splitlines() == told[-len(JUDGES) - len(VIEWS) :], "nothing is trained twice"
        assert trained == {path: path.stat().st_mtime_ns for path in trained}


def test_a_panel_has_its_own_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["classifier", "mixer", "--panel", str(tmp_path)]) == 2
    assert "leave out the judge and --epochs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
