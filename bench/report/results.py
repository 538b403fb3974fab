"""What the store holds of a study, as data frames: the one place where the report touches the disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from bench import table
from bench.store import Store
from bench.study import Study

Record = dict[str, Any]

#: column → what a reader calls it, in the order cells are described; ``method`` is the sampler with its η, ``role`` the
#: weight as the study names it (``default`` where it is the objective's own)
MODEL_AXES = {
    "net": "network",
    "objective": "objective",
    "role": "loss weight",
    "schedule": "schedule",
    "T": "T",
}
SAMPLING_AXES = {"method": "sampler", "sample_steps": "sampling steps"}
AXES = MODEL_AXES | SAMPLING_AXES

_TEXT = {
    "study", "status", "dataset", "net", "objective", "weight", "schedule", "sampler", "device", "commit", "key",
    "code", "classifier", "job", "reason", "dirty", "clip",
}  # fmt: skip
_LIBRARIES = ("matplotlib", "pandas", "pypandoc-binary", "seaborn", "typst")


@dataclass(frozen=True)
class Results:
    """A study and whatever exists of it."""

    study: Study
    store: Store

    @cached_property
    def records(self) -> dict[str, Record]:
        """Cell key → its record, of the cells that have one."""
        found = {cell.key: self.store.read("cells", cell.key) for cell in self.study.cells}
        return {key: record for key, record in found.items() if record is not None}

    @cached_property
    def jobs(self) -> dict[str, Record]:
        """Job key → its record, of the complete training runs."""
        found = {key: self.store.read("jobs", key) for key in self.study.jobs}
        return {key: record for key, record in found.items() if record is not None and record["status"] == "done"}

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a cell: the stable table's columns, then ``method``, ``role`` and ``sample_time`` (s per 1,000)."""
        frame = table.frame(table.rows(self.study, self.store))
        for column in frame.columns.difference(list(_TEXT)):
            frame[column] = pd.to_numeric(frame[column])
        named = self.study.axes.weight
        frame["role"] = [weight if weight in named else "default" for weight in frame["weight"]]
        frame["method"] = [_method(*row) for row in zip(frame["sampler"], frame["eta"], frame["clip"], strict=True)]
        frame["sample_time"] = 1000 / frame["sample_images_per_s"]
        reference = self.reference
        for key, record in self.records.items():
            if record["status"] == "done" and record["provenance"] != reference:
                frame.loc[frame["key"] == key, "status"] = "stale"
        return frame

    @cached_property
    def reference(self) -> Record | None:
        """The classifier and data set of the comparable cells: the most frequent pair, where records differ."""
        from bench.scoring import pinned

        pin = pinned(self.study.dataset)
        done = [r["provenance"] for r in self.records.values() if r["status"] == "done"]
        done = [p for p in done if pin in (None, p["classifier"])]
        counts = Counter(json.dumps(p, sort_keys=True) for p in done)
        best: Record | None = json.loads(counts.most_common(1)[0][0]) if counts else None
        return best

    @cached_property
    def done(self) -> pd.DataFrame:
        """The comparable cells with a finite FID, best first."""
        frame = self.cells[(self.cells["status"] == "done") & self.cells["fid"].between(0, 1e300)]
        return frame.sort_values("fid", kind="stable").reset_index(drop=True)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """:attr:`done` with each number the median over training seeds; ``low``, ``high`` and ``seeds`` besides."""
        if self.done.empty:
            return self.done.assign(low=[], high=[], seeds=[])
        numbers = [c for c in self.done.columns if c not in _TEXT | set(AXES) and c != "seed"]
        groups = self.done.groupby(list(AXES), sort=False)
        frame = groups[numbers].median()
        frame["low"], frame["high"] = groups["fid"].min(), groups["fid"].max()
        frame["seeds"] = groups["seed"].nunique()
        first = self.done.sort_values("seed", kind="stable").groupby(list(AXES), sort=False)
        frame = frame.join(first[["key", "job", "weight", "seed", "sampler"]].first()).reset_index()
        return frame.sort_values("fid", kind="stable").reset_index(drop=True)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row an epoch of the complete training runs: its losses and durations beside the model's axes."""
        models = self.cells.drop_duplicates("job").set_index("job")
        rows = [
            models.loc[key, [*MODEL_AXES, "seed"]].to_dict() | {"job": key, "epoch": i, **epoch}
            for key, record in self.jobs.items()
            for i, epoch in enumerate(record["epochs"], 1)
        ]
        columns = [*MODEL_AXES, "seed", "job", "epoch", "seconds", "images", "warm", "exclusive", "loss"]
        return pd.DataFrame(rows, columns=[*columns, "eps_mse", "x0_mse"])

    @cached_property
    def batches(self) -> pd.DataFrame:
        """A row a sampling batch that had its device alone, warm-up apart: ``per_1000`` is seconds per 1,000 images."""
        cells = self.done.set_index("key")
        rows = []
        for key in self.done["key"]:
            timing = self.records[key]["sampling"]
            pairs = list(zip(timing["batch_s"], timing["batch_images"], strict=True)) if timing["exclusive"] else []
            at = cells.loc[key, [*AXES, "seed"]].to_dict()
            rows += [at | {"per_1000": 1000 * seconds / images} for seconds, images in pairs[1:] or pairs]
        return pd.DataFrame(rows, columns=[*AXES, "seed", "per_1000"])

    @cached_property
    def bounds(self) -> tuple[Record, Record] | None:
        """Every metric of real test images (the floor) and of noise (the ceiling), at this study's N."""
        if self.done.empty:
            return None
        record = self.records[str(self.done.loc[0, "key"])]
        return record["floor"], record["ceiling"]

    @cached_property
    def seeds(self) -> list[int]:
        """The training seeds of the comparable cells."""
        return sorted(int(seed) for seed in self.done["seed"].unique())

    @cached_property
    def varying(self) -> list[str]:
        """The axes with more than one level among the study's cells."""
        return [axis for axis in AXES if self.cells[axis].nunique() > 1]

    def levels(self, axis: str) -> list[Any]:
        """The levels of an axis in the study's order."""
        return list(dict.fromkeys(self.cells[axis]))

    @property
    def extras(self) -> list[str]:
        """The model's axes that vary besides the objective and the schedule: what splits a figure into panels."""
        return [axis for axis in ("net", "role", "T") if axis in self.varying]

    def panel(self, row: Any) -> str:
        """A model's values on :attr:`extras`, for a title; empty where there are none."""
        return ", ".join(f"T = {row['T']}" if axis == "T" else str(row[axis]) for axis in self.extras)

    def model(self, row: Any) -> str:
        """A short name for a trained model: objective, schedule and whatever else varies."""
        return ", ".join(filter(None, (row["objective"], row["schedule"], self.panel(row))))

    def preview(self, key: str, suffix: str = ".png") -> Path | None:
        """The picture kept with a cell, if it is there."""
        path = self.store.path("cells", key, suffix)
        return path if path.is_file() else None

    def digest(self) -> str:
        """A hash of everything a report depends on: study, records, pictures, this code and its libraries."""
        rows = table.rows(self.study, self.store)
        pictures = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for key in self.records
            for suffix in (".png", ".strip.png")
            if (path := self.preview(key, suffix))
        }
        code = [Path(table.__file__), *sorted(Path(__file__).parent.glob("*.py"))]
        inputs = {
            "study": self.study.model_dump(mode="json"),
            "cells": self.records,
            "jobs": {key: self.store.read("jobs", key) for key in self.study.jobs},
            "status": [row["status"] for row in rows],
            "pictures": pictures,
            "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in code],
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _method(sampler: str, eta: float, clip: bool) -> str:
    """The sampler, with its η unless that is 0 (DDIM proper) or means nothing to it, and whether x̂₀ went unclipped."""
    return f"{sampler}{f' η={eta:g}' if eta > 0 else ''}{'' if clip else ' unclipped'}"
