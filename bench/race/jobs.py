"""Entries of the harness: a study of one cell, run by the code that runs every study.

The clock is the job's own: the seconds of its epochs, from the first batch of each to its last weight update. It stands
still while the harness validates and writes between epochs. A teacher's epochs count too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from bench.errors import UserError
from bench.race.records import Done, Run
from bench.race.rules import DATASET, IMAGES, Track, enough
from bench.race.task import Task
from bench.score.judges import panel
from bench.store.records import CellRecord, FailedCell, FailedJob, JobRecord, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.model import ORACLE, Cell, Job
from bench.study.study import Study
from bench.text import listing

OWN = ("engine",)
"""Settings that are no study's."""
DEFAULT = "eager"
"""The engine of an entry that names none."""
EXECUTOR = "local"
"""Where jobs run: each in a process of its own."""
FIXED = ("seed", "dataset", "score", "exclude", "claims", "beside", "name", "description")
"""What the race decides, and no entry."""


def cell_of(settings: Mapping[str, Any], n: int, seed: int) -> tuple[Study, Cell]:
    """The study of one cell that an entry is, and that cell.

    :raises UserError: in one line, if the settings are none.
    """
    if wrong := [name for name in FIXED if name in settings]:
        raise UserError(f"'{wrong[0]}' is not an entry's to choose")
    axes = {name: [value] for name, value in settings.items() if name not in ("train", *OWN)}
    content = {
        "name": "race", "dataset": DATASET, "train": settings.get("train", {}),
        "axes": axes | {"seed": [seed]}, "score": {"n": n},
    }  # fmt: skip
    try:
        study = Study.model_validate(content)
        (cell,) = study.cells
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"] if part not in ("axes", 0))
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {said}" if where and first["type"] != "study" else said) from error
    return study, cell


def check(settings: Mapping[str, Any], track: Track) -> None:
    """Refuse what breaks a rule of the track.

    :raises UserError: saying which, in one line.
    """
    from bench.job import engine
    from bench.machine.devices import pick_device
    from ddpm.nets import classes_of

    _, cell = cell_of(settings, 20, 0)
    job, train = cell.job, cell.job.train
    if job.net == ORACLE or not train.epochs:
        raise UserError("nothing is trained: the race is about training")
    if classes_of(job.net):
        raise UserError(f"net {job.net} is told the labels: a run has the training images and nothing else")
    if train.images is not None and train.images > IMAGES:
        raise UserError(f"train.images is {train.images}, and there are {IMAGES} training images")
    if cell.packages:
        raise UserError(f"it uses rows of {listing(cell.packages)}: an entry's rows are to be in this repository")
    enough(track, cell.evaluations)
    chosen = str(settings.get("engine", DEFAULT))
    if chosen == engine.AUTO:
        raise UserError("an entry names its engine: with 'auto' two runs might not have the same")
    engine.check(chosen, pick_device(track.device))


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the cell says of itself, without defaults and without what changes nothing.

    :raises UserError: in one line, if they are none.
    """
    _, cell = cell_of(settings, 20, 0)
    job, sampling = (
        part.model_dump(mode="json", exclude_defaults=True, exclude={*FIXED, "sample_seed", "packages"})
        for part in (cell.job, cell.sampling)
    )
    train = job.pop("train")
    if train.get("images", 0) >= IMAGES:
        del train["images"]
    if cell.sampling.ema is None:  # snapshots are for nothing else
        train.pop("snapshots", None)
    chosen = {"engine": engine} if (engine := settings.get("engine", DEFAULT)) != DEFAULT else {}
    return {"train": train, **job, **sampling, **chosen}


def quick(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a try of seconds: two epochs of 128 images, two steps."""
    train = {**settings["train"], "epochs": min(2, settings["train"]["epochs"]), "images": 128, "batch_size": 32}
    return {**settings, "train": train, "sample_steps": min(2, settings["sample_steps"])}


def run(task: Task) -> Done:
    """Train, sample and score, from nothing.

    :raises UserError: if the job fails, with its reason.
    """
    from bench.execute.plan import make_options
    from bench.execute.run import run_study
    from bench.job.events import Ended

    study, cell = cell_of(task.settings, task.n, task.seed)
    store = Store(task.results)
    forget(cell, store)
    options = make_options(
        task.rules.device,
        workers=1,
        threads=task.rules.cores,
        engine_name=str(task.settings.get("engine", DEFAULT)),
        executor=EXECUTOR,
    )
    for event in run_study(study, store, options):
        if isinstance(event, Ended) and event.failures:
            reasons = [failure.reason for failure in event.failures]  # a teacher's comes with its student's
            if (why := next((reason for reason in reasons if reason.startswith("diverged")), None)) is None:
                raise UserError(f"a run failed: {reasons[0]}")
            return diverged(cell, store, why)
    return done(cell, store)


def diverged(cell: Cell, store: Store, reason: str) -> Done:
    """A run that gave no samples: it misses the target, and is the slowest."""
    jobs = [store.read(JobRecord, job.key) for job in (cell.job, cell.job.teacher) if job is not None]
    kept = [store.read(CellRecord, cell.key), *jobs]
    failed = next(record for record in kept if isinstance(record, FailedCell | FailedJob))
    return Done(run=Run(seed=cell.job.seed, diverged=reason), environment=failed.environment)


def forget(cell: Cell, store: Store) -> None:
    """Remove whatever is there of a cell: a run that was cut off starts anew, so that its time is of one piece.

    Locks stay: who holds one would not notice.
    """
    teacher = [cell.job.teacher.key] if cell.job.teacher else []
    for key in (cell.key, cell.job.key, *teacher):
        for path in store.root.glob(f"*/{key}*"):
            if path.parent.name != "locks":
                path.unlink()


def done(cell: Cell, store: Store) -> Done:
    """What a finished cell says of its run.

    :raises UserError: if part of it is missing.
    """
    scored, kept = store.read(CellRecord, cell.key), store.load_samples(cell.key)
    trained = list(_trained(cell.job, store))
    if not isinstance(scored, ScoredCell) or kept is None or not trained:
        raise UserError(f"results of a run are missing or damaged in {store.root}: run it again")
    images, about = kept
    apart: dict[str, float] = {}
    for record in trained:
        for used in record.harness:
            for stage, seconds in used.stages_s.items():
                if stage != "train":
                    apart[stage] = apart.get(stage, 0.0) + max(0.0, seconds)  # by a clock that may be set back
    epochs = [epoch for record in trained for epoch in record.epochs]
    judge = scored.provenance.classifier
    return Done(
        run=Run(
            seed=cell.job.seed,
            train_s=tuple(epoch.seconds for epoch in epochs),
            apart_s=apart,
            evaluations=cell.evaluations,
            images=sum(epoch.images for epoch in epochs),
            scores=chosen(scored.metrics, judge),
            samples_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        ),
        environment=scored.environment,
        provenance=scored.provenance,
        software={"training engine": trained[-1].engine.engine, "sampling engine": about.engine.engine},
    )


def chosen(metrics: Mapping[str, float], judge: str) -> dict[str, float]:
    """Of all metrics those that the rules are about: FID, and the other judges of the panel."""
    return {name: metrics[name] for name in ("fid", *panel("fid", judge)) if name in metrics}


def _trained(job: Job, store: Store) -> Iterator[TrainedJob]:
    """The record of a job's training, its teacher's first."""
    for one in (job.teacher, job):
        record = store.read(JobRecord, one.key) if one else None
        if isinstance(record, TrainedJob):
            yield record
