"""Scores of other people's files: constant memory, labels, warnings, and hints at what went wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import cli
from bench.errors import UserError
from bench.images import arrays, files
from bench.images.datasets import Images
from bench.images.source import Reading
from bench.score import distances, report, taken
from bench.score.distances import Moments, frechet_distance
from bench.score.printed import ScoreReport
from bench.score.scorer import Scorer, last
from bench.store.records import Bounds
from bench.store.store import Store


@pytest.fixture
def digits(mnist: Images) -> np.ndarray:
    """200 test images, uint8 (N, 28, 28)."""
    return mnist.test[::50, 0].numpy()


@pytest.fixture
def store(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the reference in it; floor and ceiling take longer than what is tested here."""
    monkeypatch.setattr(Scorer, "bounds", lambda self, n: Bounds({}, {}))
    shutil.copytree(scorer.store.root, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def few_to_learn(monkeypatch: pytest.MonkeyPatch, mnist: Images, scorer: Scorer) -> None:
    """Each class's moments from a few hundred training images: enough to tell them apart."""
    some = slice(0, 2000)
    small = Images(mnist.train[some], mnist.train_labels[some], mnist.test, mnist.test_labels, mnist.sha256)
    monkeypatch.setattr(scorer, "images", small)
    monkeypatch.setattr(report, "preparing", lambda *_, **__: returning(scorer))


def returning(value: Any) -> Iterator[Any]:
    """Something slow of which nothing is left to do."""
    yield from ()
    return value


def scored(path: Path, store: Store, **said: Any) -> ScoreReport:
    return report.score_path(path, store, device="cpu", reading=Reading(**said)).report


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


# memory


def test_kid_in_blocks_is_kid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks; and none of them has more pairs than it may have."""
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (130, 170))
    whole = [distances.kernel_distance(x, y), distances.radii(x), distances.nearest(x, y)]
    assert len(list(distances.blocks(130, 170))) == 1
    largest = []
    kernel = distances.polynomial_kernel
    monkeypatch.setattr(distances, "BLOCK", 2000)
    monkeypatch.setattr(distances, "polynomial_kernel", lambda a, b: (largest.append(len(a) * len(b)), kernel(a, b))[1])
    parts = [distances.kernel_distance(x, y, distances.mean_over_pairs(y)), distances.radii(x), distances.nearest(x, y)]
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    for a, b in zip(parts[1:], whole[1:], strict=True):
        assert torch.allclose(a, b)
    within = max(largest[:0] + [n for n in largest if n != 170 * 170])
    assert within <= 2000


def test_many_are_scored_as_few(
    scorer: Scorer, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores that need no pairs are the same from running sums; class accuracy is too."""
    path = tmp_path / "a.npz"
    np.savez(path, digits, np.arange(len(digits)) % 10)
    monkeypatch.setattr(taken, "moments_of_classes", lambda _: returning([scorer.reference.moments] * 10))
    few = taken.score(scorer, files.take(path, 1, 28))
    monkeypatch.setattr(taken, "STREAMED", 100)
    monkeypatch.setattr(arrays, "PART", 70)
    many = taken.score(scorer, files.take(path, 1, 28))
    assert many.metrics == pytest.approx({name: few.metrics[name] for name in many.metrics}, rel=1e-5)
    assert {"fid", "class_accuracy", "worst_class_accuracy"} <= many.metrics.keys()
    assert "kid" in few.metrics.keys() - many.metrics.keys()
    assert many.fid_by_class == pytest.approx(few.fid_by_class, rel=1e-5)
    assert few.fid_by_class is not None


def test_changes_are_tried_on_images_spread_over_all(
    scorer: Scorer, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fourth of 200 here, whatever the parts that they come in."""
    tried: list[torch.Tensor] = []
    monkeypatch.setattr(taken, "TRIED", 60)
    monkeypatch.setattr(taken, "hint", lambda _, images: tried.append(images.clone()))
    for part in (7, 64, 5000):
        monkeypatch.setattr(arrays, "PART", part)
        taken.score(scorer, files.of_array(digits, "x", 1, 28))
    for images in tried:
        np.testing.assert_array_equal(images[:, 0].numpy(), digits[::4])


def test_what_was_left_out_of_many_is_said(
    store: Store, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken, "STREAMED", 100)
    found = scored(saved(tmp_path / "a.npy", digits), store)
    assert "more than 100 images: scores that compare pairs of them are left out" in found.notes
    with pytest.raises(UserError, match="--thorough is for at most 100 images, not 200"):
        report.score_path(tmp_path / "a.npy", store, device="cpu", thorough=True)


# labels


@pytest.mark.usefixtures("few_to_learn")
def test_labels_give_accuracy_and_fid_of_each_class(
    scorer: Scorer, mnist: Images, store: Store, tmp_path: Path
) -> None:
    """Of test images under their true labels, and under wrong ones: from guidance-diffusion's npz, and from folders."""
    images, labels = mnist.test[:250, 0].numpy(), mnist.test_labels[:250].numpy()
    np.savez(tmp_path / "a.npz", np.repeat(images[..., None], 3, 3), labels)
    found = scored(tmp_path / "a.npz", store)
    assert found.metrics["class_accuracy"] > 0.95
    assert found.fid_by_class is not None
    by_hand = frechet_distance(
        *(Moments.of(scorer_features(scorer, x)) for x in (
            mnist.test[:250][labels == 1], scorer.images.train[scorer.images.train_labels == 1]))
    )  # fmt: skip
    assert found.fid_by_class[1] == pytest.approx(by_hand, rel=1e-4)
    for image, label in zip(images, labels, strict=True):
        file = tmp_path / "d" / str((label + 1) % 10) / f"{len(list(tmp_path.rglob('*.png')))}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    wrong = scored(tmp_path / "d", store)
    assert wrong.metrics["class_accuracy"] < 0.05
    assert wrong.metrics["fid"] == pytest.approx(found.metrics["fid"], rel=1e-4)
    assert wrong.fid_by_class is not None
    assert all(a is None or b is None or a > b for a, b in zip(wrong.fid_by_class, found.fid_by_class, strict=True))


def scorer_features(scorer: Scorer, images: torch.Tensor) -> torch.Tensor:
    from bench.score import classifier

    return classifier.extract(scorer.network, images).features


def test_moments_of_classes_are_kept(scorer: Scorer, monkeypatch: pytest.MonkeyPatch, mnist: Images) -> None:
    """None for a class with a single training image, and for one with none at all."""
    which = torch.isin(mnist.train_labels[:500], torch.tensor([4, 7]), invert=True)
    which[mnist.train_labels[:500].tolist().index(7)] = True
    small = Images(mnist.train[:500][which], mnist.train_labels[:500][which], mnist.test, mnist.test_labels, "ab" * 32)
    monkeypatch.setattr(scorer, "images", small)
    first = last(taken.moments_of_classes(scorer))
    monkeypatch.setattr(taken.classifier, "extract", None)
    again = last(taken.moments_of_classes(scorer))
    kept = [(a.covariance, b.covariance) for a, b in zip(first, again, strict=True) if a and b]
    assert all(np.array_equal(a, b) for a, b in kept)
    assert [c for found in (first, again) for c, one in enumerate(found) if one is None] == [4, 7, 4, 7]
    assert np.isfinite(kept[3]).all()
    images, labels = mnist.test[:250, 0].numpy(), np.arange(250) % 10
    source = files.of_array(images, "x", 1, 28, classes=10)
    monkeypatch.undo()
    monkeypatch.setattr(taken, "moments_of_classes", lambda _: returning(again))
    by_class = taken.score(scorer, replace(source, labels=labels)).fid_by_class
    assert by_class is not None
    assert [c for c, fid in enumerate(by_class) if fid is None] == [4, 7]


# what may be wrong


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ("invert", lambda x: 255 - x),
        ("transpose", lambda x: x.transpose(0, 2, 1)),
        ("mirror", lambda x: x[:, :, ::-1]),
        ("turn", lambda x: np.rot90(x, 1, (1, 2))),
        ("stretch", lambda x: (x > 127).astype(np.uint8)),
        ("widen", lambda x: x // 2 + 128),
    ],
)
def test_a_simple_change_that_would_fit_is_named(scorer: Scorer, digits: np.ndarray, change: str, wrong: Any) -> None:
    """In one line; with the change there is nothing to say any more."""
    spoilt = np.ascontiguousarray(wrong(digits[::2]))
    given = files.of_array(spoilt, "x", 1, 28).whole()
    mended = files.of_array(spoilt, "x", 1, 28, Reading(changes=(change,))).whole()
    hint = taken.hint(scorer, given)
    assert hint is not None
    assert hint.endswith(f"(--apply {change})")
    assert taken.hint(scorer, mended) is None
    better, worse = (scorer.score(images, only="fid")["fid"] for images in (mended, given))
    assert better * taken.BETTER < worse


def test_images_are_scored_as_they_are_with_a_hint(scorer: Scorer, digits: np.ndarray) -> None:
    found = taken.score(scorer, files.of_array(255 - digits[::4], "x", 1, 28))
    assert found.hint == taken.hint(scorer, torch.from_numpy(255 - digits[::4])[:, None])
    assert found.hint is not None
    assert found.metrics["fid"] == pytest.approx(
        scorer.score(torch.from_numpy(255 - digits[::4])[:, None], only="fid")["fid"], rel=1e-5
    )


@pytest.mark.parametrize("n", [20, 100])
def test_nothing_is_hinted_at_of_what_is_right_or_hopeless(scorer: Scorer, mnist: Images, n: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (n, 28, 28)).astype(np.uint8)
    for images in (mnist.test[:n, 0].numpy(), noise, np.zeros_like(noise)):
        assert taken.hint(scorer, torch.from_numpy(images)[:, None]) is None


def test_few_images_come_with_a_warning(scorer: Scorer, store: Store, digits: np.ndarray, tmp_path: Path) -> None:
    """As many as there are features are enough; below the floor there is no score at all."""
    width = scorer.network.features
    enough = np.resize(digits, (width, 28, 28))
    few = scored(saved(tmp_path / "a.npy", enough[1:]), store)
    assert few.notes[0].startswith(f"warning: {width - 1} images are fewer than the {width} features")
    assert not scored(saved(tmp_path / "b.npy", enough), store).notes
    with pytest.raises(UserError, match="at least 20 are needed"):
        scored(saved(tmp_path / "c.npy", digits[:19]), store)


def test_in_doubt_both_readings_are_scored(store: Store, digits: np.ndarray, tmp_path: Path) -> None:
    """And neither is chosen; with ``--range`` the score is the one that was named."""
    floats = (digits / 255).astype(np.float32)
    floats[0, 0, 0] = -1
    path = saved(tmp_path / "a.npy", floats)
    with pytest.raises(UserError, match=r"--range 0 1 gives FID .*, --range -1 1 gives FID") as error:
        scored(path, store)
    fids = [float(part.split()[0]) for part in str(error.value).split("gives FID ")[1].split(",")[:1]]
    found = scored(path, store, range=(0.0, 1.0))
    assert found.metrics["fid"] == pytest.approx(fids[0], rel=1e-3)
    assert found.counts is not None
    assert found.counts.clipped == 1


# what is printed


def test_what_was_done_is_in_the_json_and_in_the_text(
    store: Store, digits: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, with every option."""
    rgba = [np.stack([np.full_like(one, 255)] * 3 + [one], 2) for one in digits[:30]]
    for i, image in enumerate(rgba):
        (tmp_path / "d").mkdir(exist_ok=True)
        Image.fromarray(255 - image[..., 3] if i % 2 else image).save(tmp_path / "d" / f"{i}.png")
    (tmp_path / "d" / "cut.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "d" / ".DS_Store").write_bytes(b"")
    argv = ["score", str(tmp_path / "d"), "--results", str(store.root), "--device", "cpu", "--leave-out"]
    argv += ["--background", "black", "--apply", "invert"]
    assert cli.main([*argv, "--format", "json"]) == 0
    found = ScoreReport.parse(capsys.readouterr().out.encode())
    counts = found.counts
    assert counts is not None
    assert (counts.found, counts.read) == (32, 30)
    assert counts.converted == {
        "composed on black": 15,
        "equal channels to grey": 15,
        "black and white swapped": 30,
    }
    assert sum(counts.left_out.values()) == 2
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    assert "composed on black: 15" in text
    assert "left out, the system's: 1" in text
    assert "warning: 30 images" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--range", "1", "0"], "the lower first"),
        (["--range", "0", "nan"], "the lower first"),
        (["--range", "1", "1"], "the lower first"),
        (["--array", "images"], "its one array has no name, not 'images'"),
        (["--apply", "inverted"], "did you mean 'invert'"),
        (["--background", "grey"], "must be black, white"),
        (["--background", "256"], "must be black, white"),
    ],
)
def test_options_that_are_wrong(
    digits: np.ndarray, tmp_path: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.npy", digits)
    try:
        code = cli.main(["score", str(path), "--results", str(tmp_path / "none"), *more])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_negative_range_on_the_command_line(
    digits: np.ndarray, tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.npy", (digits / 127.5 - 1).astype(np.float32))
    argv = [
        "score",
        str(path),
        "--results",
        str(store.root),
        "--device",
        "cpu",
        "--format",
        "json",
        "--range",
        "-1",
        "1",
    ]
    assert cli.main(argv) == 0
    assert json.loads(capsys.readouterr().out)["read_as"] == "array of floats in [-1, 1]"
