"""The examples run as they stand, in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.paths import ROOT
from bench.score.scorer import Scorer

EXAMPLES = ROOT / "examples"


def run(script: Path, folder: Path) -> str:
    """Run a script in a folder, with this checkout's packages, and give what it printed."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_script(notebook: Path) -> str:
    """A notebook's code, cell by cell; the value of a cell's last line is shown, as a notebook does."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code") + "\n"


def reuse(scorer: Scorer, results: Path) -> None:
    """Put the reference there, which takes longest to make and is tested elsewhere."""
    shutil.copytree(scorer.store.root, results)


def test_the_first_study(tmp_path: Path, scorer: Scorer) -> None:
    """A script without a guard: jobs have processes of their own, which must not run it again."""
    reuse(scorer, tmp_path / "first-results")
    printed = run(EXAMPLES / "first_study.py", tmp_path)
    assert printed.count("2 networks to train, 4 ways to sample them") == 1
    assert printed.count(" done\n") == 4
    assert "its samples: (200, 1, 28, 28), uint8" in printed
    assert "16 more, in 20 steps: (16, 1, 28, 28)" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["first-results"]


def test_the_tour(
    tmp_path: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every code cell, in order, as in a notebook: in a process that goes on; the algebra gives x₀ back everywhere."""
    import matplotlib.pyplot as plt

    reuse(scorer, tmp_path / "tour-results")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    exec(compile(as_script(EXAMPLES / "tour.ipynb"), "tour.ipynb", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert len(plt.get_fignums()) == 3
    plt.close("all")
    printed = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["tour-results"]
    off = [float(line.split()[-1]) for line in printed.splitlines() if "x₀ is off by" in line]
    assert len(off) >= 8
    assert max(off) < 1e-6


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_notebooks_carry_no_old_outputs(notebook: Path) -> None:
    """Outputs in git go stale unnoticed, and make every run a change."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    assert all(cell["id"] for cell in content["cells"])
    assert not [cell for cell in content["cells"] if cell.get("outputs") or cell.get("execution_count")]
