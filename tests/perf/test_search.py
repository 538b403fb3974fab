"""Trials are studies of equal FLOPs that differ in one thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from bench.job.work import count_flops
from ddpm.ema import Ema
from perf import search

FLOPS = search.flops_of(0.5)


@pytest.mark.parametrize("name", search.TRIALS)
def test_a_trial_spends_the_flops_it_is_given(name: str) -> None:
    study = search.make_study(name, search.TRIALS[name], FLOPS, seeds=2)
    job = study.cells[0].job
    a_step = study.train.batch_size * count_flops(job.net, job.dataset, job.base).train
    spent = study.train.epochs * (study.train.images or 0) / study.train.batch_size * a_step
    assert FLOPS - study.train.epochs * a_step < spent <= FLOPS
    assert [cell.job.seed for cell in study.cells] == [0, 1]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_trials_differ(share: float) -> None:
    """In what they do, not only in what they say: an average is no longer than the training so far allows."""

    def effective(name: str) -> str:
        study = search.make_study(name, search.TRIALS[name], search.flops_of(share), 1)
        average = Ema(nn.Linear(1, 1), study.train.ema)
        average.updates = study.train.epochs * (study.train.images or 0) // study.train.batch_size
        train = study.train.model_copy(update={"ema": average.rate()})
        return study.model_copy(update={"train": train}).cells[0].key

    assert len({effective(name) for name in search.TRIALS}) == len(search.TRIALS)


@pytest.mark.parametrize("only", [[], ["--only", "base", "batch 32"]])
def test_a_part_of_the_trials_is_not_kept(only: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages quote what is kept of all of them. Each trial has the entry's engine."""
    engines, kept = [], []
    monkeypatch.setattr(search, "run_study", lambda study, store, options: engines.append(options.engine) or [])
    monkeypatch.setattr(search, "show", lambda events, console: events)
    monkeypatch.setattr(search, "save", lambda name, content, device: kept.append((name, len(content["rows"]))))
    monkeypatch.setattr(search, "ENTRY", {**search.ENTRY, "engine": "compiled"})
    assert search.main([*only, "--device", "cpu", "--results", str(tmp_path)]) == 0
    assert engines == ["compiled"] * (2 if only else len(search.TRIALS))
    assert kept == ([] if only else [("search", len(search.TRIALS))])


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (["--seeds", "0"], "--seeds must be at least 1"),
        (["--share", "1e-9"], "not enough"),
        (["--share", "-1"], "above 0"),
        (["--share", "nan"], "above 0"),
    ):
        assert search.main([*options, "--results", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
