"""What the page's live part knows of a study: columns, training runs, pictures, as JSON that is safe inside HTML."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd

from bench.analysis.frames import AXES, Results
from bench.images.whole import decoded
from bench.report.web.elements import embedded
from bench.rows import entries
from bench.text import visible

ROOM = 3_000_000
"""Bytes of Base64 for pictures; where all of them do not fit, they are compressed, and the best cells' come first."""
QUALITY = 80
"""Of WebP, for the pictures of a study that is too large for those of the store."""
DIGITS = 6

TITLES = {
    "fid": "FID", "kid": "KID", "kid_se": "KID, s.e.", "sample_time": "s per 1,000 samples", "epoch_s": "s an epoch",
    "megabytes": "saved, MiB", "train_s": "training, s", "sample_s": "sampling, s", "bpd": "bound, bits/dim",
    "seed": "seed", "method": "sampler", "sample_steps": "steps", "n": "N", "peak_rss_mb": "peak memory, MB",
}  # fmt: skip
"""Column → its title, where that is not its name."""
FIRST = ("key", *AXES, "seed", "fid")
SHOWN = ("fid", "fid_classifier", "fid_texture", "kid", "precision", "recall", "sample_time")
"""Columns of numbers that a table shows at first."""
HIDDEN = {"study", "reason", "way", "role", "sampler", "clip"}
"""Columns that say again what others say."""
PROVENANCE = {
    "status",
    "device",
    "commit",
    "dirty",
    "code",
    "classifier",
    "job",
    "train_engine",
    "sample_engine",
    "key",
}
TIMES = {"epoch_s", "first_epoch_s", "train_s", "sample_s", "sample_time", "train_images_per_s", "sample_images_per_s",
         "params", "megabytes", "peak_rss_mb", "peak_device_mb", "train_flops_per_image",
         "forward_flops_per_image"}  # fmt: skip


class Column(TypedDict, total=False):
    """A column: its name and title, what it holds, and its values: one for all, or coded, or one a cell."""

    name: str
    title: str
    number: bool
    group: str
    better: str
    shown: bool
    constant: Any
    levels: list[str]
    values: list[Any]


class Data(TypedDict):
    """Everything that the live part knows."""

    study: str
    results: str
    columns: list[Column]
    axes: list[str]
    colours: dict[str, dict[str, list[str]]]
    jobs: dict[str, dict[str, Any]]
    train: dict[str, Any]
    pictures: dict[str, str]
    strips: dict[str, str]
    compressed: bool
    whole: bool
    floor: float | None


def data_of(results: Results, where: str) -> Data:
    """What a study's page knows.

    :param where: the results folder as a command names it.
    """
    cells = results.cells.sort_values("fid", kind="stable", na_position="last").reset_index(drop=True)
    axes = [axis for axis in AXES if cells[axis].nunique() > 1]
    pictures, strips, compressed, whole = _pictures(results, cells)
    return {
        "study": visible(results.study.name),
        "results": visible(where),
        "columns": list(columns_of(cells, axes)),
        "axes": axes,
        "colours": colours(results, axes),
        "jobs": {key: _job(job) for key, job in results.jobs.items()},
        "train": results.study.train.model_dump(mode="json"),
        "pictures": pictures,
        "strips": strips,
        "compressed": compressed,
        "whole": whole,
        "floor": results.bounds.floor["fid"] if results.bounds else None,
    }


def as_json(data: Data) -> str:
    r"""JSON that no HTML parser sees anything in: ``<``, ``>`` and ``&`` are codes."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return re.sub("[<>&]", lambda found: rf"\u{ord(found[0]):04x}", text)


def columns_of(cells: pd.DataFrame, axes: Iterable[str]) -> Iterator[Column]:
    """The columns that say something, the axes first; one that is the same for all cells has a single value."""
    metrics = entries("metric")
    every = [str(name) for name in cells]
    names = [*(name for name in FIRST if name in every), *(name for name in every if name not in FIRST)]
    for name in names:
        column = cells[name]
        if name in HIDDEN or column.isna().all():
            continue
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        row = metrics.get(name)
        made: Column = {
            "name": name,
            "title": TITLES.get(name) or AXES.get(name) or name.replace("_", " "),
            "number": number,
            "group": _group(name, row is not None),
            "shown": name in axes or name in SHOWN or name == "key" or (name == "seed" and column.nunique() > 1),
        }
        if row is not None and row.better:
            made["better"] = row.better
        yield made | _values(column, number)  # type: ignore[misc]


def _group(name: str, metric: bool) -> str:
    if metric or name.startswith(("fid", "kid")) or name.endswith(("bpd", "bpd_se", "_distance")):
        return "metrics"
    return "provenance" if name in PROVENANCE else "time and size" if name in TIMES else "configuration"


def _values(column: pd.Series, number: bool) -> dict[str, Any]:
    codes, different = pd.factorize(column, use_na_sentinel=False)
    said = [_number(value) if number else _text(value) for value in different]  # each once, of a large study's many
    levels = list(dict.fromkeys(said))
    if len(levels) == 1 and len(column) > 1:
        return {"constant": levels[0]}
    if number or len(levels) > len(column) / 2:
        return {"values": [said[code] for code in codes.tolist()]}
    place = {level: i for i, level in enumerate(levels)}
    places = [place[one] for one in said]
    return {"levels": levels, "values": [places[code] for code in codes.tolist()]}


def _number(value: Any) -> float | int | None:
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{value:.{DIGITS}g}")


def _text(value: Any) -> str:
    return "" if value is None or value != value else visible(str(value))


def colours(results: Results, axes: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Axis → level → colour and shape; objectives have those of every other figure."""
    import seaborn as sns

    from bench.report.marks.style import OBJECTIVE_STYLE

    palette = [str(tint) for tint in sns.color_palette("colorblind").as_hex()]
    order = (0, 1, 2, 4, 3, 9, 8, 5, 7, 6)
    found: dict[str, dict[str, list[str]]] = {}
    for axis in (*axes, "seed"):
        levels = dict.fromkeys(_text(level) for level in results.cells[axis].drop_duplicates())
        styles = [OBJECTIVE_STYLE[one][0] if axis == "objective" and one in OBJECTIVE_STYLE else order[i % len(order)]
                  for i, one in enumerate(levels)]  # fmt: skip
        found[axis] = {one: [palette[style], SHAPES[i % len(SHAPES)]]
                       for i, (one, style) in enumerate(zip(levels, styles, strict=True))}  # fmt: skip
    return found


SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "pentagon", "hexagon")


def _job(job: Any) -> dict[str, Any]:
    names = ("loss", "eps_mse", "x0_mse")
    return {
        "epochs": {name: [_number(getattr(epoch, name)) for epoch in job.epochs] for name in names},
        "images": sum(epoch.images for epoch in job.epochs),
    }


def _pictures(results: Results, cells: pd.DataFrame) -> tuple[dict[str, str], dict[str, str], bool, bool]:
    """The pictures that have room, of the first training seed first; were they compressed, and are these all."""
    names = _names(results.store.root / "cells")
    keys = [str(key) for key in cells.sort_values("seed", kind="stable")["key"] if f"{key}.png" in names]
    strips = [key for key in keys if f"{key}.strip.png" in names]
    files = [("", ".png", key) for key in keys] + [("strip ", ".strip.png", key) for key in strips]
    compress = _larger((results.store.path("cells", key, suffix) for _, suffix, key in files), ROOM * 3 / 4)
    made: dict[str, str] = {}
    room, whole = ROOM, True
    for kind, suffix, key in files:
        if room <= 0:
            whole = False
            break
        if (png := results.preview(key, suffix)) is None:
            continue
        text = _address(png, compress)
        room -= len(text)
        made[kind + key] = text
    return (
        {key: text for key, text in made.items() if not key.startswith("strip ")},
        {key.removeprefix("strip "): text for key, text in made.items() if key.startswith("strip ")},
        compress,
        whole,
    )


def _names(folder: Path) -> set[str]:
    """The pictures in a folder: one look at it, and not one at each of very many files."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.name.endswith(".png") and entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _larger(paths: Iterable[Path], most: float) -> bool:
    """Whether the files are larger together; no more of them are looked at than it takes to say so."""
    return any(size > most for size in itertools.accumulate(path.stat().st_size for path in paths))


def _address(png: bytes, compress: bool) -> str:
    if not compress:
        return embedded(png)
    buffer = io.BytesIO()
    picture = decoded(png)
    picture.convert("RGB" if picture.mode not in ("L", "RGB") else picture.mode).save(buffer, "WEBP", quality=QUALITY)
    return embedded(buffer.getvalue(), "webp")
