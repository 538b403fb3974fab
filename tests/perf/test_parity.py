"""``docs/parity.md``: written from the numbers that are kept, which agree; and made again with what is installed."""

from __future__ import annotations

import json

import pytest

from perf import parity
from perf.record import FOLDER


def test_the_page_is_of_the_numbers_that_are_kept() -> None:
    record = json.loads((FOLDER / "parity.json").read_text())
    assert parity.PAGE.read_text() == parity.page(record)


def test_libraries_agree_where_the_definition_is_the_same() -> None:
    """FID of every library and set; KID within what its random subsets do; inception scores of parts are lower."""
    rows = json.loads((FOLDER / "parity.json").read_text())["rows"]
    assert {row["library"] for row in rows} == parity.LIBRARIES.keys()
    own = {row["set"]: row["scores"] for row in rows if row["library"] == "ddpm-bench"}
    assert len(own) == 3
    for row in rows:
        ours = own[row["set"]]
        assert row["scores"]["fid"] == pytest.approx(ours["fid"], rel=parity.EXACT)
        if "kid" in row["scores"]:
            assert row["scores"]["kid"] == pytest.approx(ours["kid"], rel=0.1)
            assert row["scores"]["inception_score"] <= ours["inception_score"] + 0.01


def test_a_folder_scored_by_torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, extracted and scored now."""
    first = next(parity.sets(200))
    monkeypatch.setattr(parity, "sets", lambda n: iter([first]))
    ours, theirs = parity.measured(200, 400, ("ddpm-bench", "torch-fidelity"))
    assert theirs["scores"]["fid"] == pytest.approx(ours["scores"]["fid"], rel=parity.EXACT)
    assert ours["set"] in parity.page({"n": 200, "reference_n": 400, "versions": {}, "rows": [ours, theirs]})
