"""The command: every scenario in turn, a table of them, and the measurement that is kept."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from perf import clusters
from perf.chaos import on_ray, on_slurm
from perf.chaos.lab import GONE_S, ONE, STUDY, Found, Lab
from perf.chaos.local import LOCAL, Scenario, kills
from perf.record import claim, save

RECOVERY_S = {"local": 30.0, "ray": 60.0, "slurm": 120.0}
"""Executor → seconds after which work must go on after a fault. Slurm alone takes half a minute to miss a node."""
SHARE = {"local": 0.6, "ray": 0.2, "slurm": 0.2}
"""Executor → its share of all kills."""
MANY = ("killed", "two", "four")
"""Scenarios of several jobs."""


class Row(NamedTuple):
    """A scenario, and what it has shown."""

    executor: str
    title: str
    found: Found

    def shown(self) -> dict[str, Any]:
        """As a row of the table."""
        found = self.found
        about = {"executor": self.executor, "scenario": self.title}
        if found.skipped:
            return about | {"done": f"not tried: {found.skipped}"}
        return about | {
            "done": "; ".join(f"{what} ({number})" for what, number in sorted(found.faults.items())),
            "work goes on after, s": round(max(found.recovery_s), 1) if found.recovery_s else None,
            "bar, s": RECOVERY_S[self.executor],
            "all gone after, s": round(found.gone_s, 1),
            "as undisturbed": not found.wrong,
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
        yield Row("ray", "all", Found(skipped="it needs the package ray"))
        return
    with clusters.ray() as cluster:
        options = ("--executor", "ray", "--address", cluster.address)
        made = on_ray.scenarios(cluster, number)
        yield from _tried("ray", made, lambda name: Lab(base / name, quiet, options, of(name)), only, seed)


def slurm(base: Path, quiet: Path, number: int, only: Sequence[str], seed: int) -> Iterator[Row]:
    """Those of a Slurm cluster of two nodes."""
    missing = [name for name in ("sbatch", "munged") if shutil.which(name, path="/usr/sbin:/usr/bin:/bin") is None]
    if find_spec("submitit") is None or missing:
        yield Row("slurm", "all", Found(skipped="it needs the packages submitit, slurm-wlm and munge"))
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
        row = Row(executor, title, found)
        print(
            f"{executor} {name}: {time.monotonic() - since:.0f} s {row.shown()}", *found.wrong, sep="\n  ", flush=True
        )
        yield row


def claims(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The bars, and whether they are met."""
    tried = [row for row in rows if not row.found.skipped]
    good = sum(not row.found.wrong for row in tried)
    killed = sum(n for row in tried for what, n in row.found.faults.items() if what.startswith("SIGKILL"))
    gone = max((row.found.gone_s for row in tried), default=0.0)
    made = [
        claim("scenarios that end with the bytes of an undisturbed run", "all", f"{good} of {len(rows)}",
              good == len(rows)),
        claim("processes killed at random moments", "≥ 100", str(killed), killed >= 100),
        claim("longest that a process outlived its run", f"≤ {GONE_S:g} s", f"{gone:.1f} s", gone <= GONE_S),
    ]  # fmt: skip
    for name, bar in RECOVERY_S.items():
        times = [seconds for row in tried if row.executor == name for seconds in row.found.recovery_s]
        if times:
            worst = max(times)
            made.append(claim(f"{name}: work goes on after a fault", f"≤ {bar:g} s", f"{worst:.1f} s", worst <= bar))
    return made


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
    parser.add_argument("--executor", action="append", choices=EXECUTORS, help="only this one; then nothing is kept")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this scenario; the same")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    quiet, start = undisturbed(base)
    print(f"undisturbed: work begins after {start:.1f} s", flush=True)
    rows = [
        row
        for name in options.executor or EXECUTORS
        for row in EXECUTORS[name](
            base / name, quiet, round(options.kills * SHARE[name]), options.only, options.seed
        )
    ]  # fmt: skip
    made = claims(rows)
    for bar in made:
        print(f"{bar['claim']}: {bar['measured']} ({bar['bar']}{'' if bar['met'] else ', missed'})")
    note = (
        f"Four small jobs; an undisturbed command is at work after {start:.1f} s. Each scenario is run again until "
        "all is done. Its samples and scores must then be those of an undisturbed run, byte for byte. No epoch that "
        "could be gone on from and no cell may have been done twice."
    )
    wrong = [f"{row.executor}, {row.title}: {what}" for row in rows for what in row.found.wrong]
    if not (options.executor or options.only):
        content = {"study": STUDY, "start_s": start, "note": note, "rows": [row.shown() for row in rows]}
        print(save("chaos", content | {"claims": made, "wrong": wrong}, device=torch.device("cpu")))
    if not wrong:
        shutil.rmtree(base, ignore_errors=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
