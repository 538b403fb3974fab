"""Epochs, sampling, memory and size."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.analysis.estimates import past
from bench.analysis.frames import MODEL_AXES, TIMED_BY, Results
from bench.report.blocks import Block, Cell, Column, Figure, Strong, heading, table, text
from bench.report.formats import span_of
from bench.report.sections.common import (
    MODEL,
    MOST_ROWS,
    any_time,
    axis_cells,
    axis_columns,
    axis_names,
    engines_note,
    filled,
    left_out,
    methods_note,
    numbers,
    shared_note,
    timed_on,
)
from bench.text import listing, plural

MOST_MODELS = 30
"""Models by whole name in the figure; more than that are called by network and objective."""
MOST_BATCHES = 200
"""Batches of a sampler and number of steps that are drawn."""


def section(results: Results) -> Iterator[Block]:
    """Durations as a figure and tables; nothing where nothing has run."""
    if not results.jobs:
        return
    yield heading(2, "Time, memory and size")
    models = results.trained
    if models.empty:
        yield text("Nothing was trained.")
    else:
        yield text(*_how_to_read(results))
    if shared_note(results):
        yield text(shared_note(results))
    if engines_note(results):
        yield text(Strong(engines_note(results)))
    if len(timed_on(results)) > 1:
        yield text(Strong("These durations come from more than one kind of machine. Not all can be compared."))
    if len(models):
        yield from _training(results, models)
    yield from _rates(results)
    if len(models):
        yield _sizes(results)
    yield from _estimates(results)


def _how_to_read(results: Results) -> Iterator[str]:
    """What durations, rates and sizes are, as far as there are any."""
    if any_time(results):
        yield (
            f"Measured on {listing(timed_on(results))}. The duration of an epoch is the median of all but the first of "
            "each process, which also warms up. Where there is only one, it is that one. GFLOP/s is images per second "
            "times the FLOPs of a training step. "
        )
    yield "FLOPs are per image, two for each multiply-add."
    if "teach" in results.varying:
        yield " They are of one plain training step. Teaching needs more evaluations, which are not counted."


def _training(results: Results, models: pd.DataFrame) -> Iterator[Block]:
    if any_time(results):
        yield _figure(results)
    many = models["seed"].nunique() > 1
    device = bool(models["peak_device_mb"].notna().any())
    axes = axis_names(results, MODEL_AXES, MODEL)
    columns = [
        *axis_columns(axes), *([Column("training seed", format="plain")] if many else []),
        *numbers("first epoch, s", "epoch, s", "range, s"), Column("training", format="seconds"),
        *numbers("images/s", "GFLOP/s", "peak of the process, MB", *(["peak of the device, MB"] * device)),
    ]  # fmt: skip
    alone = results.epochs[results.epochs["exclusive"].astype(bool) & results.epochs["warm"].astype(bool)]
    epochs = {job: list(part["seconds"]) for job, part in alone.groupby("job")}
    rows = [
        [
            *axis_cells(axes, row),
            *([int(row["seed"])] if many else []),
            *_durations(row, epochs.get(row["job"], []), device),
        ]
        for _, row in models.head(MOST_ROWS).iterrows()
    ]
    yield filled(columns, rows)
    yield from left_out(results, len(models), "training runs")


def _durations(row: Any, epochs: list[float], device: bool) -> list[Cell]:
    rate = row["train_images_per_s"]
    return [
        row["first_epoch_s"], row["epoch_s"], span_of(epochs) if len(epochs) > 1 else None, row["train_s"], rate,
        rate * row["train_flops_per_image"] / 1e9, row["peak_rss_mb"], *([row["peak_device_mb"]] if device else []),
    ]  # fmt: skip


def _figure(results: Results) -> Block:
    epochs, batches = results.epochs[results.epochs["exclusive"].astype(bool)], results.batches
    models = epochs.assign(model=[results.model(row) for _, row in epochs.iterrows()])
    if models["model"].nunique() > MOST_MODELS:
        models["model"] = [f"{row['net']}, {row['objective']}" for _, row in models.iterrows()]
    by = ["method", "sample_steps"]
    shown = batches[batches["method"].isin(results.methods)]
    groups = shown.groupby(by, sort=False, observed=True)
    thin = [part.iloc[_thinned(part["per_1000"])].astype({"method": str}) for _, part in groups]
    drawn = pd.concat(thin, ignore_index=True) if thin else shown.astype({"method": str})
    medians = shown.groupby(by, observed=True)["per_1000"].median().reset_index().astype({"method": str})
    thinned = len(drawn) < len(shown)
    return Figure(
        name="durations",
        mark="durations",
        data={
            "epochs": models[["model", "objective", "seed", "epoch", "seconds", "warm"]].reset_index(drop=True),
            "batches": drawn[[*by, "per_1000"]],
            "medians": medians,
        },
        caption=(
            "Raw durations. Training: every epoch of every model. The hollow marker is the first epoch of a process. "
            "Sampling: every batch but the first of each cell, as seconds per 1,000 images, with medians joined."
            + (" Of very many batches only evenly spread ones are drawn." if thinned else "")
            + methods_note(results),
        ),
        alt="Durations of every epoch and of every batch of samples",
        options={"methods": results.methods},
    )


def _thinned(values: pd.Series) -> list[int]:
    """Places of about as many values as can be told apart, evenly spread in order, the extremes among them."""
    order = values.to_numpy().argsort(kind="stable")
    if len(order) <= MOST_BATCHES:
        return list(range(len(order)))
    return [*order[:: len(order) // MOST_BATCHES], order[-1]]


def _rates(results: Results) -> Iterator[Block]:
    """Sampling times by network, sampler and steps."""
    batches = results.batches
    if batches.empty:
        return
    by = [axis for axis in TIMED_BY if axis != "net" or "net" in results.varying]
    order = {axis: results.levels(axis).index for axis in by}
    takes = results.done.groupby(["method", "sample_steps"])["evaluations"].first()
    groups: Any = batches.groupby(by, sort=False, observed=True)["per_1000"]
    rows: list[list[Cell]] = []
    for key, part in sorted(groups, key=lambda item: [order[axis](at) for axis, at in zip(by, item[0], strict=True)]):
        median = part.median()
        rate = 1000 / median
        levels = axis_cells(by, dict(zip(by, key, strict=True)))
        rows.append([*levels, median, span_of(list(part)), rate, rate * takes[key[-2:]], len(part)])
    titles = numbers("s per 1,000 images", "range, s", "images/s", "network evaluations/s")
    yield table([*axis_columns(by), *titles, Column("batches", format="plain")], rows)


def _sizes(results: Results) -> Block:
    columns = [
        Column("network", "left"), *numbers("parameters", "trained", how="whole"),
        Column("saved, MB", format="three decimals"), *numbers("FLOPs, forward", "FLOPs, training", how="prefix"),
    ]  # fmt: skip
    megabytes = results.networks["megabytes"] * 2**20 / 1e6  # records have MiB
    return table(columns, results.networks.assign(megabytes=megabytes).itertuples(index=False, name=None))


def _estimates(results: Results) -> Iterator[Block]:
    """What ``ddpm-bench plan`` expected of the jobs against what they took."""
    runs = past(results.jobs.values())
    if not runs:
        return
    worst = max(runs, key=lambda run: run.error)
    expected, taken = sum(run.estimate_s for run in runs), sum(run.wall_s for run in runs)
    yield text(
        f"Before a job runs, its duration is estimated from earlier jobs, start and scoring included. Of "
        f"{plural(len(runs), 'job')} that had an estimate, and the device alone, the "
        f"median error was {statistics.median(run.error for run in runs):.0%}."
    )
    rows: list[list[Cell]] = [
        [f"farthest off: {worst.label}", worst.estimate_s, worst.wall_s, worst.estimate_s / worst.wall_s - 1],
        [f"all {len(runs)} together", expected, taken, expected / taken - 1],
    ]
    durations = numbers("estimate", "measured", how="seconds")
    yield table([Column("runs", "left"), *durations, Column("error", format="signed percent")], rows)
