"""What is read and scored in parts is what is scored as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.images import files
from bench.score.scorer import Scorer
from perf import streaming


def test_fid_of_a_file(tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "STREAMED", files.STREAMED)  # it is changed
    monkeypatch.setattr(files, "PART", 70)
    path = tmp_path / "few.npy"
    streaming.write(path, 200)
    found = streaming.fid_of(path, scorer.store.root)
    whole = torch.from_numpy(np.load(path))
    assert whole.shape == (200, 1, 28, 28)
    assert found["fid"] == pytest.approx(
        scorer.score(whole, only="fid")["fid"], rel=1e-6
    )  # convolutions round by batch
    assert found["peak_mb"] >= found["before_mb"] > 0
