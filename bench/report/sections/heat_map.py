"""FID by objective and schedule."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import Results
from bench.report.blocks import Block, Figure, heading
from bench.report.sections.common import panels_note, with_panels

BEST = "best sampler and steps"


def section(results: Results) -> Iterator[Block]:
    """The best sampler and steps of each pair, and one sampling common to all; nothing where either does not vary.

    A panel needs two objectives and two schedules: another would be nearly empty, and the tables have its numbers.
    """
    if results.done.empty or not {"objective", "schedule"} <= set(results.varying):
        return
    every = with_panels(results, results.settings)
    both = every.groupby("panel", sort=False)[["objective", "schedule"]].transform("nunique").min(axis=1) > 1
    shown = every[both]
    if shown.empty:
        return
    fewer = " Combinations with one objective or one schedule are left out." if len(shown) < len(every) else ""
    best = _view(shown, BEST, sampling=True)
    views, sides = [best], ""
    if {"method", "sample_steps"} & set(results.varying):
        first = results.settings.iloc[0]
        fixed = (shown["method"] == first["method"]) & (shown["sample_steps"] == first["sample_steps"])
        name = f"{first['method']}, {int(first['sample_steps'])} steps"
        views.append(_view(shown[fixed], name, sampling=False))
        sides = (
            " Left: each pair with the sampler and the number of steps that suit it best. Right: all pairs with the "
            "sampler and the number of steps of the best cell."
        )
    yield heading(2, "Objective by schedule")
    yield Figure(
        name="heat-map",
        mark="heat map",
        data={"cells": pd.concat(views, ignore_index=True)},
        caption=(
            f"FID by objective and schedule. Lighter is better. Empty fields were not measured.{sides}"
            f"{fewer}{panels_note(results)}",
        ),
        alt="FID by objective and schedule as a heat map",
        options={
            "objectives": results.levels("objective"),
            "schedules": results.levels("schedule"),
            "range": (results.settings["fid"].min(), results.settings["fid"].max()),
        },
    )


def _view(frame: pd.DataFrame, name: str, *, sampling: bool) -> pd.DataFrame:
    """The best setting of each pair; the frame is sorted by FID within a panel."""
    best = frame.drop_duplicates(["panel", "objective", "schedule"])
    how = [f"{row['method']} {row['sample_steps']}" if sampling else "" for _, row in best.iterrows()]
    return best.assign(view=name, sampling=how)[["panel", "view", "objective", "schedule", "fid", "sampling", "key"]]
