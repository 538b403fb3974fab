"""Ways to teach a network for few sampling steps: what each gives in how many steps."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import Results
from bench.report.blocks import Block, Cell, Column, Figure, heading, table, text
from bench.report.sections.common import headline_alone, medians_note, numbers, several_seeds
from bench.rows import entries
from bench.text import plural
from ddpm.spec import parse


def section(results: Results) -> Iterator[Block]:
    """FID by number of steps of each way to teach; nothing where a study has one, or one number of steps."""
    if results.done.empty or not {"teach", "sample_steps"} <= set(results.varying):
        return
    order = {name: i for i, name in enumerate(results.levels("teach"))}
    frame = results.settings.assign(order=results.settings["teach"].map(order))
    frame = frame.sort_values(["order", "sample_steps", "fid"], kind="stable")
    frame = frame.assign(taught=[_named(results, row) for _, row in frame.iterrows()])
    steps = sorted(frame["sample_steps"].unique().tolist())
    yield heading(2, "Taught for few steps")
    yield text(
        "A network can be taught for few sampling steps: by itself, or by another network. Rows that begin with "
        "“data” are plain diffusion training. The training time is in epochs of plain training, worked out from the "
        "number of evaluations. It includes that of a teacher.",
        headline_alone(results),
    )
    yield _figure(results, frame)
    yield _table(results, frame, steps)


def _named(results: Results, row: pd.Series) -> str:
    """The way to teach, and what else makes models of a study differ."""
    apart = [axis for axis in ("objective", "schedule", *results.extras) if axis in results.varying and axis != "teach"]
    if results.settings.groupby("teach")["net"].nunique().max() == 1:  # the way to teach says which network it is
        apart = [axis for axis in apart if axis != "net"]
    return ", ".join([str(row["teach"]), *(str(row[axis]) for axis in apart)])


def _figure(results: Results, frame: pd.DataFrame) -> Block:
    best = frame.drop_duplicates(["taught", "sample_steps"])  # it is sorted: the lowest FID of each comes first
    lines = best.rename(columns={"taught": "series", "sample_steps": "x", "fid": "y"})
    levels = {results.bounds[0]["fid"]: "floor"} if results.bounds else {}
    return Figure(
        name="taught",
        mark="lines",
        data={"lines": lines[["series", "x", "y"]].reset_index(drop=True)},
        caption=(
            "FID against the number of sampling steps, each with the sampler that suits it best."
            f"{medians_note(results)}",
        ),
        alt="FID against the number of sampling steps for each way to teach",
        options={
            "x": "sampling steps (log scale)", "y": "FID (log scale; lower is better)", "scale": "log", "marker": True,
            "plain": "measured", "levels": levels,
        },
    )  # fmt: skip


def _table(results: Results, frame: pd.DataFrame, steps: list[int]) -> Block:
    rows: list[list[Cell]] = []
    for (taught, method), part in frame.groupby(["taught", "method"], sort=False):
        fids = dict(zip(part["sample_steps"], part["fid"], strict=True))
        rows.append([str(taught), str(method), _cost(results, part.iloc[0]), *(fids.get(n) for n in steps)])
    every = [Column("taught by", "left"), Column("sampler", "left"), Column("training", format="two digits")]
    titles = [plural(n, "step") for n in steps]
    over = "medians over training seeds, " if several_seeds(results) else ""
    return table([*every, *numbers(*titles)], rows, f"FID ({over}a dash where there is no such cell):")


def _cost(results: Results, row: pd.Series) -> float | None:
    """A network's training in epochs of plain training, its teacher's included; None where its row is not here."""
    from ddpm.teach import make_teach  # which loads torch

    spec = parse(str(row["teach"]))
    return make_teach(spec).cost(results.study.train.of(spec).epochs) if spec.name in entries("teach") else None
