"""The result file: its shape, and writing it anew after every measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from bench import files
from bench.errors import UserError

Value = bool | int | float | str | None
DONE, FAILED, CUT, NOT_REACHED = "done", "failed", "cut off", "not reached"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Row(_Model):
    """One measurement: under which settings (``at``), what was found, and the raw samples behind it.

    ``reason`` says why there is no figure where ``status`` is not ``done``. Durations are seconds. A number that is
    not finite becomes None, since JSON has none.
    """

    name: str
    at: dict[str, Value] = {}
    found: dict[str, Value] = {}
    raw: dict[str, list[float]] = {}
    status: Literal["done", "failed", "not reached"] = "done"
    reason: str | None = None

    @field_validator("found")
    @classmethod
    def _finite(cls, found: dict[str, Value]) -> dict[str, Value]:
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


class Section(_Model):
    """The measurements of one section. One that began and did not end is ``cut off``: its rows are whole."""

    name: str
    title: str
    status: Literal["done", "failed", "cut off", "not reached"] = "not reached"
    reason: str | None = None
    limit_s: float | None = None
    seconds: float | None = None
    rows: list[Row] = []


class Run(_Model):
    """The whole file. ``environment`` has machine, card, driver, torch and commit; ``seed`` is of every random draw."""

    name: str
    command: str
    created: str
    environment: dict[str, Any]
    device: str
    minutes: float
    seed: int
    sections: list[Section]

    def rows(self, section: str) -> list[Row]:
        """The measurements of a section that have figures."""
        return [row for one in self.sections if one.name == section for row in one.rows if row.status == DONE]


def read(path: Path) -> Run | None:
    """The run in a file, None if there is no such file or it is not one."""
    try:
        return Run.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


class File:
    """A run, and the file that always holds what of it is done."""

    def __init__(self, path: Path, run: Run) -> None:
        self.path, self.run = path, run

    def start(self) -> None:
        """Write the file for the first time. A file that is there already is kept, as ``….json.previous``.

        :raises UserError: if the folder cannot be written.
        """
        if self.path.exists():
            with files.explained(self.path.parent):
                self.path.replace(self.path.with_name(f"{self.path.name}.previous"))
        self.write()

    def write(self) -> None:
        """Write all that there is, whole or not at all."""
        text = json.dumps(self.run.model_dump(), indent=1, ensure_ascii=False, allow_nan=False)
        files.write_text(self.path, f"{text}\n")

    def begin(self, section: Section, limit_s: float) -> None:
        """Open a section: until it ends it counts as cut off."""
        section.status, section.reason, section.limit_s, section.rows = "cut off", None, round(limit_s, 1), []
        self.write()

    def add(self, section: Section, row: Row) -> None:
        """Keep a measurement."""
        section.rows.append(row)
        self.write()

    def end(self, section: Section, status: str, reason: str | None, seconds: float) -> None:
        """Close a section.

        :param status: :data:`DONE`, :data:`FAILED`, :data:`CUT` or :data:`NOT_REACHED`.
        """
        section.status, section.reason, section.seconds = status, reason, seconds  # type: ignore[assignment]
        self.write()

    def picture(self, name: str, png: bytes) -> str:
        """Keep a picture in the folder beside the file, and return its path from there."""
        path = self.path.with_suffix("") / f"{name}.png"
        files.write_bytes(path, png, durable=False)
        return f"{path.parent.name}/{path.name}"


def writable(folder: Path) -> None:
    """Make sure that results can be written there, before anything is measured.

    :raises UserError: if they cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    files.check_writable(folder)
