"""The stable table: one row a cell, read from the store alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.rows import entries, origins
from bench.score.judges import pinned, with_own_column
from bench.store.store import Store
from bench.study.axes import AXES
from bench.study.model import Job, Sampling
from bench.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

from bench.store.records import JobRecord, Likelihood, Sampled, ScoredCell, TrainedJob
from bench.store.status import Found, survey

#: the columns that scripts may rely on, never renamed or reordered; axes and metrics that came later follow them
STABLE = (
    "study", "status", "dataset", "net", "objective", "weight", "schedule", "T", "seed",
    "sampler", "sample_steps", "eta", "n", "fid", "fid_floor", "fid_ceiling", "kid", "kid_se",
    "inception_score", "precision", "recall", "confidence", "epoch_s", "train_images_per_s",
    "sample_images_per_s", "params", "megabytes", "peak_rss_mb", "device", "commit", "key",
    "class_balance", "epochs", "train_s", "sample_s", "first_epoch_s", "peak_device_mb", "train_flops_per_image",
    "forward_flops_per_image", "dirty", "code", "classifier", "job", "reason",
    "clip", "train_engine", "sample_engine", "timesteps", "spacing", "clipping", "evaluations",
    "bpd", "bpd_se", "ema", "guidance", "class_accuracy", "worst_class_accuracy",
    "bound_bpd", "bound_bpd_se", "prior_bpd", "decoder_bpd", "flow_bpd", "flow_bpd_se",
    "fid_infinity", "fid_bias", "density", "coverage", "sample_seed",
    "fid_classifier", "fid_texture", "fid_mixer", "fid_together", "pixel_distance", "spectrum_distance", "repeated",
    "teach", "base", "start",
)  # fmt: skip
LIKELIHOOD = {
    "bound_bpd": "bound", "bound_bpd_se": "bound_se", "prior_bpd": "prior", "decoder_bpd": "decoder",
    "flow_bpd": "flow", "flow_bpd_se": "flow_se",
}  # fmt: skip
"""Column → what :func:`bench.score.heldout.likelihood` calls it."""
HOLDS = {axis.column: axis.holds for axis in AXES}
TEXT = frozenset({
    "study", "status", "dataset", "device", "commit", "key", "code", "classifier", "job", "reason", "train_engine",
    "sample_engine", *(name for name, holds in HOLDS.items() if holds is str),
})  # fmt: skip
INTEGERS = frozenset({
    "evaluations", "n", "params", "epochs", "train_flops_per_image", "forward_flops_per_image",
    *(name for name, holds in HOLDS.items() if holds is int),
})  # fmt: skip
FLAGS = frozenset({"dirty", "clip", *(name for name, holds in HOLDS.items() if holds is bool)})
"""Columns by what they hold; the rest are numbers."""


def columns() -> tuple[str, ...]:
    """Every column: :data:`STABLE`, then the axes and metrics that are not among them.

    :raises UserError: if a package's metric has the name of another column.
    """
    added = [name for family, name in origins() if family == "metric"]
    taken = next((name for name in added if name in {*STABLE, *HOLDS}), None)
    if taken:
        raise UserError(f"metric '{taken}' has the name of another column of the table: choose another")
    return tuple(dict.fromkeys((*STABLE, *HOLDS, *entries("metric"))))


def rows(study: Study, store: Store) -> list[dict[str, Any]]:
    """A dict with every one of :func:`columns` for each cell of the study, None where there is no value."""
    return list(iter_rows(study, store))


def iter_rows(study: Study, store: Store) -> Iterator[dict[str, Any]]:
    """:func:`rows`, one at a time: what a study of any size can be read in."""
    return to_rows(survey(study.cells, store, pinned(study.dataset)), study.name)


def to_rows(found: Iterable[Found], study: str) -> Iterator[dict[str, Any]]:
    """A row for each cell."""
    job: JobRecord | None = None
    trained: dict[str, Any] = {}
    empty: dict[str, Any] = dict.fromkeys(columns())
    known = Known()
    for one in found:
        if one.job is not job:  # a job's columns are worked out once for the cells that share its record
            job, trained = one.job, training(one.job)
        yield empty | cell_row(one, study, known) | trained


class Known:
    """What many rows have in common, worked out once: a job, a way to sample, and which columns scores have."""

    MOST = 10_000
    """Ways to sample that are remembered."""

    def __init__(self) -> None:
        self._job: tuple[Job, dict[str, Any]] | None = None
        self._ways: dict[int, tuple[Sampling, dict[str, Any]]] = {}  # with each, so that its id stays its own
        self._columns: dict[Any, list[tuple[str, int]]] = {}

    def job(self, job: Job) -> dict[str, Any]:
        """The columns of a training run's configuration."""
        if self._job is None or self._job[0] is not job:
            self._job = job, job.told | {"dataset": job.dataset, "job": job.key}
        return self._job[1]

    def way(self, way: Sampling) -> dict[str, Any]:
        """The columns of a way to sample."""
        if id(way) not in self._ways:
            if len(self._ways) >= self.MOST:
                self._ways.clear()
            evaluations = way.evaluations if way.sampler.name in entries("sampler") else None
            self._ways[id(way)] = way, way.told | {"clip": bool(way.clip), "evaluations": evaluations}
        return self._ways[id(way)][1]

    def scores(self, record: ScoredCell) -> dict[str, float]:
        """The columns of a record's scores, as :func:`bench.score.judges.with_own_column` has them."""
        scores, classifier = record.metrics, record.provenance.classifier
        by = tuple(scores), classifier, tuple(record.panel.items())
        if by not in self._columns:
            places = {name: float(i) for i, name in enumerate(scores)}
            self._columns[by] = [(to, int(i)) for to, i in with_own_column(places, classifier, record.panel).items()]
        values = list(scores.values())
        return {column: values[i] for column, i in self._columns[by]}


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a data frame with the columns in order."""
    import pandas as pd

    names = columns()
    found: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:  # a column at a time: a hundred thousand dicts would need ten times the memory
        for name, values in found.items():
            values.append(row[name])
    return pd.DataFrame({name: pd.Series(found.pop(name)) for name in names})  # each list makes room for the next


def cell_row(found: Found, study: str, known: Known | None = None) -> dict[str, Any]:
    """What there is to say of a cell, but for its training run's columns.

    :param known: of other rows, so that this one takes less time.
    """
    cell, record, known = found.cell, found.record, known or Known()
    row: dict[str, Any] = {}
    if isinstance(record, ScoredCell):
        row |= known.scores(record)  # before the rest, so that no metric takes the place of another column
    row |= known.job(cell.job)
    row |= known.way(cell.sampling)
    row |= {"n": cell.n, "key": cell.key, "study": study, "status": found.status, "reason": found.reason}
    if isinstance(record, ScoredCell):
        row |= {"fid_floor": record.floor["fid"], "fid_ceiling": record.ceiling["fid"]}
        row |= sampling(record.sampling)
        row["sample_engine"] = record.sampling.engine.engine
        row["classifier"] = record.provenance.classifier[:12]
        row |= {k: getattr(record.environment, k) for k in ("device", "commit", "dirty", "code")}
    return row


def training(job: JobRecord | None) -> dict[str, Any]:
    """A complete training run's columns, else none; durations taken on a shared device are left out."""
    if not isinstance(job, TrainedJob):
        return {}
    epochs = job.epochs
    alone = [e for e in epochs if e.exclusive]
    timed = [e for e in alone if e.warm] or alone
    epoch_s = statistics.median(e.seconds for e in timed) if timed else None
    likelihood = job.likelihood or Likelihood(n=0, terms=())
    return {
        "epochs": len(epochs),
        "epoch_s": epoch_s,
        "first_epoch_s": epochs[0].seconds if epochs and epochs[0].exclusive else None,
        "train_s": _train_s(job),
        "train_images_per_s": timed[-1].images / epoch_s if epoch_s else None,
        "train_flops_per_image": job.flops_per_image.train,
        "forward_flops_per_image": job.flops_per_image.forward,
        "train_engine": job.engine.engine,
        **{k: getattr(epochs[-1], k) if epochs else None for k in ("bpd", "bpd_se")},
        **{column: getattr(likelihood, name) for column, name in LIKELIHOOD.items()},
        **{k: getattr(job, k) for k in ("params", "megabytes", "peak_rss_mb", "peak_device_mb")},
    }


def _train_s(job: TrainedJob) -> float | None:
    """The seconds of the whole training, a teacher's included; None if any part shared its device."""
    if not job.exclusive or (job.teacher_images is not None and job.teacher_s is None):
        return None
    return sum(epoch.seconds for epoch in job.epochs) + (job.teacher_s or 0.0)


def sampling(timing: Sampled) -> dict[str, Any]:
    """A cell's sampling columns: the first batch warms up and is left out where there are more."""
    if not timing.exclusive:
        return {}
    images, seconds = (sum(column) for column in zip(*timing.batches, strict=True))
    return {"sample_images_per_s": images / seconds, "sample_s": sum(timing.batch_s)}
