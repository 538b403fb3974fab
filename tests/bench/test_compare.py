"""Two sets of results, cell by cell."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.analysis.stats import FEWEST
from bench.cli import main
from bench.paths import REFERENCE
from bench.score.judges import judges_of
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store
from bench.study.study import Study
from tests.records import PROVENANCE, scored_cell


def fill(folder: Path, study: Study, factor: float = 1.0, spread: float = 0.02, **about: str) -> None:
    """Scores of every cell: by seed and cell, times ``factor`` for DDIM, times a little chance."""
    store = Store(folder)
    random = np.random.default_rng(int(1000 * factor))
    for cell in study.cells:
        slower = factor if cell.sampling.sampler == "ddim" else 1.0
        fid = 5 * (1 + cell.job.seed) * slower * math.exp(spread * random.normal())
        metrics = {"fid": fid, "confidence": 1 / fid, "kid": fid / 1000}
        store.write(cell.key, scored_cell(cell, metrics, provenance=PROVENANCE.model_copy(update=about)))


@pytest.fixture
def sets(tmp_path: Path, make_study: Any) -> tuple[Path, Path, Study]:
    """A and B: five seeds, two samplers; in B, DDIM is half as good."""
    study = make_study(objective=["eps"], seed=[0, 1, 2, 3, 4])
    fill(tmp_path / "a", study)
    fill(tmp_path / "b", study, factor=2.0)
    return tmp_path / "a", tmp_path / "b", study


def table(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["compare", *map(str, arguments), "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_what_changed_is_told_from_what_did_not(sets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds differ fivefold, so only the pairing by seed can see a factor of two, and sees it."""
    a, b, _ = sets
    ancestral, ddim = table(capsys, a, b)
    assert (ancestral["cell"].split(", ")[1], ddim["cell"].split(", ")[1]) == ("ancestral 4 steps", "ddim 4 steps")
    assert (ancestral["verdict"], ddim["verdict"]) == ("undecided", "B worse")
    assert float(ddim["B/A"]) == pytest.approx(2, rel=0.05)
    assert float(ddim["low"]) < 2 < float(ddim["high"])
    assert (ddim["pairs"], ddim["runs A"], ddim["runs B"], ddim["n"]) == ("5", "5", "5", "20")
    assert float(ddim["p"]) < float(ddim["p (Holm)"]) < 0.05
    assert table(capsys, b, a)[1]["verdict"] == "B better"
    assert table(capsys, a, a)[1]["verdict"] == "the same"
    assert table(capsys, a, b, "--metric", "confidence")[1]["verdict"] == "B worse", "where more is better"


def test_for_people_and_for_programs(sets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Markdown with a summary; JSON with the same numbers."""
    a, b, _ = sets
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert "fid: 1 undecided, 1 B worse" in text or "fid: 1 B worse, 1 undecided" in text
    assert "only in" not in text
    assert main(["compare", str(a), str(b), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["verdict"] == "B worse"


def test_single_runs_are_not_judged(tmp_path: Path, make_study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(objective=["eps"])
    fill(tmp_path / "a", study)
    fill(tmp_path / "b", study, factor=9.0)
    assert {row["verdict"] for row in table(capsys, tmp_path / "a", tmp_path / "b")} == {"one run: cannot tell"}


def test_a_metric_that_may_be_negative_is_a_difference(
    sets: Any, make_study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """KID below zero on both sides: B − A, with a verdict, where ratios used to be refused."""
    a, b, study = sets
    for folder, shift in ((a, -1e-4), (b, 3e-4)):
        store, random = Store(folder), np.random.default_rng(5)
        for cell in study.cells:
            metrics = {"fid": 1.0, "kid": shift + 1e-5 * random.standard_normal()}
            store.write(cell.key, scored_cell(cell, metrics, provenance=PROVENANCE))
    row = table(capsys, a, b, "--metric", "kid")[0]
    assert float(row["A"]) < 0 < float(row["B"])
    assert float(row["B-A"]) == pytest.approx(4e-4, rel=0.05)
    assert row["verdict"] == "B worse"


def test_a_judge_s_column_is_read_as_tables_have_it(
    tmp_path: Path, make_study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where FID is by that judge it is that number, and compares with another judge's records that have it beside."""
    study, judge = make_study(objective=["eps"], seed=[0, 1, 2]), judges_of("mnist")["classifier"]
    fill(tmp_path / "a", study, classifier=judge.sha256)
    store = Store(tmp_path / "b")
    for cell in study.cells:
        own = Store(tmp_path / "a").read_cell(CellRecord, cell)
        assert isinstance(own, ScoredCell)
        scores = {"fid": 1.0, "fid_classifier": 2 * own.metrics["fid"]}
        panel = {"fid_classifier": judge.sha256[:12]}
        store.write(cell.key, scored_cell(cell, scores, provenance=PROVENANCE, panel=panel))
    for row in table(capsys, tmp_path / "a", tmp_path / "b", "--metric", "fid_classifier"):
        assert (float(row["B/A"]), row["pairs"]) == (pytest.approx(2), "3")
    assert "the classifier of mnist is" in refused(capsys, tmp_path / "a", tmp_path / "b")
    assert "no cells scored by fid_texture" in refused(
        capsys, tmp_path / "a", tmp_path / "b", "--metric", "fid_texture"
    )


@pytest.mark.parametrize("score", [math.nan, math.inf, 0.0, -1.0])
def test_one_score_without_a_ratio_ends_no_comparison(
    sets: Any, tmp_path: Path, score: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run of five diverged: its cell is left out with a line, in every form, and all else is compared."""
    a, b, study = sets
    cell = next(one for one in study.cells if one.sampling.sampler == "ddim" and one.job.seed == 3)
    Store(b).write(cell.key, scored_cell(cell, {"fid": score, "kid": 1.0}, provenance=PROVENANCE))
    line = f"training seed 3, sampling seed 3 in B is {score:g} (a ratio needs a positive number)"
    ancestral, ddim = table(capsys, a, b)
    assert (ancestral["pairs"], ddim["pairs"], ddim["runs B"], ddim["verdict"]) == ("5", "4", "4", "B worse")
    page = tmp_path / "page.html"
    assert main(["compare", str(a), str(b), "--html", str(page)]) == 0
    assert line in capsys.readouterr().out
    assert line in page.read_text()
    assert main(["compare", str(a), str(b), "--format", "json"]) == 0
    assert line in capsys.readouterr().err


def test_few_runs_by_exactly_one_factor_are_not_judged(
    tmp_path: Path, make_study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runs that agree to the last bit have no spread to judge by."""
    study = make_study(objective=["eps"], seed=[0, 1])
    for name, factor in (("a", 1.0), ("b", 2.0)):
        fill(tmp_path / name, study, factor=factor, spread=0.0)
    verdicts = [row["verdict"] for row in table(capsys, tmp_path / "a", tmp_path / "b")]
    assert verdicts == ["the same", "no spread: cannot tell"]


def test_holes_in_the_grid_of_seeds_are_counted(
    tmp_path: Path, make_study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = make_study(objective=["eps"], sampler=["ddim"], seed=[0, 1, 2])
    study = given.model_validate(given.model_dump() | {"score": {"n": 20, "seed": [0, 1, 2]}})
    for name in "ab":
        fill(tmp_path / name, study, factor=2.0 if name == "b" else 1.0)
    gone = next(one for one in study.cells if (one.job.seed, one.sampling.sample_seed) == (0, 2))
    Store(tmp_path / "b").path("cells", gone.key, ".json").unlink()
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "left out: 2 pairs of" in capsys.readouterr().out


def test_cells_of_one_set_only_are_counted(sets: Any, make_study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, _ = sets
    fill(b, make_study(objective=["v"]))
    assert main(["compare", str(a), str(b)]) == 0
    assert "only in A 0, only in B 2" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["compare", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_does_not_compare_is_refused(sets: Any, make_study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Another classifier, reference or N: which, and what each side has."""
    a, _, study = sets
    other = a.parent / "other"
    fill(other, study, classifier="e" * 64)
    assert "the classifier of mnist is cccccccccccc in A and eeeeeeeeeeee in B" in refused(capsys, a, other)
    fill(other, study, dataset_sha256="f" * 64)
    assert "the data of mnist is dddddddddddd in A and ffffffffffff in B" in refused(capsys, a, other)
    larger = a.parent / "larger"
    fill(larger, make_study(objective=["eps"], seed=[0, 1], n=40))
    line = refused(capsys, a, larger)
    assert "N of tiny eps linear T=100, " in line
    assert "is 20 in A and 40 in B" in line


def test_a_data_set_that_was_moved_is_the_same(
    tmp_path: Path, make_study: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in keys: the path of a folder only says where it lies. Its other options count."""
    for name, dataset in (
        ("a", 'folder(path="/old",side=28)'),
        ("b", 'folder(path="/new",side=28)'),
        ("c", 'folder(path="/new",side=32)'),
    ):
        for cell in make_study(objective=["eps"]).cells:
            made = cell.model_copy(update={"job": cell.job.model_copy(update={"dataset": dataset})})
            Store(tmp_path / name).write(made.key, scored_cell(made, {"fid": 1.0}, provenance=PROVENANCE))
    assert len(table(capsys, tmp_path / "a", tmp_path / "b")) == 2
    assert "no cell in common" in refused(capsys, tmp_path / "a", tmp_path / "c")


def test_mistakes(sets: Any, make_study: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    a, b, _ = sets
    assert "neither a results folder nor" in refused(capsys, a, "no-such-revision")
    assert "neither a results folder nor" in refused(capsys, "--", "-x", b)
    assert "did you mean 'fid'" in refused(capsys, a, b, "--metric", "fdi")
    (tmp_path / "empty").mkdir()
    assert "no cells scored by fid" in refused(capsys, a, tmp_path / "empty")
    fill(tmp_path / "v", make_study(objective=["v"]))
    assert "no cell in common" in refused(capsys, a, tmp_path / "v")


def test_a_revision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The committed results, out of git, are the same as themselves; a copy that was changed is not."""
    rows = table(capsys, "HEAD", "HEAD:results/reference")
    assert rows
    assert {row["verdict"] for row in rows} == {"the same"}
    several = next(i for i, row in enumerate(rows) if int(row["pairs"]) >= FEWEST)
    copy = Store(tmp_path / "copy")
    shutil.copytree(REFERENCE / "cells", copy.root / "cells", ignore=shutil.ignore_patterns("*.png"))
    for path in (copy.root / "cells").glob("*.json"):
        record = copy.read(CellRecord, path.stem)
        if isinstance(record, ScoredCell):
            doubled = {**record.metrics, "fid": 2 * record.metrics["fid"]}
            copy.write(path.stem, record.model_copy(update={"metrics": doubled}))
    changed = table(capsys, "HEAD", copy.root)
    assert [row["cell"] for row in changed] == [row["cell"] for row in rows]
    assert [float(row["B/A"]) for row in changed] == pytest.approx([2.0] * len(rows))
    assert changed[several]["verdict"] == "B worse"


def test_the_page_shows_both_sides(
    sets: Any, make_study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Verdicts with intervals, what differs, what one side lacks, and pictures where both have them; text is text."""
    a, b, study = sets
    fill(a, make_study(objective=["v"], seed=[0]))
    store = Store(b)
    record = store.read_cell(CellRecord, study.cells[0])
    assert isinstance(record, ScoredCell)
    hostile = record.environment.model_copy(update={"processor": "<script>alert(1)</script>", "gpu": None})
    store.write(study.cells[0].key, record.model_copy(update={"environment": hostile}))
    for folder in (a, b):
        buffer = io.BytesIO()
        Image.new("L", (8, 8)).save(buffer, "PNG")
        Store(folder).path("cells", study.cells[0].key, ".png").write_bytes(buffer.getvalue())
    out = tmp_path / "page.html"
    assert main(["compare", str(a), str(b), "--html", str(out)]) == 0
    made = out.read_text()
    assert "written" in capsys.readouterr().err
    assert "<h1" in made
    assert "2 settings that both have: 1 undecided and 1 B worse" in made
    assert "Only in A: 2. Only in B: 0" in made
    assert made.count('class="bar"') == 2
    assert made.count('class="pixels"') == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert "<script" not in made
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", made), "it loads nothing"
    assert "In one set only" in made


def test_a_page_of_two_that_are_the_same(sets: Any, tmp_path: Path) -> None:
    a, _, _ = sets
    out = tmp_path / "page.html"
    assert main(["compare", str(a), str(a), "--html", str(out), "--metric", "kid"]) == 0
    assert "Nothing. Settings, code, versions, machine and judge are the same." in out.read_text()
