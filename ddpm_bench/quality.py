"""Samples against a baseline: in this process, or in one of its own where another ``bench`` is in the way here."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_bench.packages import FOLDER, hidden

NOT_MEASURED = "could not measure"
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import bench, ddpm, ddpm_bench; del sys.path[0]; "
    "from ddpm_bench.quality import answer; answer(sys.argv[2])"
)
"""Import this project's packages first, wherever else the path leads, then answer the question in a file."""


def judge(samples: Any, baseline: Any, dataset: str, folder: Path, options: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict (``pass``, ``FAIL``, ``undecided``, ``could not measure``) and a line on it.

    :param folder: where the reference is kept.
    :param options: those of :func:`bench.gate.quality.judge`.
    """
    if hidden() is None:
        return _judge(samples, baseline, dataset, folder, options)
    with tempfile.TemporaryDirectory() as scratch:
        question = {
            "samples": _as_file(samples, Path(scratch, "samples.npy")),
            "baseline": _as_file(baseline, Path(scratch, "baseline.npy")),
            "dataset": dataset,
            "folder": str(folder.resolve()),
            "options": {name: value.tolist() if hasattr(value, "tolist") else value for name, value in options.items()},
        }
        asked = Path(scratch, "question.json")
        asked.write_text(json.dumps(question))
        words = [sys.executable, "-P", "-c", START, str(FOLDER), str(asked)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no reason given"]
            return NOT_MEASURED, f"the scoring process failed: {said[-1]}"
        verdict, note = json.loads(done.stdout.splitlines()[-1])
        return verdict, note.replace(f"{scratch}/", "").replace(".npy", "")


def _judge(samples: Any, baseline: Any, dataset: str, folder: Path, options: Mapping[str, Any]) -> tuple[str, str]:
    from bench.errors import UserError
    from bench.gate.quality import judge, scorer_of

    try:
        outcome = judge(scorer_of(dataset, folder), samples, baseline, **options)
    except UserError as error:
        return NOT_MEASURED, str(error)
    return outcome.verdict, outcome.note


def _as_file(images: Any, path: Path) -> str | list[str]:
    """Paths as absolute ones; an array or tensor as a file."""
    if isinstance(images, str | Path):
        return str(Path(images).resolve())
    if isinstance(images, Sequence) and images and all(isinstance(one, str | Path) for one in images):
        return [str(Path(one).resolve()) for one in images]
    array = images.detach().cpu().numpy() if hasattr(images, "detach") else np.asarray(images)
    np.save(path, array, allow_pickle=False)
    return str(path)


def answer(path: str) -> None:
    """Print verdict and line for the question in a file."""
    asked = json.loads(Path(path).read_text())
    found = _judge(asked["samples"], asked["baseline"], asked["dataset"], Path(asked["folder"]), asked["options"])
    print(json.dumps(found))
