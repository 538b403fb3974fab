"""The gate of every change: the code as it is passes, and each of these ways to break it does not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.gate import change, verdicts
from bench.gate.change import MAIN, Baseline, Frozen
from bench.images.datasets import Images, to_uint8
from bench.job import generate as drawing
from bench.job.generate import Batch
from bench.score import classifier
from bench.score.judges import JUDGES
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study.model import Job
from ddpm import denoiser, sampler, schedule, train
from ddpm.denoiser import Denoiser
from ddpm.ema import Ema

FULL = "ancestral_beta, 50 of 50"
DDIM = "ddim, 10 of 1000"
ANCESTRAL = "ancestral, 10 of 1000"


@pytest.fixture(scope="module")
def known() -> tuple[Baseline, dict[str, Tensor]]:
    """The committed baseline and its network."""
    return change.read()


@pytest.fixture(scope="module")
def scorer(first_scorer: Scorer) -> Scorer:
    """By the judge that scored the baseline."""
    return first_scorer


@pytest.fixture(scope="module")
def network(known: tuple[Baseline, dict[str, Tensor]], scorer: Scorer) -> Frozen:
    """The network, with the real reference."""
    return Frozen(known[1], scorer)


SHORT = 0.9
"""The decay of an average that is shorter than the recipe's."""


@pytest.fixture(scope="module")
def runs(scorer: Scorer) -> dict[str, dict[str, dict[str, Tensor]]]:
    """What training gives, ``whole`` and ``short``: the recipe's average and a shorter one of the same run.

    Averages do not act on what they are of, so one run of ten seconds for each optimiser gives both.
    """
    made: list[Both] = []

    class Both(Ema):
        """The average that was asked for, and beside it the short one."""

        def __init__(self, net: nn.Module, decay: float) -> None:
            super().__init__(net, decay)
            self.short = Ema(net, SHORT)
            made.append(self)

        def update(self) -> None:
            """Of both."""
            super().update()
            self.short.update()

    found: dict[str, dict[str, dict[str, Tensor]]] = {"whole": {}, "short": {}}
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(train, "Ema", Both)
        for name in train.OPTIMISERS:
            found["whole"][name] = change.train(name, scorer.images.train)
            found["short"][name] = made[-1].short.weights
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """The baseline was made on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


Check = Callable[..., list[verdicts.Outcome]]


@pytest.fixture
def check(network: Frozen, known: tuple[Baseline, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch) -> Check:
    """The gate, for some of the ways to sample, and with or without scores and training: where it should be seen."""

    def run(*names: str, training: bool = False, scores: bool = False) -> list[verdicts.Outcome]:
        baseline, every = known[0], change.ways()
        monkeypatch.setattr(change, "ways", lambda: {name: every[name] for name in names})
        some = replace(
            baseline,
            images={name: baseline.images[name] for name in {*names, MAIN}},
            training=baseline.training if training else {},
            scores=baseline.scores if scores else {},
        )
        outcomes = list(change.check(network, some))
        return [one for one in outcomes if MAIN in names or one.name != f"images {MAIN}"]

    return run


def failed(outcomes: list[verdicts.Outcome]) -> set[str]:
    return {one.name for one in outcomes if one.verdict == verdicts.FAIL}


def test_the_code_as_it_is_passes(check: Check, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread: rounding is far below the limit. `make check` does it all."""
    monkeypatch.setattr(change, "train", lambda name, images: runs["whole"][name])
    with one_thread():
        outcomes = check(ANCESTRAL, DDIM, FULL, training=True, scores=True)
    assert verdicts.overall(outcomes) == verdicts.PASS, verdicts.table(outcomes)
    assert all(one.value < one.limit / 4 for one in outcomes if one.value is not None and one.limit is not None)
    assert {one.name.partition(" ")[0] for one in outcomes} == {
        "schedule", "objective", "weight", "spacing", "score", "training", "images"
    }  # fmt: skip


def early(self: Denoiser, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
    """The network at the step before."""
    return denoiser.halves(self.net(x_t, (t - 1).to(x_t.dtype) / self.schedule.T), x_t)


def test_a_timestep_off_by_one(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Denoiser, "_evaluate", early)
    assert failed(check(ANCESTRAL, DDIM)) == {f"images {ANCESTRAL}", f"images {DDIM}"}


def test_the_small_variance_for_the_large(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "wide", sampler.posterior)
    assert failed(check(FULL)) == {f"images {FULL}"}


def test_the_wrong_sigma(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sampler.bridge
    monkeypatch.setattr(sampler, "bridge", lambda a, b, c, d, *eta: plain(a, b, c, b if d else d, *eta))
    assert failed(check(DDIM)) == {f"images {DDIM}"}


def test_a_shorter_average(check: Check, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "train", lambda name, images: runs["short"][name])
    assert failed(check(training=True)) == {"training adamw", "training muon"}


def test_clipping_dropped(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sampler.CLIPS, True, None)
    assert failed(check(ANCESTRAL)) == {f"images {ANCESTRAL}"}


def test_cosine_clipped_early(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(schedule.SCHEDULES, "cosine", functools.partial(schedule.cosine, max_beta=0.9))
    assert failed(check("ancestral, 50 of 50")) >= {"schedule cosine", "images ancestral, 50 of 50"}


@pytest.mark.parametrize(
    "write",
    [
        lambda x: to_uint8(1.02 * x),
        lambda x: to_uint8(0.98 * x),
        lambda x: x.add(1).mul(127.5).clamp(0, 255).to(torch.uint8),
    ],
    ids=["2% larger", "2% smaller", "truncated"],
)
def test_images_written_wrongly(
    check: Check, monkeypatch: pytest.MonkeyPatch, write: Callable[[Tensor], Tensor]
) -> None:
    monkeypatch.setattr(drawing, "to_uint8", write)
    assert failed(check(ANCESTRAL)) == {f"images {ANCESTRAL}"}


def altered(images: Tensor, change: Callable[[Tensor], Tensor]) -> Callable[..., Iterator[Batch]]:
    """In place of ``generate``: what it drew when the baseline was made, with something done to it."""
    return lambda *_, **__: iter([Batch(0, change(images), None)])


def test_what_was_drawn_before_passes(check: Check, known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the two tests below would fail for another reason than what is done to the images."""
    monkeypatch.setattr(change, "generate", altered(known[0].drawn[MAIN], lambda images: images))
    assert failed(check(MAIN)) == set()


def test_some_are_noise(check: Check, known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(images: Tensor) -> Tensor:
        images = images.clone()
        images[::20] = torch.randint_like(images[::20], 256)
        return images

    monkeypatch.setattr(change, "generate", altered(known[0].drawn[MAIN], spoil))
    monkeypatch.setattr(change, "_quality", functools.partial(change._quality, resamples=5))
    (outcome,) = [one for one in check(MAIN) if one.verdict == verdicts.FAIL]
    assert "worse" in outcome.note
    assert "no worse" not in outcome.note


def test_a_class_is_missing(check: Check, known: Any, network: Frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(images: Tensor) -> Tensor:
        seven = classifier.extract(network.scorer.network, images).logits.argmax(1) == 7
        images = images.clone()
        images[seven] = images[~seven][: int(seven.sum())]
        return images

    monkeypatch.setattr(change, "generate", altered(known[0].drawn[ANCESTRAL], drop))
    assert failed(check(ANCESTRAL)) == {f"images {ANCESTRAL}"}


def test_a_metric_changed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.score import distances, metrics

    plain = distances.frechet_distance
    for module in (distances, metrics):
        monkeypatch.setattr(module, "frechet_distance", lambda p, q: 1.05 * plain(p, q))
    assert failed(check(scores=True)) == {"score fid", "score fid_infinity"}


def test_what_is_new_is_not_judged_and_what_is_gone_fails(
    network: Frozen, known: tuple[Baseline, dict[str, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, every = known[0], change.ways()
    some = replace(
        baseline,
        images={MAIN: baseline.images[MAIN], DDIM: baseline.images[DDIM]},
        training={},
        scores={},
        tables={"schedule none": [1.0]},
    )
    monkeypatch.setattr(change, "ways", lambda: {DDIM: every[DDIM], "euler, 10 of 1000": every["euler, 10 of 1000"]})
    found = {one.name: one.verdict for one in change.check(network, some)}
    assert found[f"images {DDIM}"] == verdicts.PASS
    assert found["images euler, 10 of 1000"] == verdicts.UNDECIDED
    assert found[f"images {MAIN}"] == verdicts.FAIL
    assert found["schedule none"] == verdicts.FAIL


def test_a_baseline_survives_its_files(known: tuple[Baseline, dict[str, Tensor]], tmp_path: Path) -> None:
    baseline, weights = known
    change.write(baseline, weights, tmp_path / "copy")
    again, same = change.read(tmp_path / "copy")
    assert again.tables == baseline.tables
    assert again.scores == baseline.scores
    assert again.history == baseline.history
    assert all((again.images[k] == v).all() for k, v in baseline.images.items())
    assert all(torch.equal(same[k], v) for k, v in weights.items())
    assert again.training.keys() == baseline.training.keys()
    assert all(getattr(baseline.history[-1], k) for k in ("who", "when", "commit", "why"))


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_a_damaged_baseline(known: tuple[Baseline, dict[str, Tensor]], tmp_path: Path, suffix: str) -> None:
    change.write(*known, tmp_path / "copy")
    path = (tmp_path / "copy").with_suffix(suffix)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a baseline of this version"):
        change.read(tmp_path / "copy")
    path.unlink()
    with pytest.raises(UserError, match="no baseline"):
        change.read(tmp_path / "copy")


def test_freezing_another_network(known: tuple[Baseline, dict[str, Tensor]], scorer: Scorer, tmp_path: Path) -> None:
    """The averaged weights of a training run of the right kind; the history goes on."""
    store = Store(tmp_path)
    given = {"net": "unet", "objective": "v", "weight": "unit", "schedule": "cosine", "T": 1000, "seed": 0}
    job = Job(**given, train={"epochs": 1}).model_dump(mode="json")
    tensors = {f"ema.{k}": v for k, v in known[1].items()}
    store.save_tensors("checkpoints", "right", tensors, {"job": job})
    store.save_tensors("checkpoints", "wrong", tensors, {"job": job | {"objective": "eps"}})
    assert change.trained(store, "right").keys() == known[1].keys()
    with pytest.raises(UserError, match="objective=eps: what is frozen has v"):
        change.trained(store, "wrong")
    with pytest.raises(UserError, match="no weights"):
        change.trained(store, "none")
    with pytest.raises(UserError, match="not of this version"):
        Frozen({k: v for k, v in known[1].items() if k != "last.weight"}, scorer)
    change.write(*known, tmp_path / "copy")
    assert change.past(tmp_path / "copy") == known[0].history
    assert change.past(tmp_path / "none") == ()


def test_another_classifier_is_refused(network: Frozen, known: tuple[Baseline, dict[str, Tensor]]) -> None:
    with pytest.raises(UserError, match="was scored by classifier other"):
        list(change.check(network, replace(known[0], classifier="other")))


def test_every_way_is_in_the_baseline(known: tuple[Baseline, dict[str, Tensor]], mnist: Images) -> None:
    """Whoever adds a sampler, a schedule, an objective or a weight updates the baseline with it."""
    assert known[0].images.keys() == change.ways().keys()
    assert known[0].tables.keys() == change.tables().keys()
    assert JUDGES["classifier"].sha256 == known[0].classifier
