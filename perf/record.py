"""Measurements kept with the project: one JSON file each under ``results/perf``, with what made it."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench import files
from bench.machine import provenance
from bench.paths import ROOT

FOLDER = ROOT / "results" / "perf"


def save(name: str, content: dict[str, Any], *, device: torch.device | None = None, folder: Path = FOLDER) -> Path:
    """Write ``<folder>/<name>.json``: ``content`` (raw samples included), the command, the machine and the commit."""
    path = folder / f"{name}.json"
    files.write_text(path, json.dumps(about(name, device) | content, indent=1, ensure_ascii=False) + "\n")
    return path


def about(name: str, device: torch.device | None = None) -> dict[str, Any]:
    """What every measurement says of itself: name, command, time, and the machine with its versions and the commit."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    start = f"python -m {module.name.removesuffix('.__main__')}" if module else sys.argv[0]
    return {
        "name": name,
        "command": f"{start} {shlex.join(sys.argv[1:])}".strip(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": provenance.environment(device or torch.device("cpu")).model_dump(),
    }


def load(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Name → the measurement, of those that are there."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def in_words(bar: dict[str, Any]) -> str:
    """A bar (:func:`claim`) as a line of the terminal."""
    return f"{bar['claim']}: {bar['measured']} ({bar['bar']}{'' if bar['met'] else ', missed'})"


def claim(what: str, bar: str, measured: str, met: bool) -> dict[str, Any]:
    """A row of a measurement's ``claims``, all of which open the page of :mod:`perf.page`."""
    return {"claim": what, "bar": bar, "measured": measured, "met": met}
