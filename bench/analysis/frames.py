"""What the store holds of a study, as data frames: all that a report is made of."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bench.analysis import table
from bench.analysis.claims import COLUMN, Verdict, finished, judge
from bench.analysis.reading import Kept, Read, read
from bench.job.work import taught_flops
from bench.machine.environment import Environment
from bench.store.records import Bounds, CellRecord, Provenance, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study import axes
from bench.study.axis import Axis, said
from bench.study.model import ORACLE
from bench.study.study import Study
from bench.text import plural

H = TypeVar("H", bound=Hashable)

_CHOICES = [axis for axis in axes.AXES if not axis.repeats]
MODEL_AXES = {COLUMN[axis.name]: axis.title for axis in _CHOICES if axis.part == "training"}
"""Column → what a reader calls it, in the order cells are described."""
METHOD = [axis for axis in _CHOICES if axis.part == "sampling" and axis.name != "sample_steps"]
"""The axes that ``method`` says: the sampler with its η and so on. How many steps it takes stands apart."""
SAMPLING_AXES = {"method": "sampler"} | {axis.name: axis.title for axis in _CHOICES if axis.name == "sample_steps"}
TIMED_BY = ("net", "method", "sample_steps")
"""The axes that durations of sampling are shown by."""
STEPS = ("T", "sample_steps")
"""The axes that say how many steps: of the diffusion, and of sampling."""
_TITLES = MODEL_AXES | SAMPLING_AXES
AXES = {name: title for name, title in _TITLES.items() if name not in STEPS} | {name: _TITLES[name] for name in STEPS}
SHARED = ["schedule", "T", "way", "sample_steps"]
"""What the sampler's own error depends on; ``way`` is the method whatever the weights are an average of."""

_TEXT = table.TEXT | table.FLAGS
MOST_PANELS, MOST_METHODS = 6, 5
"""How many a figure can show and still be read."""


@dataclass(frozen=True)
class Results:
    """A study and whatever exists of it."""

    study: Study
    store: Store

    @cached_property
    def _read(self) -> Read:
        return read(self.study, self.store)

    @property
    def kept(self) -> dict[str, Kept]:
        """Cell key → what its record says, of the cells that have one."""
        return self._read.kept

    @property
    def jobs(self) -> dict[str, TrainedJob]:
        """Job key → its record, of the complete training runs."""
        return self._read.jobs

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a cell: the stable table's columns, then ``method``, ``way``, ``role`` and ``sample_time``."""
        frame = self._read.frame
        for column in frame.columns.difference(list(_TEXT)):
            if not pd.api.types.is_numeric_dtype(frame[column]):
                frame[column] = pd.to_numeric(frame[column])
        named = self.study.axes.weight
        frame["role"] = [weight if weight in named else "default" for weight in frame["weight"]]
        frame["method"] = _said(frame, METHOD)
        frame["way"] = _said(frame, [axis for axis in METHOD if not axis.of_weights])
        frame["sample_time"] = 1000 / frame["sample_images_per_s"]
        reference, kept = self.reference, self.kept
        odd = [
            status == "done" and (found := kept[key].provenance) is not reference and found != reference
            for key, status in zip(frame["key"], frame["status"], strict=True)
        ]
        frame.loc[odd, "status"] = "stale"
        return frame

    @cached_property
    def reference(self) -> Provenance | None:
        """The classifier and data set of the comparable cells: the most frequent pair, where records differ."""
        frame = self._read.frame
        done = [self.kept[key].provenance for key in frame["key"][frame["status"] == "done"]]
        counts = Counter(done)
        return counts.most_common(1)[0][0] if counts else None

    @cached_property
    def accuracy(self) -> float | None:
        """The lowest accuracy on record of the data set's own classifier; None where a pinned judge scored."""
        found = (self.kept[key].accuracy for key in self.done["key"])
        return min((accuracy for accuracy in found if accuracy is not None), default=None)

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The cells that are ranked: those of the oracle stand apart wherever there is anything else."""
        exact = self.cells["net"] == ORACLE
        return self.cells if exact.all() else self.cells[~exact]

    @cached_property
    def exact(self) -> pd.DataFrame:
        """The comparable cells of the oracle, by what they share with a trained network's."""
        frame = self._comparable(self.cells[self.cells["net"] == ORACLE])
        return frame.set_index(SHARED).sort_index()

    @property
    def apart(self) -> pd.DataFrame:
        """Those of the oracle where they stand apart: none where it is ranked itself."""
        return self.exact[:0] if self.shown is self.cells else self.exact

    @cached_property
    def done(self) -> pd.DataFrame:
        """The comparable cells with a finite FID, best first."""
        return self._comparable(self.shown)

    @staticmethod
    def _comparable(cells: pd.DataFrame) -> pd.DataFrame:
        frame = cells[(cells["status"] == "done") & cells["fid"].between(0, 1e300)]
        return frame.sort_values("fid", kind="stable").reset_index(drop=True)

    @cached_property
    def settings(self) -> pd.DataFrame:
        """:attr:`done` with each number the median over training seeds; ``low``, ``high`` and ``seeds`` besides."""
        if self.done.empty:
            return self.done.assign(low=[], high=[], seeds=[])
        numbers = [c for c in self.done.columns if c not in _TEXT | set(AXES) | {"seed", "way"}]
        groups = self.done.groupby(list(AXES), sort=False)
        frame = groups[numbers].median()
        frame["low"], frame["high"] = groups["fid"].min(), groups["fid"].max()
        frame["seeds"] = groups["seed"].nunique()
        first = self.done.sort_values("seed", kind="stable").groupby(list(AXES), sort=False)
        frame = frame.join(first[["key", "job", "weight", "seed", "sampler", "way"]].first()).reset_index()
        return frame.sort_values("fid", kind="stable").reset_index(drop=True)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """A row an epoch of the complete training runs: its losses and durations beside the model's axes."""
        models = self._models
        about = {key: models[key] | {"hardware": hardware(record.environment)} for key, record in self.jobs.items()}
        rows = [
            about[key] | {"job": key, "epoch": i, **epoch.known}
            for key, record in self.jobs.items()
            for i, epoch in enumerate(record.epochs, 1)
        ]
        columns = [*MODEL_AXES, "seed", "hardware", "job", "epoch", "seconds", "images", "warm", "exclusive", "loss"]
        return pd.DataFrame(rows, columns=[*columns, "eps_mse", "x0_mse", "bpd"])

    @cached_property
    def likelihoods(self) -> pd.DataFrame:
        """A row a training run whose likelihood is known, as :func:`bench.score.heldout.likelihood` has it."""
        models = self._models
        rows = [models[key] | dict(record.likelihood) for key, record in self.jobs.items() if record.likelihood]
        return pd.DataFrame(rows)

    @cached_property
    def _models(self) -> dict[str, dict[str, Any]]:
        """Job key → its levels on the model's axes, and its seed."""
        names = [*MODEL_AXES, "seed"]
        rows = self.cells.drop_duplicates("job")[["job", *names]].itertuples(index=False, name=None)
        return {job: dict(zip(names, levels, strict=True)) for job, *levels in rows}

    @cached_property
    def batches(self) -> pd.DataFrame:
        """A row a sampling batch that had its device alone, warm-up apart: ``per_1000`` is seconds per 1,000 images.

        Beside it stand the axes that durations are shown by, and no others: a large study has millions of rows.
        """
        kept = [self.kept[key] for key in self.done["key"]]
        raw = [one.per_1000 if one.exclusive else array("d") for one in kept]
        lengths = [len(values) for values in raw]
        columns: dict[str, Any] = {}
        for axis in TIMED_BY:
            values = self.done[axis]
            if values.dtype.kind in "if":
                columns[axis] = np.repeat(values.to_numpy(), lengths)
            else:
                levels = pd.Categorical(values)
                columns[axis] = pd.Categorical.from_codes(np.repeat(levels.codes, lengths), dtype=levels.dtype)
        return pd.DataFrame(columns | {"per_1000": np.concatenate([np.empty(0), *raw])}, copy=False)

    @cached_property
    def bounds(self) -> Bounds | None:
        """Every metric of real test images (the floor) and of noise (the ceiling), at this study's N."""
        record = None if self.done.empty else self.store.read(CellRecord, str(self.done.loc[0, "key"]))
        return record.bounds if isinstance(record, ScoredCell) else None

    @cached_property
    def machines(self) -> list[Environment]:
        """The different environments of the comparable cells and the complete training runs."""
        done = [self.kept[key].environment for key in self.done["key"]]
        return different([*(record.environment for record in self.jobs.values()), *done])

    @property
    def hardware(self) -> list[str]:
        """The different machines as a reader would name them."""
        return list(dict.fromkeys(map(hardware, self.machines)))

    @cached_property
    def environments(self) -> pd.DataFrame:
        """The different environments of all records, a row each."""
        found = different([*(c.environment for c in self.kept.values()), *(j.environment for j in self.jobs.values())])
        return pd.DataFrame([environment.model_dump() for environment in found])

    @cached_property
    def made(self) -> tuple[str, str] | None:
        """When the first and the last record were made."""
        created = sorted([*(c.created for c in self.kept.values()), *(j.created for j in self.jobs.values())])
        return (created[0].isoformat(), created[-1].isoformat()) if created else None

    @property
    def trained(self) -> pd.DataFrame:
        """A cell of each training run that has a record."""
        models = self.cells.drop_duplicates("job")
        return models[models["job"].isin(list(self.jobs)) & (models["net"] != ORACLE)]

    @cached_property
    def networks(self) -> pd.DataFrame:
        """A row a trained network: its size, and the FLOPs of an image without what ways to teach add to a step."""
        models = self.trained.drop_duplicates(["net", "base"])
        names = ["params", "trained_params", "megabytes"]
        rows = []
        for job in map(self.jobs.__getitem__, models["job"]):
            plain = taught_flops(job.flops_per_image, job.config, -1)
            own = {"net": job.config.network, "forward_flops": plain.forward, "train_flops": plain.train}
            rows.append(own | {name: getattr(job, name) for name in names})
        return pd.DataFrame(rows, columns=["net", *names, "forward_flops", "train_flops"])

    @property
    def shared(self) -> tuple[int, int]:
        """How many epochs and sampling runs had to share their device."""
        epochs = int((~self.epochs["exclusive"].astype(bool)).sum())
        return epochs, sum(not self.kept[key].exclusive for key in self.done["key"])

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What the comparable cells say of the study's claims."""
        return judge(self.study.hypotheses, finished(self.shown), dict(self.study.axes))

    @cached_property
    def seeds(self) -> list[int]:
        """The training seeds of the comparable cells."""
        return sorted(int(seed) for seed in self.done["seed"].unique())

    @property
    def one_noise(self) -> bool:
        """Whether there are several training seeds and all were sampled from one sampling seed."""
        return len(self.seeds) > 1 and self.done["sample_seed"].nunique() == 1

    @cached_property
    def varying(self) -> list[str]:
        """The axes with more than one level among the study's cells; of T and its full chain only T."""
        found = [axis for axis in AXES if self.shown[axis].nunique() > 1]
        return [axis for axis in found if axis != "sample_steps" or "T" not in found or not self.full_chain]

    @property
    def full_chain(self) -> bool:
        """Whether every cell is sampled by all of its T steps."""
        return bool((self.shown["sample_steps"] == self.shown["T"]).all())

    def levels(self, axis: str) -> list[Any]:
        """The levels of an axis in the study's order (that of its cells, where an axis of the study is not alone)."""
        found = self.shown[axis].unique().tolist()
        listed = list(getattr(self.study.axes, {"role": "weight"}.get(axis, axis), []))
        return sorted(found, key=lambda level: listed.index(level) if level in listed else len(listed))

    @property
    def extras(self) -> list[str]:
        """The model's axes that vary besides the objective and the schedule: what splits a figure into panels."""
        return [axis for axis in MODEL_AXES if axis in self.varying and axis not in ("objective", "schedule")]

    def panel(self, row: Any, without: str | None = None) -> str:
        """A model's values on :attr:`extras` but one, for a title; empty where there are none."""
        axes = [axis for axis in self.extras if axis != without]
        return ", ".join(f"T = {row['T']:,}" if axis == "T" else str(row[axis]) for axis in axes)

    @cached_property
    def panels(self) -> list[str]:
        """The panels that figures show: in the study's order, the ones with the best cells where there are many."""
        if not self.extras:
            return [""]
        every, ranked = (
            [self.panel(row) for _, row in frame.drop_duplicates(self.extras).iterrows()]
            for frame in (self.shown, self.settings)
        )
        return _fitting(every, ranked, MOST_PANELS)

    @cached_property
    def methods(self) -> list[str]:
        """The samplers that figures show: in the study's order, the ones with the best cells where there are many."""
        return _fitting(self.levels("method"), list(dict.fromkeys(self.settings["method"])), MOST_METHODS)

    @cached_property
    def best_cells(self) -> dict[tuple[Any, ...], Any]:
        """A model's values on its axes → the best cell of its lowest training seed."""
        first = self.done.sort_values("seed", kind="stable").drop_duplicates(list(MODEL_AXES))
        return {tuple(row[axis] for axis in MODEL_AXES): row for _, row in first.iterrows()}

    def best_of(self, model: Any) -> Any:
        """The best scored cell of that model's lowest training seed, or None."""
        return self.best_cells.get(tuple(model[axis] for axis in MODEL_AXES))

    def model(self, row: Any) -> str:
        """A short name for a trained model: objective, schedule and whatever else varies."""
        return ", ".join(filter(None, (row["objective"], row["schedule"], self.panel(row))))

    def preview(self, key: str, suffix: str = ".png") -> bytes | None:
        """The picture kept with a cell, a PNG file, if it is there and whole."""
        return self.store.picture(key, suffix)


def _said(frame: pd.DataFrame, of: Sequence[Axis]) -> list[str]:
    """What a label says of these axes, for each row; NaN is None."""
    names = [axis.column for axis in of]
    rows = [tuple(None if value != value else value for value in row)
            for row in zip(*(frame[name] for name in names), strict=True)]  # fmt: skip
    found = {row: said(of, dict(zip(names, row, strict=True))) for row in set(rows)}  # few ways to sample, many rows
    return [found[row] for row in rows]


def hardware(environment: Environment) -> str:
    """The device that did the work, as a reader would name it."""
    if environment.gpu:
        return f"{environment.gpu} (driver {environment.driver})"
    threads = plural(environment.threads, "thread")
    cores = "" if environment.cores is None else f", {plural(environment.cores, 'core')}"
    return f"{environment.processor} ({threads}{cores})"


def different(parts: Iterable[H]) -> list[H]:
    """Each different one once, in order. Of a large study most are one object, which is compared with itself once."""
    return list(dict.fromkeys({id(part): part for part in parts}.values()))


def _fitting(every: list[str], ranked: list[str], most: int) -> list[str]:
    """At most so many, the highest ranked first to be kept, in their own order."""
    kept = list(dict.fromkeys([*ranked, *every]))[:most]
    return [name for name in every if name in kept]
