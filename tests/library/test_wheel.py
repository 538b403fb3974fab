"""The wheel alone: in an empty environment, in an empty folder, without a network (``make test-wheel``).

The environment sees the libraries of the running one, but not this checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from bench.paths import ROOT

pytestmark = pytest.mark.wheel

SOURCES = (
    "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "bench", "ddpm", "ddpm_bench", "data",
    "results/baselines",
)  # fmt: skip
STUDY = """\
train: {epochs: 1, batch_size: 64, images: 640}
axes:
  net: [{unet: {width: 8, inner: 32, blocks: 1, middle: 1}}]
  objective: [v]
  schedule: [cosine]
  sampler: [ddim]
  sample_steps: [4]
score: {n: 100}
"""
NO_NETWORK = """\
import socket
_connect = socket.socket.connect
def _local_only(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError("no network in tests")
    _connect(self, address)
socket.socket.connect = _local_only
"""
PYTHON_API = """\
import sys, ddpm_bench, bench
assert "site-packages" in bench.__file__, bench.__file__
(row,) = ddpm_bench.results("study.yaml").to_dict("records")
drawn = ddpm_bench.network(row["key"]).sample(100)
assert (drawn.numpy() == ddpm_bench.samples(row["key"])).all(), "the same noise, the same images"
assert len(ddpm_bench.results("results")) == 1
print(row["status"], row["commit"])
"""
TESTS = """\
import bench, numpy as np
def test_quality(assert_quality):
    assert bench.THEIRS
    samples = np.load({samples!r})["images"]
    assert_quality(samples, baseline={scored!r})
"""


@dataclass
class Home:
    """An environment with the wheel in it, and the empty folder that commands run in."""

    venv: Path
    folder: Path

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        (path,) = self.venv.glob("lib/python*/site-packages")
        return path

    def __call__(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """Run a program of the environment and give its output and errors, in that order."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        variables |= {
            "HOME": str(self.venv),
            "XDG_CACHE_HOME": str(self.venv / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        program = [str(self.venv / "bin" / words[0]), *words[1:]]
        done = subprocess.run(
            program, cwd=cwd or self.folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def files(self) -> set[Path]:
        """Every file of the environment's packages."""
        return {path for path in self.site.rglob("*") if path.is_file()}


def build(folder: Path) -> Path:
    """The wheel, built of what git has of the project and nothing else."""
    source = folder / "source"
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, source / name)  # type: ignore[operator]
    words = ["wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def home(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The wheel, installed."""
    home = Home(tmp_path_factory.mktemp("env") / "venv", tmp_path_factory.mktemp("empty"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home.venv)], check=True)
    (home.site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (home.site / "sitecustomize.py").write_text(NO_NETWORK)
    install(home, wheel, "--ignore-installed")
    return home


def install(home: Home, package: Path, *words: str) -> None:
    """Have pip install a wheel or a folder."""
    pip = [sys.executable, "-m", "pip", "--python", str(home.venv / "bin" / "python"), "install", "--quiet"]
    words = (*words, "--no-index", "--no-deps", "--no-compile", "--no-build-isolation")
    subprocess.run([*pip, *words, str(package)], check=True)


def test_the_wheel_carries_data_and_packages_once(wheel: Path) -> None:
    with ZipFile(wheel) as opened:
        names = opened.namelist()
    assert sum(name.endswith("-ubyte.gz") for name in names) == 4
    for name in ("data/README.md", "baselines/frozen.npz", "baselines/frozen.safetensors", "baselines/smoke.json"):
        assert f"bench/shipped/{name}" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"bench", "ddpm", "ddpm_bench"}
    assert not [name for name in names if "/reference/" in name or name.startswith("tests")]
    source = wheel.parent / "source"
    for package in ("bench", "ddpm", "ddpm_bench"):
        assert {path.relative_to(source).as_posix() for path in (source / package).rglob("*.py")} <= set(names)


def test_the_whole_sequence(home: Home) -> None:
    """plan, run with a report, status, score, check, Python, and the plug-in beside a foreign ``bench``."""
    before = home.files()
    (home.folder / "study.yaml").write_text(STUDY)
    assert "1 job, 1 cell; 0 cells done" in home("ddpm-bench", "plan", "study.yaml")
    said = home("ddpm-bench", "run", "study.yaml", "--device", "cpu", "--engine", "eager", "--report")
    assert "1 of 1 cells done in results" in said
    assert "report: reports/study/report.html, reports/study/report.pdf and reports/study/report.md" in said
    assert "1 done (results)" in home("ddpm-bench", "status", "study.yaml")
    (cell,) = (home.folder / "results" / "cells").glob("*.json")
    assert json.loads(cell.read_text())["record"]["environment"]["commit"] == "v0.1.0"

    samples = f"results/samples/{cell.stem}.npz"
    scored = home("ddpm-bench", "score", samples, "--format", "json")
    assert json.loads(scored)["n"] == 100
    (home.folder / "scored.json").write_text(scored)
    checked = home("ddpm-bench", "check", "--only", "ddim, 10 of 1000")
    assert "1 of 1 passed" in checked
    assert "only in a git checkout" in home("ddpm-bench", "compare", "HEAD", "results", code=2)
    assert "no weights of a training run" in home(
        "ddpm-bench", "check", "--update-baseline", "--why", "x", "--network", "abc", code=2
    )
    assert home("python", "-c", PYTHON_API) == "done v0.1.0\n"
    _plugin(home, samples)
    assert home.files() == before, "nothing is ever written into the installed packages"
    assert {path.name for path in home.folder.iterdir()} == {
        "study.yaml",
        "scored.json",
        "results",
        "reports",
        "theirs",
    }


def _plugin(home: Home, samples: str) -> None:
    """Somebody else's tests, in a repository with a ``bench`` of its own."""
    theirs = home.folder / "theirs"
    (theirs / "bench").mkdir(parents=True)
    (theirs / "bench" / "__init__.py").write_text("THEIRS = True\n")
    text = TESTS.format(samples=str(home.folder / samples), scored=str(home.folder / "scored.json"))
    (theirs / "test_theirs.py").write_text(text)
    shutil.copytree(home.folder / "results" / "scoring", theirs / ".pytest_cache" / "d" / "ddpm-bench" / "scoring")
    assert "1 passed" in home("python", "-m", "pytest", "-q", "-W", "error", cwd=theirs)


def test_a_package_with_rows_of_its_own(home: Home, tmp_path: Path) -> None:
    """The example, as pip installs it: its rows are there, are run, and are named in the record."""
    example = shutil.copytree(ROOT / "examples" / "third_party", tmp_path / "example")
    study = home.folder / "example.yaml"
    study.write_text((example / "study.yaml").read_text())
    assert "unknown schedule" in home("ddpm-bench", "plan", str(study), code=2)
    install(home, example)
    home("ddpm-bench", "run", str(study), "--device", "cpu", "--engine", "eager", "--results", "of_example")
    records = [json.loads(path.read_text())["record"] for path in (home.folder / "of_example/cells").glob("*.json")]
    assert len(records) == 6
    assert {record["status"] for record in records} == {"done"}
    configs = [record["config"] for record in records]
    of = [[*config.get("packages", []), *config["job"].get("packages", [])] for config in configs]
    named = ["ddpm-bench-example 0.1.0" in packages for packages in of]
    assert named.count(False) == 1, "cosine with ancestral has none of its rows"
