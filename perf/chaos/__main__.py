"""The command: every scenario in turn, a table of them, and the measurement that is kept."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from bench.machine.provenance import git
from perf import clusters
from perf.chaos import on_ray, on_slurm
from perf.chaos.lab import GONE_S, ONE, STUDY, Found, Lab
from perf.chaos.local import LOCAL, Scenario, kills
from perf.record import claim, in_words, load, save

RECOVERY_S = {"local": 30.0, "ray": 60.0, "slurm": 120.0}
"""Executor → seconds that work after a fault may begin later than work of an undisturbed command does."""
SHARE = {"local": 0.6, "ray": 0.2, "slurm": 0.2}
"""Executor → its share of all kills."""
NOTE = (
    "Small jobs. Each scenario is run again until all is done. Its samples and scores must then be those of an "
    "undisturbed run, byte for byte. No epoch that could be gone on from and no cell may have been done twice. A "
    "command takes a while until its first job is at work, disturbed or not. A row names its commit, since it may be "
    "tried alone."
)
MANY = ("jobs", "killed", "two", "four")
"""Scenarios of several jobs."""


Row = dict[str, Any]


def row(executor: str, title: str, found: Found) -> Row:
    """A scenario, and what it has shown."""
    about = {"executor": executor, "scenario": title, "commit": (git("rev-parse", "HEAD") or "unknown")[:12]}
    if found.skipped:
        return about | {"done": f"not tried: {found.skipped}"}
    return about | {
        "done": "; ".join(f"{what} ({number})" for what, number in sorted(found.faults.items())),
        "killed": sum(number for what, number in found.faults.items() if what.startswith("SIGKILL")),
        "work goes on after, s": round(max(found.recovery_s), 1) if found.recovery_s else None,
        "all gone after, s": round(found.gone_s, 1),
        "as undisturbed": not found.wrong,
        **({"wrong": "; ".join(found.wrong)} if found.wrong else {}),
    }


def of(name: str) -> dict[str, Any]:
    """The study of a scenario: several jobs only where that matters."""
    return STUDY if name in MANY else ONE


def local(base: Path, quiet: Path, number: int, only: Sequence[str], seed: int) -> Iterator[Row]:
    """The scenarios of one machine."""
    yield from _tried("local", LOCAL | kills(number), lambda name: Lab(base / name, quiet, (), of(name)), only, seed)


def ray(base: Path, quiet: Path, number: int, only: Sequence[str], seed: int) -> Iterator[Row]:
    """Those of a Ray cluster of two nodes."""
    if find_spec("ray") is None:
        yield row("ray", "all", Found(skipped="it needs the package ray"))
        return
    with clusters.ray() as cluster:
        options = ("--executor", "ray", "--address", cluster.address)
        made = on_ray.scenarios(cluster, number)
        yield from _tried("ray", made, lambda name: Lab(base / name, quiet, options, of(name)), only, seed)


def slurm(base: Path, quiet: Path, number: int, only: Sequence[str], seed: int) -> Iterator[Row]:
    """Those of a Slurm cluster of two nodes."""
    missing = [name for name in ("sbatch", "munged") if shutil.which(name, path="/usr/sbin:/usr/bin:/bin") is None]
    if find_spec("submitit") is None or missing:
        yield row("slurm", "all", Found(skipped="it needs the packages submitit, slurm-wlm and munge"))
        return
    with clusters.slurm(base / "cluster") as cluster:
        options = ("--executor", "slurm", "--with", "poll=0.5", "--with", f"folder={base / 'submitit'}")

        def lab(name: str) -> Lab:
            return Lab(base / name, quiet, [*options, *(on_slurm.LIMIT if name == "limit" else ())], of(name))

        yield from _tried("slurm", on_slurm.scenarios(cluster, number), lab, only, seed)


EXECUTORS = {"local": local, "ray": ray, "slurm": slurm}


def _tried(
    executor: str, table: dict[str, Scenario], make: Callable[[str], Lab], only: Sequence[str], seed: int
) -> Iterator[Row]:
    """Each scenario of a table."""
    for name, (title, scenario, missing, more) in table.items():
        if only and name not in only:
            continue
        found, since = Found(skipped=missing()), time.monotonic()
        if not found.skipped:
            try:
                scenario(make(name), found, random.Random(f"{seed} {name}"), *more)
            except Exception as error:
                found.wrong.append(f"{type(error).__name__}: {error}")
        one = row(executor, title, found)
        print(f"{executor} {name}: {time.monotonic() - since:.0f} s {one}", flush=True)
        yield one


def claims(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The bars, and whether they are met."""
    tried = [row for row in rows if "killed" in row]
    good = sum(row["as undisturbed"] for row in tried)
    killed = sum(row["killed"] for row in tried)
    gone = max((row["all gone after, s"] for row in tried), default=0.0)
    made = [
        claim("scenarios that end with the bytes of an undisturbed run", "all", f"{good} of {len(rows)}",
              good == len(rows)),
        claim("processes killed, most of them at random moments", "≥ 100", str(killed), killed >= 100),
        claim("longest that a process outlived its run", f"≤ {GONE_S:g} s", f"{gone:.1f} s", gone <= GONE_S),
    ]  # fmt: skip
    for name, bar in RECOVERY_S.items():
        of_it = [row for row in tried if row["executor"] == name and row["work goes on after, s"] is not None]
        if of_it:
            worst = max(row["work goes on after, s"] - row["undisturbed start, s"] for row in of_it)
            what = f"{name}: work goes on after a fault, later than an undisturbed start on one machine"
            made.append(claim(what, f"≤ {bar:g} s", f"{worst:.1f} s", worst <= bar))
    return made


def keep(rows: Sequence[Row]) -> Path:
    """Keep the rows, beside those of scenarios that were not tried now."""
    before = {(row["executor"], row["scenario"]): row for row in load().get("chaos", {}).get("rows", [])}
    merged = before | {(row["executor"], row["scenario"]): row for row in rows}
    rows = sorted(merged.values(), key=lambda row: list(RECOVERY_S).index(row["executor"]))
    content = {"study": STUDY, "note": NOTE, "rows": rows, "claims": claims(rows)}
    return save("chaos", content, device=torch.device("cpu"))


def undisturbed(base: Path) -> tuple[Path, float]:
    """The results of a run that nobody disturbs, and the seconds until its first job is at work.

    :raises RuntimeError: if it fails.
    """
    lab = Lab(base / "quiet", None)
    results = lab.folder()
    run = lab.begin(results)
    if run.wait() != 0:
        raise RuntimeError(lab.output.read_text())
    return results, (run.heard(["stepped", "epoch"]) or run.began) - run.began


def main() -> int:
    """Run it, print and keep what came of it; 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m perf.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all executors together (default 100)")
    parser.add_argument("--executor", action="append", choices=EXECUTORS, help="only this one (again for more)")
    parser.add_argument("--only", action="append", default=[], help="only this scenario (again for more)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # nohup, for one, has them ignored
        signal.signal(number, signal.SIG_DFL)
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    quiet, start = undisturbed(base)
    print(f"undisturbed: work begins after {start:.1f} s", flush=True)
    names = options.executor or list(EXECUTORS)
    rows = [
        one | {"undisturbed start, s": round(start, 1)}
        for name in names
        for one in EXECUTORS[name](base / name, quiet, round(options.kills * SHARE[name]), options.only, options.seed)
    ]
    for bar in claims(rows):
        print(in_words(bar))
    print(keep(rows))
    wrong = any(row.get("wrong") for row in rows)
    if not wrong:
        shutil.rmtree(base, ignore_errors=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
