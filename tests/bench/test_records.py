"""Records: what is read, what counts as damaged, and that whatever a file holds ends in no traceback."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.analysis import compare, estimates, query, table
from bench.analysis.frames import Results
from bench.errors import UserError
from bench.execute import cost, schedule
from bench.paths import REFERENCE
from bench.store.lookup import RECORDS
from bench.store.records import CellRecord, JobRecord, Record, ReferenceRecord, ScoredCell, TrainedJob
from bench.store.status import survey
from bench.store.store import Store, encode
from bench.store.tensors import About, Checkpoint, Resume, Snapshot
from bench.study import load
from bench.study.study import Study
from bench.text import duration
from tests.records import FLOOR, failed_cell, failed_job, sampled, scored_cell, trained_job

Json = dict[str, Any]


def content(path: Path) -> Json:
    """The record in a file, as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))["record"]


def put(store: Store, kind: type[Record], key: str, record: Any) -> Path:
    """Write anything as a record, its checksum right."""
    path = store.path(kind.kind, key, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(record))
    return path


def one_job() -> Study:
    """The first training run of the study quick and a few of its cells, all of which have committed results."""
    quick = load.load("quick")
    axes = quick.axes.model_dump(mode="json")
    axes |= {name: values[:1] for name, values in axes.items() if name not in ("sampler", "sample_steps")}
    return Study.model_validate({**quick.model_dump(mode="json"), "axes": axes, "claims": []})


@pytest.fixture(scope="module")
def real() -> tuple[Study, dict[tuple[type[Record], str], Json]]:
    """That study, and its committed records as JSON."""
    study = one_job()
    found: dict[tuple[type[Record], str], Json] = {}
    for cell in study.cells:
        found[JobRecord, cell.job.key] = content(REFERENCE / "jobs" / f"{cell.job.key}.json")
        found[CellRecord, cell.key] = content(REFERENCE / "cells" / f"{cell.key}.json")
    return study, found


# what is read


@pytest.mark.parametrize("kind", RECORDS)
def test_every_committed_record_is_read_and_written_as_it_was(kind: type[Record]) -> None:
    """Under its own key, which its configuration gives; nothing added, nothing lost."""
    store = Store(REFERENCE)
    records = dict(store.records(kind))
    assert records.keys() == {path.stem for path in (REFERENCE / kind.kind).glob("*.json")}
    assert not store.damaged
    for key, record in records.items():
        assert json.loads(json.dumps(record.as_json())) == content(store.path(kind.kind, key, ".json"))


def test_files_of_the_first_version_are_read(real: Any, tmp_path: Path) -> None:
    """They have another checksum, and lack what was added later; what they lack has the meaning it had then."""
    study, records = real
    store = Store(tmp_path)
    for (kind, key), record in records.items():
        old = copy.deepcopy(record)
        config = old["config"]
        job = config if kind is JobRecord else config["job"]
        for name in ("timesteps", "spacing", "ema", "guidance"):
            config.pop(name, None)
        del job["train"]["snapshots"]
        job.pop("timesteps", None)
        for epoch in old.get("epochs", []):
            del epoch["bpd"], epoch["bpd_se"]
        for part in (old, old.get("sampling", {})):
            part.pop("engine", None)
        text = json.dumps(old, sort_keys=True, ensure_ascii=False).encode()
        file = {"version": 1, "sha256": hashlib.sha256(text).hexdigest(), "record": old}
        path = store.path(kind.kind, key, ".json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(file))
    rows = table.rows(study, store)
    assert not store.damaged
    assert {row["status"] for row in rows} <= {"done", "stale"}, "stale where an older judge scored them"
    assert {(row["train_engine"], row["sample_engine"], row["bpd"]) for row in rows} == {("eager", "eager", None)}


def test_builders_and_classes_agree(tmp_path: Path) -> None:
    """What the classes write is what they read, numbers that are none included."""
    store, cell = Store(tmp_path), one_job().cells[0]
    for record in (
        trained_job(cell.job),
        failed_job(cell.job, "diverged: ‘nan’"),
        scored_cell(cell, {"fid": math.inf, "kid": -0.0}),
        failed_cell(cell, "crashed"),
        ReferenceRecord(classifier="c", dataset_sha256="d", n=20, floor=FLOOR, ceiling=FLOOR),
    ):
        key = KEYS[record.kind](record)
        store.write(key, record)
        assert store.read(type(record).__mro__[1] if record.kind != "references" else ReferenceRecord, key) == record
    nan = scored_cell(cell, {"fid": math.nan})
    store.write(cell.key, nan)
    kept = store.read_cell(CellRecord, cell)
    assert isinstance(kept, ScoredCell)
    assert math.isnan(kept.metrics["fid"])


KEYS: dict[str, Callable[[Any], str]] = {
    "jobs": lambda record: record.config.key,
    "cells": lambda record: record.config.key,
    "references": lambda record: ReferenceRecord.key_of(record.classifier, record.dataset_sha256, record.n),
}


def test_a_field_of_a_later_version_is_no_damage(real: Any, tmp_path: Path) -> None:
    """But for the configuration, where it would name another cell."""
    study, records = real
    cell, store = study.cells[0], Store(tmp_path)
    record = records[CellRecord, cell.key]
    put(store, CellRecord, cell.key, record | {"later": 1, "sampling": record["sampling"] | {"later": {}}})
    assert store.read(CellRecord, cell.key) is not None
    put(store, CellRecord, cell.key, record | {"config": record["config"] | {"later": 1}})
    assert store.read(CellRecord, cell.key) is None
    assert store.damaged == [store.path("cells", cell.key, ".json")]


# what counts as damaged


def _without(name: str) -> Callable[[Json], Json]:
    return lambda record: {key: value for key, value in record.items() if key != name}


DAMAGE: dict[str, Callable[[Json], Any]] = {
    "no object": lambda record: [record],
    "nothing": lambda record: None,
    "no status": _without("status"),
    "another status": lambda record: record | {"status": "half"},
    "failed without a reason": lambda record: record | {"status": "failed"},
    "no metrics": _without("metrics"),
    "no floor": _without("floor"),
    "a floor without FID": lambda record: record | {"floor": {"kid": 1.0}},
    "a number as text": lambda record: record | {"metrics": record["metrics"] | {"fid": "3.5"}},
    "no classifier": lambda record: record | {"provenance": {"dataset_sha256": "d"}},
    "more batches than durations": lambda record: record | {"sampling": record["sampling"] | {"batch_s": [1.0]}},
    "no time at all": lambda record: record | {
        "sampling": record["sampling"] | {"batch_s": [0.0] * len(record["sampling"]["batch_s"])}
    },
    "no environment": _without("environment"),
    "no date": lambda record: record | {"created": "yesterday"},
    "a date without its zone": lambda record: record | {"created": "2026-01-02T03:04:05"},
    "no configuration": _without("config"),
    "another cell's configuration": lambda record: record | {"config": record["config"] | {"n": 21}},
    "another job": lambda record: record | {"job": "0" * 16},
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_another_shape_is_damage_and_counts_as_missing(name: str, real: Any, tmp_path: Path) -> None:
    """However it is read, the checksum being right."""
    study, records = real
    cell = study.cells[0]
    store = Store(tmp_path)
    path = put(store, CellRecord, cell.key, DAMAGE[name](records[CellRecord, cell.key]))
    readings: list[Callable[[], object]] = [
        lambda: store.read(CellRecord, cell.key),
        lambda: store.read_cell(CellRecord, cell),
        lambda: next(iter(store.records(CellRecord)), None),
        lambda: next(survey([cell], store, None)).record,
    ]
    for reading in readings:
        store.damaged.clear()
        assert reading() is None
        assert store.damaged == [path]
    assert next(survey([cell], store, None)).status == "missing"


def test_a_file_under_another_name_is_damage(real: Any, tmp_path: Path) -> None:
    study, records = real
    store = Store(tmp_path)
    for kind, key in ((JobRecord, study.cells[0].job.key), (CellRecord, study.cells[0].key)):
        put(store, kind, "0" * 16, records[kind, key])
        assert store.read(kind, "0" * 16) is None
    reference = next(iter((REFERENCE / "references").glob("*.json")))
    put(store, ReferenceRecord, "0" * 16, content(reference))
    assert store.read(ReferenceRecord, "0" * 16) is None
    assert len(store.damaged) == 3


def test_samples_that_do_not_say_how_they_were_drawn_are_damage(tmp_path: Path) -> None:
    """Or are not as many as they say."""
    import numpy as np

    store, images = Store(tmp_path), np.zeros((20, 1, 28, 28), np.uint8)
    store.save_samples("right", images, sampled((1.0,), (20,)))
    store.save_samples("few", images, sampled((1.0,), (30,)))
    store.save_samples("flat", images[0], sampled((1.0,), (1,)))
    assert store.load_samples("right") is not None
    assert store.load_samples("few") is None
    assert store.load_samples("flat") is None


class Unlike(About):
    """Says nothing of its tensors."""

    kind = "checkpoints"


@pytest.mark.parametrize("kind", [Checkpoint, Snapshot, Resume])
def test_tensors_that_do_not_say_what_they_are_are_damage(kind: type[About], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_tensors("k", {"a": torch.zeros(1)}, Unlike())
    path = store.path(kind.kind, "k", ".safetensors")
    path.parent.mkdir(exist_ok=True)
    store.path("checkpoints", "k", ".safetensors").rename(path)
    assert store.load_about(kind, "k") is None
    assert store.load_tensors(kind, "k") is None
    assert store.damaged == [path]


def test_a_cell_at_hand_is_not_made_again(real: Any, tmp_path: Path) -> None:
    """Unless its record spells it in another way; then both are equal."""
    study, records = real
    cell, store = study.cells[0], Store(tmp_path)
    written = records[CellRecord, cell.key]
    put(store, CellRecord, cell.key, written)
    kept = store.read_cell(CellRecord, cell)
    assert kept is not None
    assert kept.config is cell
    short = {name: value for name, value in written["config"].items() if name != "spacing"}
    put(store, CellRecord, cell.key, written | {"config": short})
    other = store.read_cell(CellRecord, cell)
    assert other is not None
    assert other.config is not cell
    assert other == kept


# whatever a file holds

VALUES = st.sampled_from([
    None, True, False, 0, -1, 1, 2, 1e308, 5e-324, -0.5, math.nan, math.inf, 2**63, 2**70, 10**400, "", "x", "eps",
    "done", "failed", "\x00", "ε" * 3, "2026-01-02T03:04:05+00:00", [], [None], [1.0], {}, {"fid": 1.0}, {"": ""},
])  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a JSON value but itself; of a long list its ends."""
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = [(i, value[i]) for i in sorted({0, len(value) - 1})] if isinstance(value, list) and value else []
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


@st.composite
def mutations(draw: st.DrawFn, record: Json) -> Json:
    """The record with up to three things in it replaced, removed, doubled or added."""
    changed = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(list(_places(changed)) or [("x",)]))
        inner: Any = changed
        for step in path:
            inner = inner[step]
        match draw(st.sampled_from(["replace", "replace", "remove", "add", "double"])):
            case "remove":
                del inner[last]
            case "add" if isinstance(inner, dict):
                inner[draw(st.sampled_from(["net", "status", "n", "fid", "later"]))] = copy.deepcopy(draw(VALUES))
            case "double" if isinstance(inner, list):
                inner += inner
            case _:
                inner[last] = copy.deepcopy(draw(VALUES))
    return changed


def commands(study: Study, store: Store) -> Iterator[Callable[[], object]]:
    """What the commands that read results do, each by itself."""

    def plan() -> None:
        model = cost.calibrate(store, schedule.Options("cpu", threads=2))
        left = [found for found in survey(study.cells, store, None) if schedule.to_do(found)]
        model.seconds(left, store)

    def status() -> None:
        for found in survey(study.cells, store, None):
            for run in estimates.past([found.job] if found.job else []):
                duration(run.estimate_s), duration(run.wall_s), f"{run.error:.0%}"

    def frames() -> None:
        results = Results(study, store)
        for name in ("cells", "done", "exact", "settings", "epochs", "likelihoods", "batches", "bounds", "machines"):
            getattr(results, name)

    yield plan
    yield status
    yield frames
    yield lambda: table.frame(table.iter_rows(study, store))
    yield lambda: query.ask("SELECT * FROM cells", store)
    yield lambda: query.ask("SELECT * FROM jobs", store)
    yield lambda: compare.compare(*[compare.read(store.root, "fid")] * 2)
    yield lambda: schedule.pending(study, store, retry=False)
    yield lambda: list(store.records(ReferenceRecord))


def check_all(study: Study, store: Store) -> None:
    """Every command succeeds, or says why not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numbers near the largest overflow to infinity
        for command in commands(study, store):
            with suppress(UserError):
                command()


@settings(max_examples=30, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_no_file_makes_a_traceback(data: st.DataObject, real: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each record is altered at random under a right checksum, and every command that reads results is run."""
    study, records = real
    store = Store(tmp_path_factory.mktemp("fuzzed"))
    for i, ((kind, key), record) in enumerate(records.items()):
        put(store, kind, key, data.draw(mutations(record)) if i < 4 else record)
    check_all(study, store)


@settings(max_examples=400, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_whatever_is_read_has_its_shape(data: st.DataObject, real: Any, tmp_path_factory: Any) -> None:
    """Many more alterations than :func:`test_no_file_makes_a_traceback` has time for: a record, or damage."""
    _, records = real
    kind, key = data.draw(st.sampled_from(list(records)))
    store = Store(tmp_path_factory.getbasetemp() / "shapes")
    path = put(store, kind, key, data.draw(mutations(records[kind, key])))
    record = store.read(kind, key)
    assert (record is None) == (store.damaged == [path])
    if isinstance(record, ScoredCell):
        table.cell_row(next(survey([record.config], store, None)), "")
    elif isinstance(record, TrainedJob):
        table.training(record)
        estimates.past([record])
