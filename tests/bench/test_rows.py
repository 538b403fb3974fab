"""Rows of other packages: found through an entry point, part of keys and records; every mistake is one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import rows
from bench.analysis import table
from bench.analysis.query import ask
from bench.errors import UserError
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.job.events import CellDone, Drawn, Ended, Event, JobDone, Planned
from bench.job.process import work
from bench.job.run import run
from bench.job.spec import JobSpec
from bench.machine import provenance
from bench.paths import ROOT
from bench.score.metrics import METRICS, Metric
from bench.score.scorer import Scorer
from bench.store.records import CellRecord, ScoredCell
from bench.store.status import survey
from bench.store.store import Store
from bench.study.load import load
from bench.study.model import Cell, Job
from bench.study.study import Study
from ddpm.schedule import SCHEDULES, make_schedule
from tests.conftest import World

EXAMPLE = ROOT / "examples" / "third_party"
CPU = torch.device("cpu")
STUDY = """\
train: {epochs: 1, images: 192, batch_size: 64}
axes:
  objective: [v]
  schedule: [cosine, power, {power: {p: 3}}]
  T: [50]
  sampler: [ancestral, quiet(share=0.25)]
  sample_steps: [2]
score: {n: 20}
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes packages as an installer would; afterwards none of their rows is left."""
    before = {family: dict(rows.entries(family)) for family in rows.FAMILIES}
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def make(name: str = "toys", version: str = "1.0", code: str = "", point: str = "") -> None:
        for old in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        about = site / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (about / "entry_points.txt").write_text(f"[{rows.GROUP}]\n{name} = {point or f'{name}:ROWS'}\n")
        if code:
            (site / f"{name}.py").write_text(code)
        again()

    def again() -> None:
        """As a process that starts."""
        for family, there in before.items():
            found = rows._table(family) if rows._added is not None else {}
            for name in set(found) - set(there):
                del found[name]
        monkeypatch.setattr(rows, "_added", None)
        provenance.environment.cache_clear()

    make.again = again  # type: ignore[attr-defined]
    yield make
    again()
    for module in ("toys", "more", "ddpm_bench_example"):
        sys.modules.pop(module, None)


@pytest.fixture
def example(install: Install, monkeypatch: pytest.MonkeyPatch) -> Install:
    """The example package, installed."""
    monkeypatch.syspath_prepend(EXAMPLE)
    install("ddpm_bench_example", "0.1.0")
    return install


TOYS = """\
import torch
def toy(T, *, end: float = 4.0):
    return -torch.linspace(0.01, end, T, dtype=torch.float64).cumsum(0)
ROWS = {"schedule": {"toy": toy}}
"""


def study_of(tmp_path: Path, text: str = STUDY) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load(str(path))


# loading


def test_nothing_is_loaded_before_it_is_needed(install: Install) -> None:
    """And then once; a function that returns the mapping will do."""
    code = TOYS + "calls = []\ndef give():\n    calls.append(1)\n    return ROWS\n"
    install(code=code, point="toys:give")
    assert "toy" not in SCHEDULES
    assert "toys" not in sys.modules
    for _ in range(2):
        assert "toy" in rows.names("schedule")
    assert sys.modules["toys"].calls == [1]
    assert make_schedule("toy(end=3.0)", 10).T == 10
    assert rows.packages([("schedule", "toy"), ("schedule", "cosine")]) == ("toys 1.0",)
    assert str(rows.read("schedule", {"toy": {"end": 3}})) == "toy(end=3.0)"
    assert rows.read("schedule", "toy(end=4)") == "toy"


WRONG = {
    "built in": ('ROWS = {"schedule": {"cosine": len}}', "schedule 'cosine' is built in"),
    "no row's name": ('ROWS = {"weight": {"default": len}}', "weight 'default' is built in"),
    "no family": ('ROWS = {"schedules": {}}', "unknown family of rows 'schedules'; did you mean 'schedule'"),
    "no mapping": ("ROWS = [1]", "toys:ROWS is not a mapping"),
    "a list of rows": ('ROWS = {"schedule": ["a"]}', "toys:ROWS is not a mapping"),
    "no function": ('ROWS = {"schedule": {"a": 3}}', "schedule 'a' is of type int, and not a function or class"),
    "no metric": ('ROWS = {"metric": {"a": len}}', "not bench.score.metrics.Metric"),
    "no objective": ('ROWS = {"objective": {"a": len}}', "not ddpm.objective.Objective"),
    "no word": ('ROWS = {"schedule": {"a b": len}}', "schedule 'a b' is not a name"),
    "no target": (
        'from ddpm.objective import Objective\nROWS = {"objective": {"a": Objective(3, "unit")}}',
        "objective 'a' is no function whose parameters can be read",
    ),
    "no default": ('def a(T, *, x): ...\nROWS = {"schedule": {"a": a}}', "an option without a default: 'x'"),
    "it breaks": ("1 / 0", "its rows cannot be loaded: ZeroDivisionError: division by zero"),
    "it is not there": ("x = 1", "its rows cannot be loaded: AttributeError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_package_with_a_mistake(install: Install, case: str, tmp_path: Path) -> None:
    """One line that names the package, each time; no row of it is there, and none of another either."""
    code, words = WRONG[case]
    install("more", "2.0", TOYS.replace('"toy"', '"other"'))
    install(code=code)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            study_of(tmp_path)
        line = str(caught.value)
        assert "package toys 1.0: " in line
        assert words in line
        assert "\n" not in line
    assert "other" not in SCHEDULES


def test_two_packages_with_one_name(install: Install) -> None:
    install(code=TOYS)
    install("more", "2.0", TOYS)
    with pytest.raises(UserError, match=r"package toys 1.0: schedule 'toy' is there already, from package more 2.0"):
        rows.origins()


# keys and records


def test_built_in_rows_leave_no_trace(example: Install, tmp_path: Path) -> None:
    """Of cells that use none of a package's rows, neither key nor form changes."""
    assert rows.installed() == "ddpm_bench_example 0.1.0"
    for cell in load("smoke").cells:
        assert cell.packages == ()
        assert "packages" not in cell.model_dump_json()
    assert [cell.packages for cell in study_of(tmp_path).cells if cell.job.schedule == "cosine"] == [
        (), ("ddpm_bench_example 0.1.0",)
    ]  # fmt: skip


def test_another_version_is_another_key(install: Install, tmp_path: Path) -> None:
    """Of what uses its rows; a record of the old version still reads, under its own key."""
    text = STUDY.replace("power, {power: {p: 3}}", "toy").replace(", quiet(share=0.25)", "")
    found = {}
    for version in ("1.0", "1.1"):
        install("toys", version, TOYS)
        found[version] = study_of(tmp_path, text).cells
    (old_plain, old), (new_plain, new) = found.values()
    assert old_plain.key == new_plain.key
    assert old.key != new.key
    assert old.job.key != new.job.key
    assert old.job.packages == ("toys 1.0",)
    again = Cell.model_validate_json(old.model_dump_json())
    assert (again, again.key, again.packages) == (old, old.key, ("toys 1.0",))
    assert Job.model_validate(new.job.model_dump()).key == new.job.key


def test_a_package_that_is_gone(example: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records still read and show; whatever needs its rows says which package is missing."""
    cell = study_of(tmp_path).cells[-1]
    config = cell.model_dump(mode="json")
    shutil.rmtree(tmp_path / "site")
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(EXAMPLE)])
    example.again()  # type: ignore[attr-defined]
    with pytest.raises(PackageNotFoundError):
        rows.version("ddpm_bench_example")
    read = Cell.model_validate(config)
    assert read.key == cell.key
    assert (read.label, read.job.label) == (cell.label, cell.job.label)
    (found,) = survey([read], Store(tmp_path / "none"), None)
    row = table.cell_row(found, "study")
    assert (row["schedule"], row["sampler"], row["evaluations"]) == ("power(p=3.0)", "quiet(share=0.25)", None)
    missing = "rows are missing: package ddpm_bench_example 0.1.0 is not installed"
    with pytest.raises(UserError, match=missing):
        list(run([read], Store(tmp_path / "none"), device=CPU))
    with pytest.raises(UserError, match=r"study.yaml:4: unknown schedule 'power'"):
        study_of(tmp_path)


# use


def test_the_example_runs_in_processes_of_its_own(example: Install, scorer: Scorer, tmp_path: Path) -> None:
    """A study of its schedule and sampler, scored by its metric; the records say so, and nothing is done twice."""
    shutil.copytree(scorer.store.root, tmp_path / "results")
    one_job = STUDY.replace("cosine, power, {power: {p: 3}}", "{power: {p: 3}}")
    study, store = study_of(tmp_path, one_job), Store(tmp_path / "results")
    options = Options("cpu", threads=1)
    ended = list(run_study(study, store, options))[-1]
    assert isinstance(ended, Ended)
    assert ended.failures == ()
    assert [type(event) for event in run_study(study, store, options)] == [Planned, Ended]
    found = table.rows(study, store)
    assert len(found) == 2
    assert {row["status"] for row in found} == {"done"}
    assert {row["schedule"] for row in found} == {"power(p=3.0)"}
    assert all(row["spread"] > 0 for row in found)
    assert len({row["fid"] for row in found}) == 2
    record = store.read_cell(CellRecord, study.cells[-1])
    assert isinstance(record, ScoredCell)
    assert record.config.sampling.packages == record.config.job.packages == ("ddpm_bench_example 0.1.0",)
    assert record.environment.packages == "ddpm_bench_example 0.1.0"
    assert record.floor["spread"] == pytest.approx(1, abs=0.3)
    answer = ask("SELECT spread FROM cells ORDER BY spread", store)
    assert [value for (value,) in answer.rows] == sorted(row["spread"] for row in found)


def test_a_job_process_finds_the_rows_itself(world: World, install: Install, make_study: Any, tmp_path: Path) -> None:
    """Given names alone, as an executor gives them."""
    install(code=TOYS)
    study = make_study(budget={"epochs": 1}, objective=["v"], schedule=["toy"], sampler=["ddim"])
    text = JobSpec(cells=study.cells, results=world.store.root, device="cpu").model_dump_json()
    install.again()  # type: ignore[attr-defined]
    assert "toy" not in SCHEDULES
    said: list[Event] = []
    assert work(JobSpec.model_validate_json(text), said.append) == 0, said
    assert isinstance(said[-1], JobDone)


METRIC = """\
from bench.score.metrics import Metric
ROWS = {"metric": {"toy": Metric(lambda sample, reference: float(len(sample.features)), None)}}
"""


def test_cells_scored_by_another_version_of_a_metric_are_stale(world: World, install: Install, make_study: Any) -> None:
    """Scored again, from the samples that are kept. Cells scored without the metric stay as they are."""
    study = make_study(budget={"epochs": 1}, objective=["v"], sampler=["ddim"])
    (cells,) = study.jobs.values()

    def again() -> list[type[Event]]:
        return [type(event) for event in run(cells, world.store, device=CPU) if isinstance(event, CellDone | Drawn)]

    assert again() == [Drawn, CellDone]
    install(version="1.0", code=METRIC)
    assert again() == []
    assert [row["toy"] for row in table.rows(study, world.store)] == [None]
    world.store.path("cells", cells[0].key, ".json").unlink()
    assert again() == [CellDone]
    (row,) = table.rows(study, world.store)
    assert (row["toy"], row["status"]) == (20.0, "done")
    install(version="1.1", code=METRIC)
    assert [row["status"] for row in table.rows(study, world.store)] == ["stale"]
    assert again() == [CellDone]
    assert [row["status"] for row in table.rows(study, world.store)] == ["done"]


def test_a_metric_with_the_name_of_a_column(install: Install) -> None:
    install(code=METRIC.replace('"toy"', '"device"'))
    with pytest.raises(UserError, match="metric 'device' has the name of another column"):
        table.columns()


# one place


def test_a_metric_is_added_in_one_place(world: World, make_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of METRICS: it is a column of the table, of queries and of the report's frame."""
    from bench.analysis.frames import Results

    before = table.columns()
    monkeypatch.setitem(METRICS, "toy", Metric(lambda sample, reference: 3.0, "lower"))
    assert table.columns() == (*before, "toy")
    study = make_study(budget={"epochs": 1}, objective=["v"], sampler=["ddim"])
    (cells,) = study.jobs.values()
    list(run(cells, world.store, device=CPU))
    assert [row["toy"] for row in table.rows(study, world.store)] == [3.0]
    assert ask("SELECT toy FROM cells", world.store).rows == [(3.0,)]
    assert Results(study, world.store).done["toy"].tolist() == [3.0]
    assert Results(study, world.store).settings["toy"].tolist() == [3.0]


def test_every_axis_and_metric_has_its_column() -> None:
    """Those of today at the places they have always had."""
    assert table.columns() == table.STABLE


AXES = """
from pathlib import Path
from bench import docs
from bench.analysis import frames, query, table
from bench.gate import nightly
from bench.study.load import load
from bench.study.model import Cell

study = load("{study}")
one, two = [cell for cell in study.cells if cell.job.toy == 1], [cell for cell in study.cells if cell.job.toy == 2]
assert len(one) == len(two) == 2
assert one[0].key == load("{plain}").cells[0].key, "the default leaves no trace"
assert one[0].job.label == "unet v cosine T=1000 seed 0"
assert two[0].job.label == "unet v cosine T=1000 toys 2 seed 0"
assert [cell.label for cell in two] == ["ddim 10 steps", "ddim jitter 0.5 10 steps"]
assert Cell.model_validate(two[1].model_dump()).key == two[1].key != two[0].key
assert table.columns()[-2:] == ("toy", "jitter")
assert ("toy" in table.INTEGERS, "jitter" in table.INTEGERS | table.TEXT) == (True, False)
assert frames.AXES["toy"] == "toys"
assert [axis.name for axis in frames.METHOD][-1] == "jitter"
row = table.cell_row(table.Found(two[1], "missing", None, None, None), "s")
assert (row["toy"], row["jitter"]) == (2, 0.5)
assert nightly.name_of(row).endswith("toy=2 jitter=0.5")
page = dict(docs.pages())["axes.md"]
assert "## `toy`" in page and "How many toys." in page and "## `jitter`" in page
assert list(study.hypotheses[0].first) == ["toy"]
"""


def test_an_axis_is_added_in_one_place(tmp_path: Path) -> None:
    """A field of Job, and one of Sampling: YAML, keys, labels, columns, titles, baselines, docs and claims have it."""
    shutil.copytree(ROOT / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    model = tmp_path / "bench" / "study" / "model.py"
    text = model.read_text()
    for before, field in (
        ("    train: Budget\n    packages: Packages = ()",
         '    toy: Annotated[Positive, Axis(title="toys", about="How many toys.")] = 1\n'),
        ("    packages: Packages = ()\n\n    @cached_property\n    def stated",
         '    jitter: Annotated[Share, Axis(title="jitter")] = 0.0\n'),
    ):  # fmt: skip
        assert text.count(before) == 1
        text = text.replace(before, field + before)
    model.write_text(text)
    plain = (
        "train: {epochs: 1}\naxes:\n  objective: [v]\n  schedule: [cosine]\n  sampler: [ddim]\n  sample_steps: [10]\n"
    )
    (tmp_path / "plain.yaml").write_text(plain)
    (tmp_path / "toy.yaml").write_text(plain + "  toy: [1, 2]\n  jitter: [0.0, 0.5]\nclaims: ['1 < 2 on fid']\n")
    code = AXES.format(study=tmp_path / "toy.yaml", plain=tmp_path / "plain.yaml")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
