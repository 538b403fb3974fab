"""A repository with a package ``bench`` of its own: pytest starts there, and the plug-in scores all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.images.datasets import Images
from bench.paths import ROOT
from bench.score.scorer import Scorer

THEIRS = """
import bench
import numpy as np

SAMPLES = np.load({path!r})

def test_their_own_package():
    assert bench.THEIRS == 1

def test_good(assert_quality):
    assert_quality(SAMPLES, baseline=SAMPLES[::-1].copy())

def test_bad(assert_quality):
    noise = np.random.default_rng(0).integers(0, 256, SAMPLES.shape).astype("uint8")
    assert_quality(noise, baseline={path!r})

def test_times(bench_sampling):
    bench_sampling(None)

def test_their_package_is_still_theirs():
    import sys
    assert sys.modules["bench"] is bench and not hasattr(bench, "score")
"""
API = """
import ddpm_bench
print(sorted(dir(ddpm_bench)))
ddpm_bench.results
"""


@pytest.fixture(autouse=True)
def _this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find this checkout's packages, but after those of the folder they run in."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


def write_bench(folder: Path) -> None:
    (folder / "bench").mkdir()
    (folder / "bench" / "__init__.py").write_text("THEIRS = 1\n")


@pytest.mark.parametrize("how", ["importlib", "prepend"])
def test_their_tests_run_with_the_plugin(pytester: pytest.Pytester, scorer: Scorer, mnist: Images, how: str) -> None:
    """Scoring needs a process of its own there; timing, which needs this one, fails in one clear line."""
    write_bench(pytester.path)
    shutil.copytree(scorer.store.root, pytester.path / ".pytest_cache" / "d" / "ddpm-bench")
    path = str(pytester.path / "samples.npy")
    np.save(path, mnist.test[::50, 0].numpy())
    wanted = THEIRS.format(path=path)
    if how == "prepend":  # once is enough for what takes time
        wanted = wanted.partition("def test_bad")[0]
    pytester.makepyfile(wanted)
    result = pytester.runpytest_subprocess(f"--import-mode={how}")
    if how == "prepend":
        result.assert_outcomes(passed=2)
        return
    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*could not measure: ddpm-bench needs its own package 'bench'*", "*fid * baseline * (limit *, N = 200)*"]
    )


def test_python_says_so_in_one_line(tmp_path: Path) -> None:
    """Importing ddpm_bench is harmless there; using it names the package that is in the way."""
    write_bench(tmp_path)
    done = subprocess.run([sys.executable, "-c", API], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "'run'" in done.stdout
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ddpm-bench needs its own package 'bench'")
    assert str(tmp_path / "bench") in last


def test_the_plugin_loads_nothing() -> None:
    """What pytest imports at every start, in whatever repository."""
    heavy = ("bench", "ddpm", "torch", "numpy")
    probe = f"import sys, ddpm_bench.plugin; print(*set({heavy}) & {{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
