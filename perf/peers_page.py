"""The section on other libraries: quality against training time, time to a target, and rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import seaborn as sns

from bench.report.blocks import Block, Cell, CodeSpan, Column, Figure, Range, heading, table, text
from bench.report.formats import number, short
from bench.report.sections.common import numbers
from bench.score.judges import with_hash
from perf.record import claim

Record = dict[str, Any]
LIBRARIES = ("ours", "diffusers", "denoising-diffusion-pytorch")
"""Colours of the curves, in this order."""
MARKERS = ("D", "o", "s", "^", "v", "P")
LINES = {"ours": "", "documented": "--", "best": "-"}
"""A contender's role → its line."""


def section(record: Record) -> Iterator[Block]:
    """Everything that was measured of the peers."""
    judge = with_hash(record["setup"].get("classifier") or "")
    if judge is not None:
        yield text(
            "FID here is by the judge ", CodeSpan(judge.name), ". Do not compare it with FIDs of other judges.",
        )  # fmt: skip
    yield from _curves(record)
    yield heading(3, "After equal time")
    yield _equal_time(record)
    yield heading(3, "Time to the target")
    yield _time_to_target(record)
    yield text(
        "A peer was scored now and then. It reached the target between two scores, so its time is a range. ∞: not "
        "within its budget. Its ratio is then that of the budget, a lower bound."
    )
    yield heading(3, "Rates")
    yield _rates(record)
    yield _equal_network(record)
    yield heading(3, "The search for each peer's best size")
    yield _search(record)


def _times(record: Record) -> float:
    """How many times lower than noise's FID the target is."""
    return float(1 / record["setup"]["target"])


def _curves(record: Record) -> Iterator[Block]:
    palette = sns.color_palette("colorblind")
    points, styles = [], {}
    for i, about in enumerate(record["contenders"]):
        name = "ours" if about["role"] == "ours" else f"{about['library']}, {about['role']}"
        found = sorted((s["train_s"], s["fid"]) for run in record["runs"] if run["id"] == about["id"]
                       for s in run["snapshots"] if s["fid"] is not None)  # fmt: skip
        points += [{"series": name, "x": time, "y": fid} for time, fid in found]
        known = about["library"] in LIBRARIES
        styles[name] = {
            "color": palette[LIBRARIES.index(about["library"])] if known else "0.4",
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": LINES[about["role"]],
        }
    if not points:
        return
    target = max(bound["target"] for bound in record["bounds"].values())
    ceiling = max(bound["ceiling"] for bound in record["bounds"].values())
    yield Figure(
        name="peers",
        mark="lines",
        data={"lines": pd.DataFrame(points)},
        caption=(
            f"FID against training time, with {record['setup']['evaluations']} network evaluations an image. Each "
            "point of ours is a run of its own, because its learning rate falls to zero within the time. Each peer's "
            f"points are averaged weights along one run. The target is {_times(record):.0f} times lower than the FID "
            "of noise.",
        ),
        alt="FID against training time, ours and other libraries",
        options={
            "x": "training, seconds (log scale)", "y": "FID (log scale)", "height": 3.1, "scale": "log",
            "styles": styles, "levels": {target: f"target {target:.1f}", ceiling: "noise"}, "plain": True,
            "legend": "above",
        },
    )  # fmt: skip


def _label(record: Record, name: str) -> str:
    about = next(one for one in record["contenders"] if one["id"] == name)
    role = "" if about["role"] == "ours" else f", {about['role']}"
    return f"{about['library']}{role}: {about['label']}"


def _fid(value: float | None) -> Cell:
    return "not finite" if value is None else value


def _equal_time(record: Record) -> Block:
    rows = [
        [_label(record, row["id"]), row["train_s"], f"{row['n']:,}", _fid(row["fid"]), _fid(row["ours_at_n"]),
         row["ratio"]]
        for row in record["equal_time"]
    ]  # fmt: skip
    columns = [
        Column("", "left"), *numbers("training, s", "N", "FID", "ours at that N"), Column("ratio", format="fold"),
    ]  # fmt: skip
    return table(columns, rows)


def _time_to_target(record: Record) -> Block:
    rows: list[list[Cell]] = []
    for row in record["time_to_target"]:
        reached: Cell = "∞" if row["missed"] else row["seconds"]
        ratio = None if row["ratio"] is None else f"{'> ' if row['missed'] else ''}{short(row['ratio'])}×"
        if not row["missed"] and (least := _surely(record, row)) < row["ratio"] and row["id"] != "ours":
            reached, ratio = Range(row["seconds"] * least / row["ratio"], row["seconds"]), f"{short(least)}× to {ratio}"
        rows.append([_label(record, row["id"]), reached, row["budget_s"], ratio])
    durations = numbers("to the target", "budget", how="seconds")
    return table([Column("", "left"), *durations, *numbers("ours is faster by")], rows)


def _rates(record: Record) -> Block:
    rows = [
        [_label(record, row["id"]), row["train_images_per_s"], row["batch_size"], _raw(row["train_step_s"], 1000),
         row["sample_image_steps_per_s"], _raw(row["sample_s"])]
        for row in record["rates"]
    ]  # fmt: skip
    columns = [
        Column("", "left"), *numbers("training, images/s"), Column("batch", format="plain"),
        *numbers("raw, ms a step", "sampling, images·steps/s", "raw, s a batch"),
    ]  # fmt: skip
    return table(columns, rows)


def _raw(values: list[float], scale: float = 1.0) -> Range:
    """The extremes of raw samples."""
    return Range(scale * min(values), scale * max(values))


def _in_words(values: list[float]) -> str:
    return f"{number(min(values))}–{number(max(values))}"


def _equal_network(record: Record) -> Block:
    row = record["equal_network"]
    ours, theirs = (
        "not finite" if row[name] is None else short(row[name]) for name in ("ours_fid", "diffusers_fid")
    )  # fmt: skip
    return text(
        f"With one network ({row['label']}; batch {row['batch']}, {row['steps']} steps), our sampling does "
        f"{short(row['ours_image_steps_per_s'])} images·steps/s and diffusers' pipeline loop "
        f"{short(row['diffusers_image_steps_per_s'])}. That is {row['ratio']:.2f} times as many. Raw seconds: ours "
        f"{_in_words(row['ours_s'])}, diffusers {_in_words(row['diffusers_s'])}. FID of {row['fid_n']:,} images: ours "
        f"{ours}, diffusers {theirs}."
    )


def _search(record: Record) -> Block:
    rows = [
        [row["library"], row["label"], ", ".join(f"{k} {v}" for k, v in row["recipe"].items()), row["params"],
         row["train_s"], row["steps"], _fid(row["fid"]), "yes" if row["chosen"] else ""]
        for row in record["search"]
    ]  # fmt: skip
    columns = [
        *(Column(title, "left") for title in ("library", "size", "recipe")), Column("parameters", format="whole"),
        *numbers("training, s"), Column("steps", format="plain"), *numbers("FID"), Column("chosen", "left"),
    ]  # fmt: skip
    return table(columns, rows)


def _surely(record: Record, row: Record) -> float:
    """How many times ours a time to the target is at least: a run was scored now and then, and hit it in between."""
    if row["missed"]:
        return float(row["ratio"])
    scored = [one for run in record["runs"] if run["id"] == row["id"] for one in run["snapshots"]]
    missed = [one["train_s"] for one in scored if not one.get("hit") and one["train_s"] < row["seconds"]]
    before = max(missed, default=0.0)
    return float(row["ratio"] * before / row["seconds"])


def claims(record: Record) -> list[Record]:
    """The bars of the comparison with peers."""
    roles = {one["id"]: one["role"] for one in record["contenders"]}
    ratios = [row["ratio"] for row in record["equal_time"] if row["id"] != "ours" and row["ratio"] is not None]
    made = []
    if ratios:
        what = "FID after equal training time, how many times lower than the better peer's"
        made.append(claim(what, "≥ 10×", f"{short(min(ratios))}×", min(ratios) >= 10))
    for role, bar in (("best", 5), ("documented", 10)):
        rows = [row for row in record["time_to_target"] if roles[row["id"]] == role]
        known = [row for row in rows if row["ratio"] is not None]
        if rows and len(known) == len(rows):
            least = min(known, key=lambda row: row["ratio"])
            surely = _surely(record, least)
            most = f"{short(least['ratio'])}×"
            measured = f"> {most}" if least["missed"] else f"{short(surely)}× to {most}"
            target = f"an FID {_times(record):.0f} times lower than noise's"
            what = f"time to {target}, the faster peer's ({role} setting) over ours"
            made.append(claim(what, f"≥ {bar}×", measured, surely >= bar))
    ratio = record["equal_network"]["ratio"]
    what = "sampling with one network, ours over diffusers' loop"
    return [*made, claim(what, "≥ 1.5×", f"{ratio:.2f}×", ratio >= 1.5)]
