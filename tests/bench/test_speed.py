"""Rates and shares by hand, and that everything measured is there and positive."""

from __future__ import annotations

import pytest
import torch

from bench.job import speed
from bench.job.speed import Work
from ddpm.nets import NETS

CPU = torch.device("cpu")


def test_works_are_timed_in_turn() -> None:
    calls: list[str] = []
    works = [Work(name, lambda name=name: calls.append(name), 1.0) for name in "ab"]  # type: ignore[misc]
    raw = speed.measure(works, CPU, rounds=3, seconds=1e-9)
    assert {name: len(values) for name, values in raw.items()} == {"a": 3, "b": 3}
    assert calls == ["a", "b", "a", "b"] + ["a", "b"] * 3


def test_shares_are_taken_within_a_round() -> None:
    """A machine that halves its speed slows both alike, and the share stays."""
    work, yardstick = Work("work", lambda: None, 30.0), Work("unit", lambda: None, 100.0)
    raw = {"work": [1.0, 2.0], "unit": [2.0, 4.0]}
    assert speed.rates(work, raw) == [30.0, 15.0]
    assert speed.shares(work, yardstick, raw) == [0.6, 0.6]


def test_the_machine_is_measured_against_its_yardstick() -> None:
    names = [work.name for work in speed.machine_in_full(CPU)]
    assert speed.YARDSTICK in names
    assert {"matmul 256 bfloat16", "conv3x3 64 float32", "conv3x3 32 bfloat16", "copy", "triad"} <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("net", NETS)
def test_what_a_study_does_is_counted_and_runs(net: str) -> None:
    training = speed.training(net, CPU)
    sampling, forward = speed.sampling(net, CPU)
    assert sampling.amount == speed.SAMPLE_STEPS * forward.amount
    per_image = training.amount / training.images
    # an image of a batch has a time of its own, and its embedding; a tile of samples has one
    assert 2 < per_image * forward.images / forward.amount < 3.05
    forward.run()
    assert training.run().loss.isfinite()  # type: ignore[attr-defined]


def test_the_classifier_is_counted_per_image() -> None:
    assert speed.classifying(CPU, 20).amount * 2 == speed.classifying(CPU, 40).amount


def test_the_short_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    works = [Work(speed.YARDSTICK, lambda: None, 2e9)]
    monkeypatch.setattr(speed, "machine", lambda device: works)
    monkeypatch.setattr(speed, "training", lambda name, device: Work(f"{name} training", lambda: None, 1e9, images=128))
    lines = list(speed.report(CPU, ["unet"], rounds=2))
    assert lines[0].startswith("speed of cpu")
    assert "unet training" in lines[2]
    assert "images/s" in lines[2]
    assert f"of {speed.YARDSTICK}" in lines[2]
