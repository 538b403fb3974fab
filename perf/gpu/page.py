"""The section "On a GPU" of the page on speed, from the files that :mod:`perf.gpu` writes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import ValidationError

from bench import UserError
from bench.report.document import Pictures, escape, grid, paragraphs
from bench.report.figures import short
from perf.gpu.record import DONE, Row, Run, Section, Value

PREFIX = "gpu-"
NOBODY = (
    "Nobody has measured it yet. `make gpu` does, in eight minutes, on any machine with a CUDA card; "
    "[docs/gpu.md](../../docs/gpu.md) says how on a bare one."
)


class Column(NamedTuple):
    """A column of a section's table: its title, the figure's name, and what it is multiplied by and followed by."""

    title: str
    name: str
    times: float = 1.0
    unit: str = ""


STEP = Column("ms a step", "step_s", 1000)
IMAGES = Column("images/s", "images_per_s")
SHARES = (Column("of matmul", "share_of_matmul", 100, "%"), Column("of conv3x3", "share_of_conv3x3", 100, "%"))
DRAWN = Column("images·steps/s", "image_steps_per_s")
PEAK = Column("peak, MB", "peak_mb")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "card": (Column("G operations or bytes/s", "rate", 1e-9),),
    "scorenet": (Column("an epoch, s", "epoch_s"), STEP, IMAGES, *SHARES, Column("first step, s", "first_s"), PEAK),
    "unet": (
        STEP, Column("network alone, ms", "network_s", 1000), IMAGES, *SHARES, Column("kernels", "kernels"),
        Column("launches", "launches"), Column("idle", "idle", 100, "%"), Column("first step, s", "first_s"), PEAK,
    ),
    "sampling": (
        STEP, DRAWN, Column("beside the network", "beside_the_network", 100, "%"), *SHARES,
        Column("first, s", "first_s"), PEAK,
    ),
    "quick": (
        Column("s in all", "wall_s"), Column("training, s", "train_s"), Column("sampling, s", "sample_s"),
        Column("FID", "fid"), Column("check: value", "value"), Column("limit", "limit"),
    ),
    "peers": (STEP, IMAGES, DRAWN, Column("parameters", "params"), PEAK),
    "scoring": (IMAGES, Column("s", "seconds")),
    "demo": (
        Column("epochs", "epochs"), Column("FID", "fid"), Column("confidence", "confidence"),
        Column("of noise", "fid_ceiling"), Column("sampling, s", "sample_s"), Column("training, s", "train_s"),
    ),
}  # fmt: skip
"""What the page shows of each section; the file has more, raw samples first."""

NOTES = {
    "scorenet": "The demo that this project started from states around 20 s an epoch, on a GPU that it does not name.",
    "quick": "In the gate's rows the value is the difference from the baseline, which was made on a CPU; the limit is "
    "the most that rounding does.",
    "demo": "FID is of 1,000 samples after as many epochs as there was time for.",
}


def sections(
    found: Mapping[str, Mapping[str, Any]], folder: Path, pictures: Pictures
) -> Iterator[tuple[str, str, str]]:
    """(title, text, name) for every card that was measured; one without a name that says so where none was.

    :param found: name → the content of a file.
    :param folder: where the files are, the pictures in folders beside them.
    :raises UserError: for a file that is none of these.
    """
    cards = [name for name in found if name.startswith(PREFIX)]
    if not cards:
        yield "On a GPU", NOBODY, ""
    for name in cards:
        try:
            run = Run.model_validate(found[name])
        except ValidationError as error:
            raise UserError(f"{name}.json is not a file of `python -m perf.gpu`: {error.errors()[0]['msg']}") from error
        card = run.environment["gpu"] or f"{run.environment['processor']}, no GPU: only a try-out"
        yield f"On a GPU: {escape(card)}", text(run, folder, pictures), name


def text(run: Run, folder: Path, pictures: Pictures) -> str:
    """Everything that was measured on a card."""
    about = (
        f"Measured in at most {run.minutes:g} minutes, seed {run.seed}. Driver {run.environment.get('driver') or '–'}, "
        f"CUDA {run.environment.get('cuda') or '–'}. Medians; the raw samples are in the file. Shares are of the "
        "card's own rate in the same run, at the same number format. A step is idle while no kernel runs."
    )
    return paragraphs(
        escape(about), *(part for section in run.sections for part in _section(run, section, folder, pictures))
    )


def _section(run: Run, section: Section, folder: Path, pictures: Pictures) -> Iterator[str]:
    yield f"### {escape(section.title)}"
    if section.status != DONE:
        yield f"*{section.status}{f': {escape(section.reason)}' if section.reason else ''}.*"
    yield _table(section)
    if section.rows:
        yield NOTES.get(section.name, "")
    yield from _grids(run, section, folder, pictures)
    missing = [f"- {escape(row.name)}: {row.status}, {escape(row.reason or 'no reason given')}" for row in section.rows
               if row.status != DONE]  # fmt: skip
    if missing:
        yield "\n".join(missing)


def _table(section: Section) -> str:
    """The rows that have any of the section's figures, and of its columns those that have any."""
    columns = [
        one for one in COLUMNS.get(section.name, ()) if any(row.found.get(one.name) is not None for row in section.rows)
    ]
    rows = [row for row in section.rows if any(row.found.get(one.name) is not None for one in columns)]
    cells = [[escape(row.name), *(_shown(row, one) for one in columns)] for row in rows]
    return grid(["<", *(one.title for one in columns)], cells) if cells else ""


def _shown(row: Row, column: Column) -> str:
    value: Value = row.found.get(column.name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else escape(value)
    return f"{short(value * column.times)}{column.unit}" if value else "0"


def _grids(run: Run, section: Section, folder: Path, pictures: Pictures) -> Iterator[str]:
    """The samples of the demo's models, those of one T side by side, at their own resolution."""
    drawn = [row for row in section.rows if "picture" in row.found]
    for T in dict.fromkeys(row.at["T"] for row in drawn):
        same = [row for row in drawn if row.at["T"] == T and (folder / str(row.found["picture"])).is_file()]
        if not same:
            continue
        path = f"figures/{run.name}-T{T}.png"
        pictures.count += 1
        pictures.drawn[path] = beside([folder / str(row.found["picture"]) for row in same])
        each = "; ".join(
            f"{row.at['objective']}, {'clipped' if row.at['clip'] == 'True' else 'unclipped'}" for row in same
        )
        yield f"![Samples, T = {T}]({path})\n\n*Figure {pictures.count}. T = {T}, from left to right: {escape(each)}.*"


def beside(paths: list[Path], gap: int = 8) -> bytes:
    """Grey pictures of one height in a row, as one PNG."""
    images = [np.asarray(Image.open(path).convert("L")) for path in paths]
    between = np.full((images[0].shape[0], gap), 255, np.uint8)
    parts = [part for image in images for part in (image, between)][:-1]
    buffer = io.BytesIO()
    Image.fromarray(np.hstack(parts)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
