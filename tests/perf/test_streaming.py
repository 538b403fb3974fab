"""What is read and scored in parts is what is scored as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.images import arrays, files
from bench.score import classifier, taken
from bench.score.scorer import Scorer
from perf import streaming


@pytest.mark.parametrize("name", ["few.npy", "few.npz", "few"])
def test_fid_of_a_file(tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(taken, "STREAMED", taken.STREAMED)  # it is changed
    for module in (arrays, files):
        monkeypatch.setattr(module, "PART", 70)
    streaming.write(tmp_path / name, 200)
    found = streaming.fid_of(tmp_path / name, scorer.store.root)
    streaming.write(tmp_path / "same.npy", 200)
    whole = torch.from_numpy(np.load(tmp_path / "same.npy"))
    assert whole.shape == (200, 1, 28, 28)
    assert found["fid"] == pytest.approx(
        scorer.score(whole, only="fid")["fid"], rel=1e-5
    )  # convolutions round by batch, covariances of so few images by their zeros
    assert found["peak_mb"] >= found["before_mb"] > 0


def test_memory_alone_is_measured_with_pixels(tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same reading and scores, without the networks."""
    monkeypatch.setattr(taken, "STREAMED", taken.STREAMED)  # they are changed
    monkeypatch.setattr(classifier, "extract", classifier.extract)
    streaming.write(tmp_path / "few.npy", 100)
    seen = scorer.score(torch.from_numpy(np.load(tmp_path / "few.npy")), only="fid")["fid"]
    found = streaming.fid_of(tmp_path / "few.npy", scorer.store.root, by_pixels=True)
    assert found["n"] == 100
    assert found["fid"] != pytest.approx(seen, rel=0.1)
