"""Where things are: in a checkout, and where the package is installed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import paths
from bench.machine import provenance

PROBE = """
import json, sys
from pathlib import Path
from bench import paths
named = {name: str(getattr(paths, name)) for name in ("CHECKOUT", "LOCAL", "BASELINES", "DATA", "SHIPPED_DATA")}
reports = [str(paths.reports_of(Path(given))) for given in ("results", "/a/res", "/b/res")]
print(json.dumps({**named, "baseline": str(paths.baseline("frozen.json")), "reports": reports}))
"""


def test_a_checkout_keeps_its_own_folders() -> None:
    """Whatever the working directory is."""
    assert paths.CHECKOUT == paths.ROOT == Path(__file__).resolve().parents[2]
    assert paths.reports_of(paths.LOCAL) == paths.ROOT / "reports" / "local"
    assert paths.reports_of(paths.REFERENCE) == paths.ROOT / "reports"
    assert paths.baseline("frozen.json") == paths.ROOT / "results" / "baselines" / "frozen.json"


def test_two_folders_of_one_name_have_reports_of_their_own() -> None:
    """Both used to go to reports/res."""
    assert paths.reports_of(Path("/a/res")) == Path("/a/res/reports")
    assert paths.reports_of(Path("/b/res")) == Path("/b/res/reports")


def test_an_installed_package_uses_the_working_directory(tmp_path: Path) -> None:
    """Results, reports and new baselines go there; what comes with the package is read from the package."""
    installed, work = tmp_path / "site" / "bench", tmp_path / "work"
    installed.mkdir(parents=True)
    work.mkdir()
    for name in ("__init__.py", "paths.py"):
        shutil.copy(paths.PACKAGE / name, installed)
    (installed.parent / "pyproject.toml").touch()  # without data/ it is no checkout
    variables = os.environ | {"PYTHONPATH": str(installed.parent)}
    command = [sys.executable, "-P", "-c", PROBE]
    done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["CHECKOUT"] == "None"
    assert (found["LOCAL"], found["DATA"], found["BASELINES"]) == ("results", "data", "results/baselines")
    assert found["SHIPPED_DATA"] == str(installed / "shipped" / "data")
    assert found["baseline"] == str(installed / "shipped" / "baselines" / "frozen.json")
    assert found["reports"] == ["reports", "/a/res/reports", "/b/res/reports"]
    (work / "results" / "baselines").mkdir(parents=True)
    (work / "results" / "baselines" / "frozen.json").touch()
    done = subprocess.run(command, cwd=work, env=variables, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["baseline"] == "results/baselines/frozen.json", "one's own comes first"


def test_somebody_elses_repository_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in a user's repository: its commit says nothing of this code, so the version is recorded."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "venv").mkdir()
    for place in (None, tmp_path / "venv"):
        monkeypatch.setattr(provenance, "CHECKOUT", place)
        assert provenance.git("rev-parse", "--show-toplevel") is None
        about = provenance.environment.__wrapped__(torch.device("cpu"))
        assert about.commit == provenance.version() == f"v{importlib.metadata.version('ddpm-bench')}"
        assert not about.dirty
