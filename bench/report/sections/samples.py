"""Pictures of every trained model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bench.analysis.frames import MODEL_AXES, Results
from bench.report.blocks import Block, Gallery, Picture, heading
from bench.report.formats import short
from bench.report.sections.common import of_classes, several_seeds
from bench.text import plural

MOST_ROWS, COLUMNS = 12, 3
LONGEST_NAME = 80


def section(results: Results) -> Iterator[Block]:
    """Each model's first samples, side by side; nothing where no picture was kept."""
    if results.done.empty:
        return
    rows = _rows(results)
    count = len(rows)
    if count > MOST_ROWS:
        rows = sorted(rows, key=lambda row: _lowest(results, row))[:MOST_ROWS]
    models = [model for row in rows for model in row]
    pictures = tuple(_picture(results, model, i) for i, model in enumerate(models, 1))
    if not any(picture and picture.png for picture in pictures):
        return
    yield heading(2, "Samples")
    which = "every trained model" if count <= MOST_ROWS else (
        f"the trained models in the best {MOST_ROWS} of {count:,} rows of models"
    )  # fmt: skip
    seed = f", training seed {results.seeds[0]}" if several_seeds(results) else ""
    yield Gallery(
        pictures,
        max(len(row) for row in rows),
        (
            f"The first 64 samples of {which}, not selected. Each model is shown by its best cell{seed}. All start "
            "from the same noise.",
        ),
    )  # fmt: skip


def _rows(results: Results) -> list[list[Any]]:
    """Every trained model, None for gaps: columns are objectives, rows everything else about the model.

    One after the other where there are more objectives than have room, or mostly gaps.
    """
    models = results.shown.drop_duplicates(list(MODEL_AXES))
    objectives = results.levels("objective")
    groups = [part for _, part in models.groupby([*results.extras, "schedule"], sort=False)]
    if 1 < len(objectives) <= COLUMNS and 2 * len(models) > len(objectives) * len(groups):
        found = [{row["objective"]: row for _, row in part[::-1].iterrows()} for part in groups]
        return [[of.get(objective) for objective in objectives] for of in found]
    flat = [row for _, row in models.iterrows()]
    return [flat[i : i + COLUMNS] for i in range(0, len(flat), COLUMNS)]


def _lowest(results: Results, row: list[Any]) -> float:
    """The FID of the best cell of a row of models."""
    cells = [results.best_of(model) for model in row if model is not None]
    return min((float(cell["fid"]) for cell in cells if cell is not None), default=float("inf"))


def _picture(results: Results, model: Any, number: int) -> Picture | None:
    """One model's samples, with its name and the scores of the best of its cells."""
    if model is None:
        return None
    best, title = results.best_of(model), results.model(model)
    slug = re.sub(r"[^\w.]+", "-", title, flags=re.ASCII).strip("-.")[:LONGEST_NAME]
    name = f"samples-{number:02}-{slug}"
    if best is None:
        return Picture(name, None, "", (title,), ("not scored",))
    png = results.preview(best["key"])
    scores = f"{best['method']}, {plural(int(best['sample_steps']), 'step')}: FID {short(best['fid'])}"
    scores += "".join(f", conf. {best[name]:.3f}" for name in of_classes(results, "confidence"))
    if png is None:
        return Picture(name, None, "", (title,), (f"{scores} (no picture kept)",))
    return Picture(name, png, f"Samples of {title}", (title,), (scores,))
