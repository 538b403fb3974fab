"""What the harness itself does on the device, a process for each job: ``quick``, the gate, and the demo's models."""

from __future__ import annotations

import statistics
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.gate import change
from bench.gate.subject import Subject
from bench.gate.verdicts import PASS
from bench.job import engine
from bench.job.events import CellDone, Event, Failed, JobDone, Refused
from bench.job.generate import TILE
from bench.score.reference import SUBSET
from bench.store.records import CellRecord, FailedCell, JobRecord, ScoredCell, TrainedJob
from bench.study import load
from bench.study.model import Cell
from bench.study.study import Study
from perf.gpu import sampling, scoring, training
from perf.gpu.budget import scale
from perf.gpu.record import Row, Value
from perf.gpu.session import Found, Session

REFERENCE_IMAGES = 60_000
START_S, CUDA_START_S = 3.0, 6.0
SCORE_S = 1.5
CHECK_S, CHECK_IMAGES = 30.0, 3_000
"""Guesses: seconds to start a job, to score a cell and to sample for the gate, and images that the gate looks at."""
LEAST_N = 20
DEMO = Path(__file__).parent / "demo.yaml"


# A study, an event at a time


def rows_of(session: Session, chosen: Study, engine_name: str, prefix: str, grids: bool = False) -> Generator[Row]:
    """Run a study in the session's scratch folder: a row for every cell and for every training run, as they come.

    :param grids: whether the pictures of samples are kept.
    """
    cells = {cell.key: cell for cell in chosen.cells}
    options = Options(device=str(session.device), engine=engine_name)
    with closing(cast("Generator[Event]", run_study(chosen, session.store, options))) as events:
        for event in events:
            if isinstance(event, CellDone):
                yield _cell(session, cells[event.cell], prefix, grids)
            elif isinstance(event, JobDone):
                yield _job(session, chosen.jobs[event.job], prefix)
            elif isinstance(event, Failed | Refused):
                yield Row(name=f"{prefix}, {event.label}", status="failed", reason=event.reason)


def _cell(session: Session, cell: Cell, prefix: str, grids: bool) -> Row:
    """What the store holds of a cell that was just done, or why it failed."""
    at = _at(cell) | {
        "sampler": str(cell.sampling.sampler),
        "steps": cell.sampling.sample_steps,
        "clip": str(cell.sampling.clip),
        "n": cell.n,
    }
    name = f"{prefix}, {cell.job.label}, {cell.label}"
    record = session.store.read(CellRecord, cell.key)
    if not isinstance(record, ScoredCell):
        return Row(
            name=name, at=at, status="failed", reason=record.reason if isinstance(record, FailedCell) else "no record"
        )
    drawn = record.sampling
    seconds = sum(drawn.batch_s)
    found: Found = {name: record.metrics.get(name) for name in ("fid", "confidence", "class_balance", "recall")}
    found |= {"fid_floor": record.floor["fid"], "fid_ceiling": record.ceiling["fid"]}
    found |= {
        "sample_s": seconds,
        "image_steps_per_s": cell.n * cell.evaluations / seconds if seconds else None,
        "engine": drawn.engine.engine,
        "peak_mb": drawn.peak_device_mb,
        "epochs": cell.job.train.epochs,
    }
    picture = session.store.path("cells", cell.key, ".png")
    if grids and picture.is_file():
        kept = f"{cell.job.objective}-T{cell.job.T}-{'clipped' if cell.sampling.clip else 'unclipped'}"
        found["picture"] = session.file.picture(kept, picture.read_bytes())
    return Row(name=name, at=at, found=found, raw={"batch_seconds": list(drawn.batch_s)})


def _job(session: Session, cells: list[Cell], prefix: str) -> Row:
    """A training run that was just done: its epochs, its stages, and what of its time was the harness's own."""
    job = cells[0].job
    record = session.store.read(JobRecord, job.key)
    if not isinstance(record, TrainedJob):
        return Row(name=f"{prefix}, {job.label}", status="failed", reason="no record")
    run = record.harness[-1]
    epochs = [epoch.seconds for epoch in record.epochs]
    found: Found = {
        "wall_s": run.wall_s,
        "overhead": run.overhead,
        "train_s": sum(epochs),
        "epoch_s": statistics.median(epochs),
        "images": record.epochs[-1].images,
        "epochs": len(epochs),
        "engine": record.engine.engine,
        "peak_mb": record.peak_device_mb,
    }
    found |= {f"stage {name}": seconds for name, seconds in run.stages_s.items()}
    return Row(name=f"{prefix}, {job.label}", at=_at(cells[0]), found=found, raw={"epoch_seconds": epochs})


def _at(cell: Cell) -> dict[str, Value]:
    job = cell.job
    return {
        "net": str(job.net),
        "objective": str(job.objective),
        "schedule": str(job.schedule),
        "T": job.T,
        "seed": job.seed,
    }


# What a study would take


@dataclass(frozen=True)
class Pace:
    """What is known of the device: seconds to start a job, of the reference, a training image, and an evaluation."""

    start_s: float
    reference_s: float
    image_s: float
    evaluation_s: float

    def sampling_s(self, cells: list[Cell]) -> float:
        """Drawing and scoring these cells."""
        return sum(cell.n * cell.evaluations * self.evaluation_s + SCORE_S * cell.n / 2_000 for cell in cells)

    def seconds(self, chosen: Study) -> float:
        """A whole study, the reference left out."""
        train = chosen.train.epochs * (chosen.train.images or REFERENCE_IMAGES) * self.image_s
        return len(chosen.jobs) * (self.start_s + train) + self.sampling_s(chosen.cells)


def pace(session: Session, net: str, train: Row | None, sample: Row | None, compiling: float = 0.0) -> Pace:
    """From the rows of earlier sections; what they lack is taken from a step and a tile now.

    :param train: a row with ``images_per_s``.
    :param sample: a row with ``image_steps_per_s``.
    :param compiling: seconds that each job compiles for.
    """
    batch, tile = 64, TILE[session.device.type]
    rate, drawn = (row.found.get(name) if row else None for row, name in
                   ((train, "images_per_s"), (sample, "image_steps_per_s")))  # fmt: skip
    if not isinstance(rate, float):
        step, _ = training.stepper(session, training.make_trainer(session, net, batch, {}), "eager")
        rate = batch / session.timed(step, most_calls=3).median
    if not isinstance(drawn, float):
        drawn = tile / sampling.evaluation_s(session, net, "eager", tile)
    reference = reference_s(session)
    start = (CUDA_START_S if session.cuda else START_S) + compiling
    return Pace(start, reference, 1 / rate, 1 / drawn)


def reference_s(session: Session) -> float:
    """What the features of some training images will take; nothing once a job has made them."""
    known = session.store.path("scoring", "", "").is_dir()
    return 0.0 if known else 1.3 * SUBSET / scoring.images_per_s(session)


# quick, and the gate


def one_seed() -> Study:
    """``quick`` with its first training seed."""
    whole = load.load("quick")
    return altered(whole, axes=whole.axes.model_copy(update={"seed": whole.axes.seed[:1]}))


def altered(chosen: Study, **fields: Any) -> Study:
    """The study with some fields replaced, expanded anew."""
    content = {name: getattr(chosen, name) for name in type(chosen).model_fields} | fields
    return Study.model_validate({name: _plain(value) for name, value in content.items()})


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


def shrunk(chosen: Study, share: float) -> Study:
    """The study with about that share of its training images and samples; as it is, for a share of 1 or more."""
    if share >= 1:
        return chosen
    train, n = chosen.train, chosen.score.n
    images = max(train.batch_size, int((train.images or REFERENCE_IMAGES) * share))
    return altered(
        chosen,
        train=train.model_copy(update={"images": images}),
        score=chosen.score.model_copy(update={"n": max(LEAST_N, int(n * share))}),
    )


def quick(session: Session) -> Generator[Row]:
    """``quick`` with one training seed, by the real harness; then the gate's baseline, on the device."""
    chosen = one_seed()
    name = "quick"
    try:
        eager: dict[str, Value] = {"net": session.sizes.net, "engine": "eager"}
        train = session.best("unet", "step_s", **eager)
        sample = session.best("sampling", "step_s", **eager, tile=session.sizes.tiles[0])
        known = pace(session, session.sizes.net, train, sample)
        left = 0.7 * session.budget.left() - known.reference_s
        least = shrunk(chosen, 1e-6)
        session.budget.need(known.reference_s + known.seconds(least) / len(least.jobs), "the smallest job")
        share = left / known.seconds(chosen)
        fitted = shrunk(chosen, share)
        found: Found = {"expected_s": known.reference_s + known.seconds(fitted), "whole": fitted is chosen}
        yield Row(name=f"{name}, as planned", found=found | {"images": fitted.train.images, "n": fitted.score.n})
        yield from _whole(session, fitted, name)
    except Exception as error:
        yield session.refused(name, error)
    yield from check(session)


def _whole(session: Session, chosen: Study, prefix: str) -> Generator[Row]:
    """A study's rows, and one of all its training runs together."""
    wall: list[float] = []
    stages: Found = {}
    for row in rows_of(session, chosen, engine.AUTO, prefix):
        yield row
        if isinstance(seconds := row.found.get("wall_s"), float):
            wall.append(seconds)
            for name, value in row.found.items():
                if name.startswith("stage ") and isinstance(value, float):
                    stages[name] = value + float(str(stages.get(name, 0.0)))
    found: Found = {"wall_s": sum(wall), "jobs": len(wall), "of": len(chosen.jobs), "cells": len(chosen.cells)}
    yield Row(name=f"{prefix}, together", found=found | stages, raw={"wall_seconds": wall})


def check(session: Session) -> Generator[Row]:
    """Images and scores of the gate's baseline, made on a CPU, against this device's, in float32.

    Its formulas are worked out on the CPU, and its training runs draw other random numbers on another device: both are
    left out.
    """
    passed: list[bool] = []
    try:
        session.budget.need(CHECK_S + CHECK_IMAGES / scoring.images_per_s(session), "the gate")
        baseline, weights = change.read()
        with Subject(weights, session.images, session.device) as subject:
            for part in ("images ", "score "):
                for outcome in change.check(subject, baseline, part):
                    passed.append(outcome.verdict == PASS)
                    found: Found = {"verdict": outcome.verdict, "value": outcome.value, "limit": outcome.limit}
                    yield Row(name=f"check, {outcome.name}", found=found | {"note": outcome.note})
    except Exception as error:
        yield session.refused("check", error)
    if passed:
        yield Row(name="check, together", found={"passed": sum(passed), "of": len(passed)})


# The demo's models


def demo(session: Session) -> Generator[Row]:
    """The demo's two models at each T, both with as many epochs as fit; T = 1,000 first, with most of the time.

    In float32: a less exact network could not show whether ``previous`` gives digits, which hangs on rounding.
    """
    whole = load.load(str(DEMO))
    epoch = session.best("scorenet", "epoch_s", **_exact(session))
    name = str(epoch.at["engine"]) if epoch else "eager"
    for i, T in enumerate(whole.axes.T):
        axes = whole.axes.model_copy(update={"T": [T], "sample_steps": [T], "net": [session.sizes.demo_net]})
        pair = altered(whole, axes=axes, exclude=[], train=whole.train.model_copy(update={"epochs": 1}))
        prefix = f"demo, T = {T}"
        try:
            sample = session.best("sampling", "step_s", net=session.sizes.demo_net)
            compiling = sum(session.compile_s.values()) if name != "eager" else 0.0
            known = pace(session, session.sizes.demo_net, epoch, sample, compiling)
            share = 0.65 if i + 1 < len(whole.axes.T) else 0.95
            epochs = epochs_for(known, pair, share * session.budget.left(), session.sizes.demo_epochs)
            if epochs < 1:
                wanted = known.reference_s + known.seconds(pair)
                session.budget.need(wanted / share, "one epoch of both models")
            fitted = altered(pair, train=pair.train.model_copy(update={"epochs": max(1, epochs)}))
            yield Row(name=f"{prefix}, as planned", found={"epochs": fitted.train.epochs, "engine": name})
            yield from rows_of(session, fitted, name, prefix, grids=True)
        except Exception as error:
            yield session.refused(prefix, error)


def _exact(session: Session) -> dict[str, Value]:
    """The fastest engine in float32, as settings of a row."""
    names = session.engines(("float32",))
    rows = [row for name in names if (row := session.best("scorenet", "epoch_s", engine=name))]
    fastest = min(rows, key=lambda row: float(str(row.found["epoch_s"])), default=None)
    return {"engine": fastest.at["engine"]} if fastest else {"engine": "eager"}


def epochs_for(known: Pace, pair: Study, allowed_s: float, most: int) -> int:
    """How many epochs of a study planned for one fit into that time; 0 if not even one does."""
    once = len(pair.jobs) * REFERENCE_IMAGES * known.image_s * 1.1
    fixed = known.reference_s + known.seconds(pair) - once / 1.1
    return scale(once, most, allowed_s - fixed, least=0)
