"""Do the versions of the code that made the committed results give the same numbers? ``python -m perf.versions``.

A study is committed when it is done, so several commits made the results in ``results/reference``. Each study with
results there is run again in a small form, by the commit that made its results and by the present one. Both runs have
the same seeds, on this machine. So each cell must have the same images, to the byte, and the same scores, to the last
digit. What differs is counted. The numbers are kept in ``results/perf/versions.json``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UserError, unknown
from bench.paths import REFERENCE
from bench.store.lookup import with_results
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store
from bench.study import load as studies
from bench.study import yaml12
from bench.study.study import Study
from bench.text import one_line, plural
from perf.compare import worktree
from perf.record import claim, save

SEED = 1
"""The training seed: one that is not the default, so that a seed that is lost shows."""
IMAGES, SAMPLES, LIKELIHOOD = 256, 50, 10
"""At most so many training images, samples a cell, and test images whose likelihood is computed."""
OPTIONS = ("--device", "cpu", "--engine", "eager", "--workers", "1", "--threads", "1")
"""Of both runs. The engine is not left to a trial, which two runs could decide differently."""
NOTE = (
    "Several commits made the results of the studies, because a study is committed when it is done. Here each study "
    f"ran again in a small form: training seed {SEED}, at most {IMAGES} training images, {SAMPLES} samples a cell. The "
    "commit that made its results ran it, and the present one. Then each cell's images were compared byte for byte, "
    "and its scores digit for digit."
)
Command = Sequence[str]


def small(content: dict[str, Any]) -> dict[str, Any]:
    """A study's file with fewer training images, seeds and samples, and without claims. All else is as it was.

    :param content: the file's, as it was read.
    """
    kept = {name: value for name, value in content.items() if name not in ("claims", "beside")}
    train, score = dict(kept["train"]), dict(kept["score"])
    train["images"] = min(train.get("images") or IMAGES, IMAGES)
    score["n"] = min(score["n"], SAMPLES)
    if score.get("likelihood"):
        score["likelihood"] = min(score["likelihood"], LIKELIHOOD)
    return kept | {"train": train, "axes": kept["axes"] | {"seed": [SEED]}, "score": score}


def small_copy(name: str, folder: Path) -> Path:
    """Write the small form of a study that comes with the project; its file."""
    path = folder / f"{name}.yaml"
    content = yaml12.read((studies.STUDIES / path.name).read_text(encoding="utf-8"))
    path.write_text(yaml12.dump(small(content)), encoding="utf-8")
    return path


def makers(study: Study, store: Store) -> dict[str, set[str]]:
    """Commit → the keys of the study's cells that it made.

    :raises UserError: if a record does not say which, as its code was not committed.
    """
    records = [record for cell in study.cells if isinstance(record := store.read_cell(CellRecord, cell), ScoredCell)]
    unknown_to_git = [one.config.key for one in records if one.environment.commit is None or one.environment.dirty]
    if unknown_to_git:
        cells = plural(len(unknown_to_git), "cell")
        raise UserError(f"study '{study.name}': no commit has the code that made {cells}, {unknown_to_git[0]} for one")
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(str(record.environment.commit), set()).add(record.config.key)
    return found


def work(made: dict[str, dict[str, set[str]]]) -> Iterator[tuple[str, str]]:
    """(study, commit) to run, until each cell has had its commit.

    A study may have cells of another one, made by a commit that does not know its axes. So studies of one commit are
    first, and what they have of others is done.

    :param made: study → commit → keys.
    """
    done: set[str] = set()
    for name, commits in sorted(made.items(), key=lambda one: len(one[1])):
        for commit, keys in commits.items():
            if keys - done:
                yield name, commit
            done |= keys


def command(study: Path, results: Path) -> list[str]:
    """Of a run of the study by the code in the working directory."""
    return [sys.executable, "-m", "bench.cli", "run", str(study), "--results", str(results), *OPTIONS]


def run_all(commands: Iterable[tuple[Path, Command]]) -> None:
    """Run each command by the code in its folder, all side by side.

    :raises UserError: if one fails, with its last line. That some cells failed (exit code 1) is no reason.
    """
    with ExitStack() as stack:
        running = []
        for folder, words in commands:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            alone = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
            process = stack.enter_context(subprocess.Popen(words, cwd=folder, env=alone, stdout=said, stderr=said))
            stack.callback(process.kill)  # if another one fails, or this program is stopped
            running.append((folder, process, said))
        for folder, process, said in running:
            if process.wait() not in (0, 1):
                said.seek(0)
                last = (said.read().strip() or "no output").splitlines()[-1]
                raise UserError(f"the code of {folder.name} cannot run it: {one_line(last)[:200]}")


def compare(study: Study, old: Store, new: Store) -> dict[str, Any]:
    """How many cells the two have alike.

    A cell that failed in both, for the same reason, is alike too.
    """
    found: dict[str, Any] = {"cells": len(study.cells), "same images": 0, "same scores": 0, "largest difference": 0.0}
    for cell in study.cells:
        before, after = (store.read_cell(CellRecord, cell) for store in (old, new))
        if before is None or after is None:
            continue
        difference = differ(before, after)
        found["same scores"] += difference == 0
        found["largest difference"] = max(found["largest difference"], difference or 0.0)
        one, other = (store.load_samples(cell.key) for store in (old, new))
        # a cell that failed has none
        found["same images"] += one is other if one is None or other is None else np.array_equal(one[0], other[0])
    return found


def differ(before: CellRecord, after: CellRecord) -> float | None:
    """The largest difference of a score, as a share of the larger value. None if one lacks a score, or failed alone."""
    if not isinstance(before, ScoredCell) or not isinstance(after, ScoredCell):
        return 0.0 if getattr(before, "reason", None) == getattr(after, "reason", "") else None
    if before.metrics.keys() != after.metrics.keys():
        return None
    pairs = ((before.metrics[name], after.metrics[name]) for name in before.metrics)
    return max(abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0 for a, b in pairs)


def rows(pairs: Sequence[tuple[str, str]], present: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each study and commit.

    :param present: the revision that is compared with them.
    :param folder: an empty one, for code and results.
    :raises UserError: if git lacks a commit, or one of them cannot run the study.
    """
    with ExitStack() as stack:
        # a revision has one results folder for all studies, which so share what scores compare with
        places = {name: (folder / f"code-{name[:12]}", folder / name) for name in [present, *(of for _, of in pairs)]}
        for revision, (tree, _) in places.items():
            stack.enter_context(worktree(revision, tree))
        for name, commit in pairs:
            path = small_copy(name, folder)
            both = (places[commit], places[present])
            run_all((tree, command(path, results)) for tree, results in both)
            old, new = (Store(results) for _, results in both)
            study = studies.load(str(path))
            check_code(study, old, commit)
            yield {"study": name, "made by": commit} | compare(study, old, new)


def check_code(study: Study, store: Store, commit: str) -> None:
    """Refuse results of other code: by the present one on both sides everything would be alike.

    :raises UserError: if another commit made a cell.
    """
    if others := makers(study, store).keys() - {commit}:
        raise UserError(f"the runs of {commit[:12]} were made by the code of {', '.join(sorted(others))}")


def claims(found: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """That all cells have the same images and the same scores."""
    cells = sum(row["cells"] for row in found)
    for what in ("images", "scores"):
        same = sum(row[f"same {what}"] for row in found)
        yield claim(f"cells with the same {what} by older code", "all", f"{same} of {cells}", same == cells)


def main(argv: list[str] | None = None) -> int:
    """Run, print, save; 1 if something differs, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.versions", description=__doc__)
    parser.add_argument("studies", nargs="*", help="only these; nothing is saved then (default: all with results)")
    parser.add_argument("--present", default="HEAD", help="the revision to compare with (default HEAD)")
    args = parser.parse_args(argv)
    found = []
    try:
        made = {study.name: makers(study, store) for study, store in with_results(None, REFERENCE)}
        for name in args.studies:
            if name not in made:
                raise unknown("study", name, made)
        chosen = [(name, commit) for name, commit in work(made) if name in (args.studies or made)]
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(chosen, args.present, Path(folder)):
                found.append(row)
                print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    except UserError as error:
        print(f"perf.versions: {error}", file=sys.stderr)
        return 2
    bars = list(claims(found))
    for bar in bars:
        print(f"{bar['claim']}: {bar['measured']}")
    if not args.studies:
        print(save("versions", {"note": NOTE, "options": OPTIONS, "rows": found, "claims": bars}))
    return 0 if all(bar["met"] for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
