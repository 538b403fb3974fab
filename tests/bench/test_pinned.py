"""Judges as they are trained, kept, named and read, on small images; and the moments that come with them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, max_pool2d

from bench.errors import UserError
from bench.images.dataset import Images
from bench.images.datasets import to_float
from bench.score import classifier, eyes, judges, kept
from bench.score.classifier import Epoch, Features, Network, extract
from bench.score.distances import Moments
from bench.score.judges import JUDGES, PANELS, Judge, Pinned, judges_of
from bench.score.kept import Progress, Shipped
from bench.score.learning import Fitted, JudgeNetwork, Recipe, Step, shift
from bench.score.views import VIEWS
from bench.store.store import Store
from bench.store.tensors import ReferenceFeatures
from tests.small import pictures, watched

CPU = torch.device("cpu")


def images(n: int = 30, classes: int = 3, channels: int = 1) -> Images:
    train, test = pictures(n, channels), pictures(20, channels, seed=1)
    return Images(train, torch.arange(n) % 3, test, torch.arange(20) % 3, "d" * 64, classes)


def moments(d: int = 3) -> Moments:
    root = np.random.default_rng(0).normal(size=(d, d))
    return Moments(np.arange(d, dtype=float), root @ root.T)


# moments


def test_moments_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part at a time, the last one smaller; after each it is said how far that is."""
    monkeypatch.setattr(kept, "PART", 7)
    seen: list[int] = []

    def see(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part.flatten(1)[:, :4].double()

    given = pictures(17)
    told, found = watched(kept.gathered(see, given, "looking"))
    assert seen == [7, 7, 3]
    assert told == [Progress("looking", k / 17) for k in (7, 14, 17)]
    np.testing.assert_allclose(found.mean, given.flatten(1)[:, :4].double().mean(0).numpy())
    np.testing.assert_allclose(found.covariance, np.cov(given.flatten(1)[:, :4].numpy(), rowvar=False))
    with pytest.raises(ValueError, match=r"^no images$"):
        list(kept.gathered(see, given[:0], "looking"))


def test_moments_are_kept_as_half_of_the_covariance(tmp_path: Path) -> None:
    own = moments()
    tensors = kept.packed(own, torch.ones(2))
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {"mean": (3,), "covariance": (6,), "fitted": (2,)}
    back = kept.unpacked(tensors)
    np.testing.assert_array_equal(back.mean, own.mean)
    np.testing.assert_allclose(back.covariance, own.covariance)
    path = tmp_path / "some.safetensors"
    sha256 = kept.write(path, Shipped(own, "e" * 64, torch.ones(2)))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = kept.read(path, sha256)
    np.testing.assert_allclose(found.moments.covariance, own.covariance)
    assert found.dataset_sha256 == "e" * 64
    assert torch.equal(found.fitted, torch.ones(2))


def test_moments_that_are_missing_or_altered(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    with pytest.raises(UserError, match=rf"^missing moments: no {path}$"):
        kept.read(path, "0" * 64)
    save_file(kept.packed(moments(), torch.ones(1)), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert kept.read(path, sha256).dataset_sha256 == ""
    with pytest.raises(UserError, match=rf"^corrupt moments: {path} has sha256 {sha256}, expected {'0' * 64}$"):
        kept.read(path, "0" * 64)


# who sees


def test_the_eye_of_a_network() -> None:
    net, judge = Network(), judges_of("mnist")["texture"]
    eye = eyes.of_network(net, "a" * 64, CPU, judge)
    assert torch.equal(eye.see(pictures(), torch.zeros(0)), extract(net, pictures()).features)
    assert eye[0] == "a" * 64
    assert eye.fit(pictures()).numel() == 0
    assert (eye.shipped, eye.moments) == (judge.moments_path, judge.moments)
    alone = eyes.of_network(net, "a" * 64, CPU, None)
    assert (alone.shipped, alone.moments) == (Path(), "")


def test_the_eyes_without_a_network() -> None:
    found = eyes.views_of("mnist", (1, 28))
    assert list(found) == list(VIEWS)
    for name, eye in found.items():
        assert eye.sha256 == hashlib.sha256(name.encode()).hexdigest()
        assert (eye.see, eye.fit) == (VIEWS[name].of, VIEWS[name].fit)
        assert eye.shipped == judges.WEIGHTS / f"mnist-{name.replace('_', '-')}.moments.safetensors"
        assert eye.moments == VIEWS[name].moments["mnist"]
        assert eyes.views_of("other", (1, 28))[name].moments == ""
    assert list(eyes.views_of("mnist", (3, 64))) == list(VIEWS)
    assert list(eyes.views_of("mnist", (3, 65))) == ["spectrum_distance"]


def eye_of(path: Path, sha256: str, seen: list[int]) -> eyes.Eye:
    """One that counts the images it sees, and fits their number."""

    def see(part: Tensor, fitted: Tensor) -> Tensor:
        seen.append(len(part))
        return part.flatten(1)[:, :3].double() + fitted

    return eyes.Eye("b" * 64, see, lambda train: torch.tensor(float(len(train))), path, sha256)


def test_moments_are_looked_for_before_they_are_made(tmp_path: Path) -> None:
    """Those of the package where they are of these images; those that were kept, by the same code; else anew."""
    seen: list[int] = []
    store, given = Store(tmp_path / "results"), images(600)
    path = tmp_path / "shipped.safetensors"
    sha256 = kept.write(path, Shipped(moments(), given.sha256, torch.zeros(1)))
    told, found = watched(eyes.moments(eye_of(path, sha256, seen), given, store, "code"))
    assert (told, seen) == ([], [])
    np.testing.assert_allclose(found.moments.mean, moments().mean)

    others = replace(given, sha256="f" * 64)
    told, found = watched(eyes.moments(eye_of(path, sha256, seen), others, store, "code"))
    assert seen == [250, 250, 100]
    assert told == [Progress("looking at the training images", k / 600) for k in (250, 500, 600)]
    np.testing.assert_allclose(found.moments.mean, given.train.flatten(1)[:, :3].double().mean(0).numpy() + 600)
    assert found.dataset_sha256 == "f" * 64
    assert float(found.fitted) == 600
    key = hashlib.sha256(f"{'b' * 64} {'f' * 64} moments".encode()).hexdigest()[:16]
    assert eyes.key_of("b" * 64, others, "moments") == key
    tensors, about = store.load_tensors(ReferenceFeatures, key) or ({}, None)
    assert about == ReferenceFeatures(code="code")
    np.testing.assert_allclose(tensors["mean"].numpy(), found.moments.mean)

    told, again = watched(eyes.moments(eye_of(path, "", seen), others, store, "code"))
    assert (told, len(seen)) == ([], 3)
    np.testing.assert_allclose(again.moments.covariance, found.moments.covariance)
    assert (again.dataset_sha256, float(again.fitted)) == ("f" * 64, 600)
    watched(eyes.moments(eye_of(path, "", seen), others, store, "newer code"))
    assert len(seen) == 6


def test_a_judge_s_network() -> None:
    """A judge made of others is those others, with their weights."""
    mnist = judges_of("mnist")
    whole = eyes.load(mnist["together"])
    alone = [eyes.load(mnist[name]) for name, _ in JUDGES["together"].members]
    given = pictures(3, side=28)
    with torch.inference_mode():
        features, _ = whole(given)
        parts = [
            net(given)[0] * weight**0.5 for net, (_, weight) in zip(alone, JUDGES["together"].members, strict=True)
        ]
    torch.testing.assert_close(features, torch.cat(parts, 1))
    assert not whole.training
    assert not any(p.requires_grad for p in whole.parameters())


def test_what_a_judge_s_network_is_read_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file, its hash, and as many channels and classes as are asked for; of judges made of others, theirs."""
    asked: list[tuple[Any, ...]] = []

    def load(*given: Any) -> JudgeNetwork:
        asked.append(given)
        return Plain()

    monkeypatch.setattr(classifier, "load", load)
    mnist = judges_of("mnist")
    expected = []
    for name, _ in JUDGES["together"].members:
        made = JUDGES[name].recipe
        assert made is not None
        expected.append((mnist[name].path, mnist[name].sha256, 3, made().network, 7))
    eyes.load(mnist["texture"], 3, 7)
    eyes.load(mnist["together"], 3, 7)
    assert asked == [expected[1], *expected]


def test_an_eye_looks_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def extract(*given: Any) -> Features:
        asked.append(given)
        return Features(torch.ones(2, 1), torch.ones(2, 1))

    monkeypatch.setattr(classifier, "extract", extract)
    net, given, device = Plain(), pictures(2), torch.device("meta")
    eyes.of_network(net, "a" * 64, device, None).see(given, torch.zeros(0))
    assert asked == [(net, given, device)]


# who judges


def test_names_of_judges() -> None:
    judge = Pinned("some", "mnist", Judge(None, "It sees.", (("texture", 2.0),)), "a" * 64, "b" * 64, Path("there"))
    assert judge.path == Path("there/mnist-some.safetensors")
    assert judge.moments_path == Path("there/mnist-some.moments.safetensors")
    assert judge.members == [(judges_of("mnist")["texture"], 2.0)]
    assert judges_of("mnist")["mixer"].path == judges.WEIGHTS / "mnist-mixer.safetensors"
    assert judges.column("some") == "fid_some"
    assert (
        judges.hash_of([(judge, 0.5), (judge, 2.0)])
        == hashlib.sha256(f"{'a' * 64}*0.5 {'a' * 64}*2".encode()).hexdigest()
    )
    assert judges_of("nothing") == {}
    for dataset, row in PANELS.items():
        assert judges.headline(dataset) == judges_of(dataset)[row.headline]
        assert judges.reader(dataset) == judges_of(dataset)[row.reader]
        assert judges.pinned(dataset) == row.pins[row.headline][0]
        assert judges.hashes(dataset) == {pin[0] for pin in row.pins.values()}
        for name, judge in judges_of(dataset).items():
            assert judge == Pinned(name, dataset, JUDGES[name], *row.pins[name])
            assert judges.with_hash(judge.sha256) == judges.with_hash(judge.sha256[:12]) == judge
    assert judges.headline("nothing") is judges.reader("nothing") is judges.pinned("nothing") is None
    assert judges.hashes("nothing") is None
    assert judges.with_hash("") is judges.with_hash("xyz") is None


def test_columns_of_a_record() -> None:
    """That of its own judge is filled, those by other weights are left out, and the rest stays."""
    mnist = judges_of("mnist")
    headline, texture = mnist["together"], mnist["texture"]
    scores = {"fid": 1.0, "fid_texture": 2.0, "fid_mixer": 3.0, "kid": 4.0}
    others = {"fid_texture": texture.sha256[:12], "fid_mixer": texture.sha256[:12]}
    shown = judges.with_own_column(scores, headline.sha256, others)
    assert shown == {"fid": 1.0, "fid_texture": 2.0, "kid": 4.0, "fid_together": 1.0}
    assert judges.with_own_column({"kid": 4.0}, headline.sha256, {}) == {"kid": 4.0}
    assert judges.with_own_column({"fid": 1.0, "fid_texture": 2.0}, "0" * 64, {}) == {"fid": 1.0}


def test_the_panel_of_a_metric() -> None:
    fashion = judges_of("fashion_mnist")
    expected = ("fid_classifier", "fid_texture", "fid_mixer", *VIEWS)
    assert judges.panel("fid") == expected
    assert judges.panel("fid", fashion["together"].sha256) == expected
    assert judges.panel("fid", fashion["mixer"].sha256) == ("fid_classifier", "fid_texture", "fid_together", *VIEWS)
    assert judges.panel("fid", "0" * 64) == tuple(VIEWS)
    assert judges.panel("kid") == judges.panel("kid", fashion["mixer"].sha256) == ()


# the first judge


@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_classifier_sees(channels: int) -> None:
    torch.manual_seed(0)
    net = Network(channels, 7)
    given = pictures(channels=channels)
    x = to_float(given)
    convolutions = [
        layer for stage in (net.strokes, net.shapes) for layer in stage if isinstance(layer, torch.nn.Conv2d)
    ]
    assert [layer.weight.shape[0] for layer in convolutions] == [32, 32, 64, 64, 128, 128]
    assert convolutions[0].weight.shape[1] == channels
    found = []
    for i, layer in enumerate(convolutions):
        x = conv2d(max_pool2d(x, 2) if i in (2, 4) else x, layer.weight, layer.bias, padding=1).clamp(min=0)
        found.append(x.mean((2, 3)))
    features, logits = net(given)
    torch.testing.assert_close(features, torch.cat([found[3], found[5]], 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, found[5] @ net.head.weight.T + net.head.bias, rtol=1e-4, atol=1e-5)
    assert net.parts == (64, 128)
    assert net.classes == 7
    plain = Network()
    assert (plain.classes, plain.head.weight.shape, plain.features) == (10, (10, 128), 192)
    first = next(plain.parameters())
    assert first.shape == (32, 1, 3, 3)
    assert convolutions[1].weight.is_contiguous(memory_format=torch.channels_last)


class Plain(JudgeNetwork):
    """Two features and three logits, linear in the pixels."""

    parts = (2,)

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.see, self.head = torch.nn.Linear(64 * channels, 2), torch.nn.Linear(2, classes)
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, 8, 8) → features (B, 2), logits (B, classes)."""
        self.batches.append(len(images))
        seen = self.see(images.flatten(1).float() / 255)
        return seen, self.head(seen)


def test_features_come_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, without gradients, and the same as all at once."""
    monkeypatch.setattr(classifier, "BATCH", 4)
    net, given = Plain(), pictures(11)
    found = extract(net, given)
    assert net.batches == [4, 4, 3]
    assert found.features.dtype == found.logits.dtype == torch.float64
    whole = net(given)
    torch.testing.assert_close(found.features, whole[0].double())
    torch.testing.assert_close(found.logits, whole[1].double())
    assert not found.features.requires_grad
    assert extract(net, given[:0]).features.shape == (0, 2)


def test_some_rows_of_features() -> None:
    found = Features(torch.arange(8.0).view(4, 2), torch.arange(4.0)[:, None], torch.arange(4), {"a": torch.ones(4, 1)})
    some = found.rows(torch.tensor([3, 1]))
    assert some.features.tolist() == [[6, 7], [2, 3]]
    assert some.logits.tolist() == [[3], [1]]
    assert some.asked is not None
    assert some.asked.tolist() == [3, 1]
    assert some.beside["a"].shape == (2, 1)
    assert Features(found.features, found.logits).rows(torch.tensor([0])).asked is None


def recipe(done: list[tuple[int, int]]) -> Recipe:
    def loss(network: Any, shown: Tensor, labels: Tensor, random: torch.Generator) -> Tensor:
        return cross_entropy(network(shown)[1], labels)

    def standardise(network: Any, train: Tensor, device: torch.device | str) -> None:
        done.append((id(network), len(train)))
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))

    return Recipe(Plain, loss, epochs=3, seed=5, standardise=standardise)


def test_an_epoch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its loss and accuracy; what is trained is standardised at the end, before its accuracy is measured."""
    done: list[tuple[int, int]] = []
    given = images()
    found = list(classifier.train(given, recipe=recipe(done)))
    epochs = [event for event in found if not isinstance(event, Step)]
    assert [epoch.epoch for epoch, _ in epochs] == [1, 2, 3]
    assert done == [(id(epochs[-1][1]), 30)]
    last = epochs[-1][0]
    assert last == Epoch(3, last.loss, float((given.test_labels == 1).double().mean()))
    torch.manual_seed(5)
    start = Plain(1, 3)
    assert not any(torch.equal(a, b) for a, b in zip(start.parameters(), epochs[-1][1].parameters(), strict=True))
    again = [event for event in classifier.train(given, recipe=recipe([])) if not isinstance(event, Step)]
    assert [epoch for epoch, _ in again] == [epoch for epoch, _ in epochs]
    other = [event for event in classifier.train(given, recipe=recipe([]), seed=6) if not isinstance(event, Step)]
    assert other[0][0].loss != epochs[0][0].loss
    zero = [event for event in classifier.train(given, recipe=recipe([]), seed=0) if not isinstance(event, Step)]
    assert zero[0][0].loss != epochs[0][0].loss
    (only,) = [event for event in classifier.train(given, recipe=recipe([]), epochs=1) if not isinstance(event, Step)]
    assert only[0].epoch == 1
    monkeypatch.setattr("bench.score.learning.TELL_S", -1.0)
    assert next(classifier.train(given, recipe=recipe([]))) == Step(1, 3, 1.0)


def test_training_is_on_its_device_and_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, epochs, the last scaling and the accuracy; the network is made for the images' channels and classes."""
    asked: list[tuple[Any, ...]] = []
    net, given = Plain(2, 5), images(classes=5, channels=2)

    def fit(*args: Any, **said: Any) -> Iterator[Any]:
        asked.append(("fit", args[0], args[3], said))
        yield Step(1, 2, 0.5)
        yield Fitted(1, 0.25, net)
        yield Step(2, 2, 0.5)
        yield Fitted(2, 0.125, net)

    def noted(name: str, answer: Any = None) -> Any:
        return lambda *args: asked.append((name, *args)) or answer

    monkeypatch.setattr(classifier, "fit", fit)
    monkeypatch.setattr(classifier, "multiplying", noted("multiplying", nullcontext()))
    monkeypatch.setattr(classifier, "accuracy", noted("accuracy", 0.5))
    made = Recipe(noted("network", net), cross_entropy, 2, 7, noted("standardise"))
    found = list(classifier.train(given, recipe=made, device="cpu:0"))
    assert found == [Step(1, 2, 0.5), (Epoch(1, 0.25, 0.5), net), Step(2, 2, 0.5), (Epoch(2, 0.125, 0.5), net)]
    exact = ("multiplying", "ieee", torch.device("cpu:0"))
    measured = ("accuracy", net, given, "cpu:0")
    assert [call for call in asked if call[0] != "fit"] == [
        ("network", 2, 5), exact, exact, measured,
        exact, exact, ("standardise", net, given.train, "cpu:0"), measured, exact,
    ]  # fmt: skip
    assert ("fit", net, cross_entropy, {"epochs": 2, "seed": 7, "device": "cpu:0"}) in asked


def test_images_are_looked_at_on_the_device_and_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    plain = classifier.extract

    def noted(*args: Any) -> Any:
        asked.append(args)
        return nullcontext()

    def extract(network: JudgeNetwork, shown: Tensor, device: torch.device | str = "none") -> Features:
        asked.append((network, shown, device))
        return plain(network, shown, device)

    monkeypatch.setattr(classifier, "multiplying", noted)
    plain(Plain(), pictures(), "cpu:0")
    assert asked == [("ieee", torch.device("cpu:0"))]
    asked.clear()
    monkeypatch.setattr(classifier, "extract", extract)
    net, given, judge = Plain(), images(), Network()
    classifier.accuracy(net, given, "cpu:0")
    classifier.standardise(judge, given.train, "cpu:0")
    assert asked[0] == (net, given.test, "cpu:0")
    assert asked[2] == (judge, given.train, "cpu:0")


def test_the_first_recipe_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "RECIPE", recipe([]))
    events = [event for event in classifier.train(images()) if not isinstance(event, Step)]
    assert len(events) == 3
    assert isinstance(events[0][1], Plain)


def test_the_loss_is_of_shifted_images() -> None:
    torch.manual_seed(0)
    net, labels = Network(), torch.arange(6)
    shown = shift(pictures(), torch.Generator().manual_seed(3))
    found = classifier.loss(net, pictures(), labels, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found, cross_entropy(net(shown)[1], labels))


def test_accuracy() -> None:
    given, net = images(), Plain()
    right = net(given.test)[1].argmax(1) == given.test_labels
    assert classifier.accuracy(net, given) == pytest.approx(float(right.double().mean()))
    net.classes = 0
    assert math.isnan(classifier.accuracy(net, given))


def test_standardised_features_leave_logits_alone() -> None:
    torch.manual_seed(0)
    net, given = Network(), pictures(20)
    before = extract(net, given)
    classifier.standardise(net, given)
    after = extract(net, given)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-3, atol=1e-4)
    for part, was in zip(after.features.split([64, 128], 1), before.features.split([64, 128], 1), strict=True):
        assert float(part.square().mean()) == pytest.approx(1, rel=1e-3)
        assert float(was.square().mean()) != pytest.approx(1, rel=0.1)


# files


def test_weights_are_kept_with_what_is_said_of_them(tmp_path: Path) -> None:
    path, net = tmp_path / "net.safetensors", Plain(classes=4)
    sha256 = classifier.save(net, path, {"dataset": "mnist", "accuracy": "0.9"})
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert classifier.about(path) == {"dataset": "mnist", "accuracy": "0.9"}
    other = classifier.save(net, tmp_path / "other.safetensors", {"accuracy": "0.9", "dataset": "mnist"})
    assert other == sha256, "the order of what is said does not matter"
    assert set(load_file(path)) == {"see.weight", "see.bias", "head.weight", "head.bias"}
    back = classifier.load(path, sha256, 1, Plain, 4)
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), net.parameters(), strict=True))
    classifier.load(path, None, 1, Plain, 4)
    with pytest.raises(UserError, match=rf"^corrupt classifier: {path} has sha256 {sha256}, expected {'0' * 64}$"):
        classifier.load(path, "0" * 64, 1, Plain, 4)
    gone = tmp_path / "gone"
    with pytest.raises(
        UserError, match=rf"^missing classifier: no {gone} \(retrain it with `ddpm-bench classifier`\)$"
    ):
        classifier.load(gone, None)


def test_the_network_of_a_file_by_default(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    classifier.save(Network(), path, {})
    found = classifier.load(path, None)
    assert isinstance(found, Network)
    assert (found.classes, next(found.parameters()).shape[1]) == (10, 1)


def test_what_is_said_of_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    weights = {"a": torch.ones(1)}
    save_file(weights, path, {"dataset": "old"})
    assert classifier.about(path) == {"dataset": "old"}
    save_file(weights, path)
    assert classifier.about(path) == {}
    for text, said in (("[1]", {}), ("{", {}), (json.dumps({"accuracy": 0.5}), {"accuracy": "0.5"})):
        save_file(weights, path, {"about": text})
        assert classifier.about(path) == said
    path.write_bytes(b"nothing of the kind")
    assert classifier.about(path) == {}
    assert classifier.about(tmp_path / "gone") == {}


def test_a_name_has_the_hash() -> None:
    assert classifier.name_of("mnist", "0123456789abcdef") == "ddpm-bench-mnist-0123456789ab"
    assert classifier.name_of('emnist(split="letters")', "0" * 64) == "ddpm-bench-emnist-000000000000"
