"""Commands that read: plan, table, status, and scores of images."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench import cli
from bench.images import datasets
from bench.score.scorer import Scorer
from bench.store.store import Store

ISSUE_COLUMNS = (
    "study,status,dataset,net,objective,weight,schedule,T,seed,sampler,sample_steps,eta,n,fid,fid_floor,fid_ceiling,"
    "kid,kid_se,inception_score,precision,recall,confidence,epoch_s,train_images_per_s,sample_images_per_s,params,"
    "megabytes,peak_rss_mb,device,commit,key"
)


def test_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "smoke", "--cells", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"2 jobs, 4 cells; 0 cells done in {tmp_path}\n" in printed
    assert "mnist, 1 epoch a job; 500 samples a cell, " in printed
    assert "  clip          true\n" in printed
    assert "  ema           null\n" in printed
    assert printed.count("missing") == 4
    assert not list(tmp_path.iterdir()), "planning writes nothing"


def test_plan_warns_of_schedules_that_leave_signal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "full", "--results", str(tmp_path)]) == 0
    assert "ᾱ_T = 0.904" in capsys.readouterr().err


def test_table_csv_is_the_promised_interface(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "smoke", "--format", "csv", "--results", str(tmp_path)]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert ",".join(list(rows[0])[:31]) == ISSUE_COLUMNS
    assert len(rows) == 4
    assert {row["status"] for row in rows} == {"missing"}
    assert rows[0]["fid"] == ""


def test_table_json_and_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["table", "smoke", "--format", "json", "--results", str(tmp_path)]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert cli.main(["table", "smoke", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("| net")


def test_score_prints_floor_and_ceiling(tmp_path: Path, scorer: Scorer, capsys: pytest.CaptureFixture[str]) -> None:
    """Test images score near the floor and far from the ceiling, whatever form they come in."""
    shutil.copytree(scorer.store.root, tmp_path / "store")
    np.save(tmp_path / "real.npy", datasets.load("mnist").test[::100, 0].numpy())
    argv = ["score", str(tmp_path / "real.npy"), "--results", str(tmp_path / "store"), "--device", "cpu"]
    assert cli.main([*argv, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 100
    assert found["metrics"]["fid"] < 3 * found["floor"]["fid"] < found["ceiling"]["fid"] / 10
    assert cli.main(argv) == 0
    assert "floor (test images)" in capsys.readouterr().out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--results", str(tmp_path)]) == 0
    assert "no results yet" in capsys.readouterr().out


def test_damaged_cells_count_as_missing_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.study import load

    key = load.load("smoke").cells[0].key
    Store(tmp_path).write_bytes(tmp_path / "cells" / f"{key}.json", b'{"version": 1, "sha')
    assert cli.main(["status", "smoke", "--results", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "4 missing" in captured.out
    assert f"{key}.json" in captured.err
