"""Two revisions' timings in one job: ``python -m perf.compare BASE [HEAD]``.

Both are checked out, and the benchmark suites of HEAD run against each, in turn, several times: a machine's speed
drifts more between jobs than within one. A benchmark is slower when the medians of HEAD's runs are both significantly
(a one-sided Mann-Whitney test) and noticeably (by a factor) above those of BASE's, which is the rule of asv.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from bench import ROOT, UserError

ALPHA = 0.02
FACTOR = 1.10
ROUNDS = 5  # the least p of 5 against 5 is 1/252; of 4 against 4, 1/70; of 3 against 3, 1/20, which proves nothing
LEAST_ROUNDS = 4


class Verdict(NamedTuple):
    """A benchmark at HEAD against the same at BASE."""

    ratio: float  # HEAD's median over BASE's
    p: float  # of the change in the direction the medians moved
    outcome: str  # "slower", "faster" or "same"


def judge(base: Sequence[float], head: Sequence[float], alpha: float = ALPHA, factor: float = FACTOR) -> Verdict:
    """Compare the seconds of several runs of each; a change must be significant and by more than ``factor``."""
    ratio = statistics.median(head) / statistics.median(base)
    side = "greater" if ratio > 1 else "less"
    p = float(stats.mannwhitneyu(head, base, alternative=side, method="exact").pvalue)
    moved = p < alpha and max(ratio, 1 / ratio) > factor
    return Verdict(ratio, p, ("slower" if ratio > 1 else "faster") if moved else "same")


def table(verdicts: dict[str, Verdict], only: Iterable[str]) -> str:
    """The verdicts as Markdown, the slowest first, and the benchmarks that only one revision could run."""
    lines = ["| benchmark | head / base | p | |", "| :--- | ---: | ---: | :--- |"]
    for name, verdict in sorted(verdicts.items(), key=lambda item: -item[1].ratio):
        mark = f"**{verdict.outcome}**" if verdict.outcome != "same" else ""
        lines.append(f"| `{name}` | {verdict.ratio:.3f} | {verdict.p:.3f} | {mark} |")
    return "\n".join(lines + [f"\nNot in both: `{name}`" for name in sorted(only)])


def medians(report: str) -> dict[str, float]:
    """Benchmark → median seconds, from pytest-benchmark's JSON."""
    return {one["fullname"]: one["stats"]["median"] for one in json.loads(report)["benchmarks"]}


@contextmanager
def worktree(revision: str, path: Path) -> Iterator[Path]:
    """The revision, checked out at ``path`` for as long as it is needed.

    :raises UserError: if git does not know the revision.
    """
    _git(f"revision '{revision}'", "worktree", "add", "--quiet", "--detach", str(path), revision)
    try:
        yield path
    finally:
        _git("the worktree", "worktree", "remove", "--force", str(path))


def _git(what: str, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"git cannot give {what}: {reason}")
    return done.stdout.strip()


def run_suite(tree: Path, select: str | None) -> dict[str, float]:
    """Median seconds of every benchmark that this tree can run.

    :raises UserError: if it can run none.
    """
    out = tree / "benchmark.json"
    out.unlink(missing_ok=True)
    words = [sys.executable, "-m", "pytest", "perf", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    words += ["--benchmark-only", f"--benchmark-json={out}", "--benchmark-min-rounds=3", "--benchmark-max-time=0.3"]
    words += ["-k", select] if select else []
    # python -m puts the tree first on the path; and what is broken at BASE is no reason to stop
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    if not out.is_file() or not (found := medians(out.read_text())):
        last = (done.stdout.strip() or done.stderr.strip() or "no output").splitlines()[-1]
        raise UserError(f"no benchmark ran in {tree.name}: {last}")
    return found


def compare(base: str, head: str, rounds: int, select: str | None) -> tuple[dict[str, Verdict], set[str]]:
    """The verdict on each benchmark, and the names of those that not every run had."""
    runs: dict[str, list[dict[str, float]]] = {"base": [], "head": []}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with worktree(base, scratch / "base") as old, worktree(head, scratch / "head") as new:
            shutil.rmtree(old / "perf", ignore_errors=True)
            shutil.copytree(new / "perf", old / "perf")
            for turn in range(rounds):
                for name, tree in (("base", old), ("head", new)):
                    runs[name].append(run_suite(tree, select))
                    print(f"round {turn + 1} of {rounds}: {name} done", file=sys.stderr, flush=True)
    everywhere = set.intersection(*(set(run) for of in runs.values() for run in of))
    anywhere = set.union(*(set(run) for of in runs.values() for run in of))
    verdicts = {name: judge(*([run[name] for run in runs[of]] for of in ("base", "head"))) for name in everywhere}
    return verdicts, anywhere - everywhere


def default_base() -> str:
    """``origin/main``, or the commit before this one where there is no such branch, or where it is this one."""
    try:
        main = _git("origin/main", "rev-parse", "--verify", "--quiet", "origin/main^{commit}")
    except UserError:
        return "HEAD~1"
    return "HEAD~1" if main == _git("HEAD", "rev-parse", "HEAD") else "origin/main"


def main(argv: list[str] | None = None) -> int:
    """Compare, print, append to the job's summary; 1 if anything is slower, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.compare", description=__doc__)
    parser.add_argument("base", nargs="?", help="a git revision (default origin/main, or HEAD~1)")
    parser.add_argument("head", nargs="?", default="HEAD", help="another (default HEAD: what is committed)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each (default {ROUNDS})")
    parser.add_argument("-k", dest="select", help="only the benchmarks that match, as pytest's -k")
    args = parser.parse_args(argv)
    try:
        if args.rounds < LEAST_ROUNDS:
            raise UserError(f"--rounds must be at least {LEAST_ROUNDS}: fewer cannot be significant")
        base = args.base or default_base()
        verdicts, only = compare(base, args.head, args.rounds, args.select)
    except UserError as error:
        print(f"perf.compare: {error}", file=sys.stderr)
        return 2
    slower = sorted(name for name, verdict in verdicts.items() if verdict.outcome == "slower")
    text = f"### Speed of {args.head} against {base}\n\n{table(verdicts, only)}\n\n"
    text += f"{len(slower)} slower (p < {ALPHA} and more than {FACTOR - 1:.0%})\n"
    print(text)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
