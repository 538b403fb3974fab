"""The best setting, step by step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.analysis.frames import Results
from bench.images.whole import decoded
from bench.report.blocks import Block, Gallery, Picture, heading
from bench.report.formats import short
from bench.report.sections.common import several_seeds
from bench.text import listing, plural

IMAGES = 2
"""Samples of the strip that are shown."""


def section(results: Results) -> Iterator[Block]:
    """The denoising strip of the best setting that has one."""
    kept = ((key, results.preview(key, ".strip.png")) for key in results.settings.get("key", ()))
    key, png = next(((key, png) for key, png in kept if png is not None), (None, None))
    if png is None:
        return
    row = results.done[results.done["key"] == key].iloc[0]
    seed = f"training seed {row['seed']}: " if several_seeds(results) else ""
    times = _times(row)
    yield heading(2, "Denoising")
    yield Gallery(
        (Picture("denoising", _top(png, len(times)), f"Denoising at t = {listing(times)}",
                 across=tuple(f"t = {t}" for t in times)),),
        1,
        (f"Sampling, step by step: {results.model(row)}, {row['method']} in {plural(int(row['sample_steps']), 'step')} "
         f"({seed}FID {short(row['fid'])}). There are {IMAGES} samples. For each, the upper row is the noisy state "
         "x_t. The lower row is x̂₀, the clean image that the network predicts from it.",),
    )  # fmt: skip


def _times(row: Any) -> list[int]:
    """The times of the strip's columns, of a row of the table."""
    from bench.job.generate import strip_times
    from ddpm.schedule import make_schedule
    from ddpm.spacing import space

    schedule = make_schedule(row["schedule"], int(row["T"]))
    start = None if pd.isna(row["start"]) else float(row["start"])
    return strip_times(space(schedule, int(row["sample_steps"]), row["spacing"], start))


def _top(png: bytes, columns: int) -> bytes:
    """The first images of a strip, each a row of x_t above a row of x̂₀; at least a line of pixels."""
    picture, buffer = decoded(png), io.BytesIO()
    rows = min(2 * IMAGES, picture.height * columns // picture.width)
    top = picture.crop((0, 0, picture.width, max(1, rows * picture.width // columns)))
    top.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
