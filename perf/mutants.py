"""``python -m perf.mutants``: change the code in many small ways, one at a time, and see that a test fails.

mutmut makes the mutants of a module's functions. For each it runs those of the module's tests that call the function;
the gate's formulas are among the tests. Mutants that may live are in ``tests/survivors.toml``, each with a reason. The
run fails where others are more than 5% of a module's mutants. ``results/perf/mutants.json`` has the last run of each
module, with these others.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.paths import ROOT
from perf.record import FOLDER, about, load, save

NAME = "mutants"
WANTED = 0.95
SURVIVORS = ROOT / "tests" / "survivors.toml"
NEEDED = ("bench", "ddpm", "ddpm_bench", "data", "results/baselines", "reports/metrics", "tests", "pyproject.toml")
FORMULAS = "tests/bench/test_formulas.py"
PATIENCE = 4.0
"""A mutant whose tests take so many times as long as they should does not end. mutmut's own 15 costs minutes each."""

MODULES: dict[str, tuple[str, ...]] = {
    "ddpm/mix.py": ("tests/ddpm/test_mix.py",),
    "ddpm/ema.py": ("tests/ddpm/test_ema.py",),
    "ddpm/spacing.py": ("tests/ddpm/test_spacing.py",),
    "ddpm/guidance.py": ("tests/ddpm/test_guidance.py",),
    "ddpm/objective.py": ("tests/ddpm/test_objective.py",),
    "ddpm/timestep.py": ("tests/ddpm/test_timestep.py",),
    "ddpm/schedule.py": ("tests/ddpm/test_schedule.py",),
    "ddpm/likelihood.py": ("tests/ddpm/test_likelihood.py",),
    "ddpm/sampler.py": ("tests/ddpm/test_sampler.py",),
    "ddpm/denoiser.py": ("tests/ddpm/test_denoiser.py",),
    "ddpm/base.py": ("tests/ddpm/test_base_parts.py", "tests/ddpm/test_base.py"),
    "ddpm/muon.py": ("tests/ddpm/test_muon.py",),
    "ddpm/oracle.py": ("tests/ddpm/test_oracle.py",),
    "ddpm/precision.py": ("tests/ddpm/test_precision.py",),
    "ddpm/bounds.py": ("tests/bench/test_bounds.py",),
    "ddpm/spec.py": ("tests/ddpm/test_spec.py",),
    "ddpm/train.py": tuple(
        f"tests/ddpm/test_{name}.py" for name in ("train", "trainer", "ema", "muon", "teach", "guidance")
    ),
    "ddpm/batch.py": ("tests/ddpm/test_teach.py",),
    "ddpm/teach.py": ("tests/ddpm/test_teach.py",),
    "ddpm/nets/attention.py": ("tests/ddpm/test_dit.py", "tests/ddpm/test_nets.py"),
    "ddpm/nets/dit.py": ("tests/ddpm/test_dit.py", "tests/ddpm/test_teach.py"),
    "ddpm/nets/waves.py": ("tests/ddpm/test_waves.py",),
    "ddpm/nets/unet.py": ("tests/ddpm/test_nets.py",),
    "ddpm/nets/scorenet.py": ("tests/ddpm/test_nets.py",),
    "bench/score/distances.py": ("tests/bench/test_distances.py", "tests/bench/test_metrics.py"),
    "bench/score/metrics.py": ("tests/bench/test_metrics.py", "tests/bench/test_metric_rows.py"),
    "bench/score/views.py": ("tests/bench/test_seen.py",),
    "bench/score/together.py": ("tests/bench/test_seen.py",),
    "bench/score/copies.py": ("tests/bench/test_thorough.py",),
    "bench/score/heldout.py": ("tests/bench/test_heldout.py",),
    "bench/score/running.py": ("tests/bench/test_running.py", "tests/bench/test_metrics.py"),
    "bench/score/reference.py": ("tests/bench/test_metrics.py", "tests/bench/test_metric_rows.py"),
    "bench/score/scorer.py": ("tests/bench/test_scorer.py",),
    "bench/score/taken.py": ("tests/bench/test_taken_parts.py",),
    "bench/score/eyes.py": ("tests/bench/test_pinned.py",),
    "bench/score/kept.py": ("tests/bench/test_pinned.py",),
    "bench/score/judges.py": ("tests/bench/test_pinned.py",),
    "bench/score/learning.py": ("tests/bench/test_seen.py",),
    "bench/score/classifier.py": ("tests/bench/test_pinned.py",),
    "bench/score/texture.py": ("tests/bench/test_seen.py",),
    "bench/score/mixer.py": ("tests/bench/test_seen.py",),
    "bench/score/turns.py": ("tests/bench/test_seen.py",),
    "bench/score/own.py": ("tests/bench/test_scorer.py",),
    "bench/score/calibration.py": ("tests/bench/test_calibration.py",),
    "bench/score/calibrated.py": ("tests/bench/test_calibration.py",),
}
"""Module → its tests, beside the gate's formulas."""
LEFT_OUT: dict[str, str] = {
    "bench/score/fidelity.py": "it hands our networks to torch-fidelity, and works nothing out",
    "bench/score/printed.py": "a record, and how it is read",
    "bench/score/report.py": "it says in words what the other modules found",
    "bench/score/retrain.py": "every mutant would train judges, for minutes; their weights are pinned by hash",
}
"""Modules of ``ddpm`` and ``bench/score`` that are not mutated, and why."""


class Mutant(NamedTuple):
    """A mutant: what mutmut calls it, whether a test killed it, and for a survivor the lines before and after."""

    name: str
    killed: bool
    change: tuple[str, str] = ("", "")


class Survivor(NamedTuple):
    """A mutant that may live, and why."""

    module: str
    before: str
    after: str
    reason: str


def settings(module: str, tests: Sequence[str]) -> str:
    """mutmut's configuration for one module."""
    quoted = ", ".join(f'"{name}"' for name in NEEDED if not module.startswith(f"{name}/"))
    chosen = ", ".join(f'"{name}"' for name in (*tests, FORMULAS))
    return (
        f'\n[tool.mutmut]\nsource_paths = ["{module.split("/")[0]}"]\nonly_mutate = ["{module}"]\n'
        f"also_copy = [{quoted}]\npytest_add_cli_args_test_selection = [{chosen}]\n"
        f"timeout_multiplier = {PATIENCE}\n"
    )


def read(path: Path) -> list[Survivor]:
    """The survivors that have a reason."""
    return [Survivor(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])]


def parse(results: str) -> Iterator[tuple[str, bool]]:
    """(name, killed) of every mutant from ``mutmut results``; a test that does not end has killed it."""
    for line in results.splitlines():
        name, colon, status = line.strip().rpartition(": ")
        if colon and "__mutmut_" in name:
            yield name, status in ("killed", "timeout", "segfault")


def change(shown: str) -> tuple[str, str]:
    """The lines that differ, of what ``mutmut show`` prints: before, and after."""
    lines = [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return tuple("\n".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")  # type: ignore[return-value]


def undecorated(source: str) -> str:
    """The same code, each decorator of a function now called below it: mutmut leaves decorated functions as they are.

    Those of class methods and static methods stay: mutmut knows them. Those that keep results go: what a function gave
    before it was changed would hide the change.
    """
    lines = source.splitlines()
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: node.lineno, reverse=True):
        names = [ast.unparse(decorator) for decorator in node.decorator_list]
        if not names or {"classmethod", "staticmethod"} & set(names) or node.end_lineno is None:
            continue
        calls = [name for name in names if name.partition("(")[0] not in ("cache", "lru_cache")]
        below = [f"{node.name} = {'('.join([*calls, node.name])}{')' * len(calls)}"]
        if len(calls) < len(names):
            below.append(f"{node.name}.cache_clear = lambda: None")
        lines[node.end_lineno : node.end_lineno] = [f"{' ' * node.col_offset}{line}" for line in below]
        del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join([*lines, ""])


def mutate(module: str, tests: Sequence[str], folder: Path) -> list[Mutant]:
    """All mutants of a module, made and run in ``folder``."""
    for name in NEEDED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    path = folder / module
    path.write_text(undecorated(path.read_text(encoding="utf-8")), encoding="utf-8")
    with open(folder / "pyproject.toml", "a", encoding="utf-8") as file:
        file.write(settings(module, tests))

    def mutmut(*words: str) -> str:
        command = [sys.executable, "-m", "mutmut", *words]
        done = subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True)
        return done.stdout.decode(errors="replace")

    said = mutmut("run")
    found = list(parse(results := mutmut("results", "--all", "true")))
    if not found or ": not checked" in results:
        why = "left mutants out: do the tests pass without one?" if found else "made no mutants"
        raise SystemExit(f"{module}: mutmut {why} {said[-500:]}")
    return [Mutant(name, killed, ("", "") if killed else change(mutmut("show", name))) for name, killed in found]


class Judged(NamedTuple):
    """What became of a module's mutants; ``left`` are the survivors without a reason."""

    module: str
    mutants: int
    killed: int
    left: tuple[Mutant, ...]

    @property
    def reasoned(self) -> int:
        """How many survivors have a reason."""
        return self.mutants - self.killed - len(self.left)

    @property
    def good(self) -> bool:
        """Whether enough are killed or have a reason."""
        return 1 - len(self.left) / self.mutants >= WANTED

    def __str__(self) -> str:
        share = self.killed / self.mutants
        return f"{self.module}: {self.killed} of {self.mutants} killed ({share:.1%}), {self.reasoned} with a reason"


def judged(module: str, mutants: Sequence[Mutant], known: Iterable[Survivor]) -> Judged:
    """The verdict on a module."""
    reasons = {(one.before, one.after) for one in known if one.module == module}
    alive = [one for one in mutants if not one.killed]
    left = tuple(one for one in alive if one.change not in reasons)
    return Judged(module, len(mutants), len(mutants) - len(alive), left)


def record(found: Judged, folder: Path = FOLDER) -> None:
    """Put a module's verdict in ``results/perf/mutants.json``, in place of an earlier one of it."""
    kept = load(folder).get(NAME, {"rows": [], "left": {}})
    commit = about(NAME)["environment"]["commit"]
    row = {
        "module": found.module, "mutants": found.mutants, "killed": found.killed, "with a reason": found.reasoned,
        "left": len(found.left), "commit": commit,
    }  # fmt: skip
    rows = [one for one in kept["rows"] if one["module"] in MODULES and one["module"] != found.module]
    left = {name: lines for name, lines in kept["left"].items() if name in MODULES}
    left[found.module] = [{"before": one.change[0], "after": one.change[1]} for one in found.left]
    order = list(MODULES).index
    save(NAME, {"rows": sorted([*rows, row], key=lambda one: order(one["module"])), "left": left}, folder=folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 if enough are killed."""
    parser = argparse.ArgumentParser(prog="python -m perf.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"default: {', '.join(MODULES)}")
    args = parser.parse_args(argv)
    if wrong := [name for name in args.modules if name not in MODULES]:
        parser.error(f"no module {wrong[0]} here (modules: {', '.join(MODULES)})")
    known, good = read(SURVIVORS), True
    for module in args.modules or MODULES:
        with tempfile.TemporaryDirectory(prefix="ddpm-bench-mutants-") as folder:
            found = judged(module, mutate(module, MODULES[module], Path(folder)), known)
        print(found, flush=True)
        for one in found.left:
            print(f"  {one.name}\n    - {one.change[0]}\n    + {one.change[1]}", flush=True)
        record(found)
        good = good and found.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
