"""Writing the page of what follows from the formulas alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import UserError
from bench.images import datasets
from bench.report.write import write_files
from bench.rows import known, read
from bench.theory.page import compose
from ddpm.schedule import SCHEDULES, make_schedule


def write(
    out: Path, schedules: Sequence[str] = (), *, T: int = 1000, dataset: str = "mnist", data_dir: Path | None = None
) -> None:
    """Write ``report.md``, ``report.pdf`` and their figures to ``out``.

    :param schedules: the ones to show, as a study names them; all if none are given.
    :raises UserError: for an unknown data set or schedule.
    """
    dataset = datasets.named(dataset)
    shown = _checked(list(schedules) or list(SCHEDULES), T)
    pixels = datasets.to_float(datasets.load(dataset, data_dir).train).double()
    moments = float(pixels.mean()), float(pixels.std())
    write_files(out, list(compose(dataset, moments, shown, T)))


def _checked(schedules: Sequence[str], T: int) -> list[str]:
    """The schedules' own spelling; the first must be defined at this T, since weights are shown on it."""
    try:
        found = [read("schedule", given) for given in schedules]
        for schedule in found:
            known("schedule", schedule.name)
        make_schedule(found[0], T)
    except ValueError as error:
        raise UserError(str(error)) from error
    return list(map(str, found))
