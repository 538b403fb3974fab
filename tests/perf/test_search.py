"""Trials are studies of equal FLOPs that differ in one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.job.work import count_flops
from perf import search

FLOPS = search.flops_of(0.5)


@pytest.mark.parametrize("name", search.TRIALS)
def test_a_trial_spends_the_flops_it_is_given(name: str) -> None:
    study = search.make_study(name, search.TRIALS[name], FLOPS, seeds=2)
    job = study.cells[0].job
    a_step = study.train.batch_size * count_flops(job.net, job.dataset).train
    spent = study.train.epochs * (study.train.images or 0) / study.train.batch_size * a_step
    assert FLOPS - study.train.epochs * a_step < spent <= FLOPS
    assert [cell.job.seed for cell in study.cells] == [0, 1]


def test_trials_differ() -> None:
    keys = {search.make_study(name, change, FLOPS, 1).cells[0].key for name, change in search.TRIALS.items()}
    assert len(keys) == len(search.TRIALS)


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
