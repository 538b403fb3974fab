"""The gate of speed, two revisions' timings in one job: ``python -m perf.compare BASE [HEAD]``.

Both are checked out, and the benchmark suites of HEAD run against each, in turn, several times: a machine's speed
drifts more between jobs than within one. A benchmark fails when the medians of HEAD's runs are both significantly
(a one-sided Mann-Whitney test) and noticeably (by a factor) above those of BASE's, which is the rule of asv. Above by
that factor, but as likely by chance, is undecided. Verdicts, exit codes and files are those of ``ddpm-bench check``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scipy import stats

from bench.errors import UserError
from bench.gate.verdicts import FAIL, NOT_MEASURED, PASS, UNDECIDED, Outcome, tell
from bench.paths import ROOT

ALPHA = 0.02
FACTOR = 1.10
ROUNDS = 5  # the least p of 5 against 5 is 1/252; of 4 against 4, 1/70; of 3 against 3, 1/20, which proves nothing
LEAST_ROUNDS = 4


def judge(
    name: str, base: Sequence[float], head: Sequence[float], alpha: float = ALPHA, factor: float = FACTOR
) -> Outcome:
    """Compare the seconds of several runs of a benchmark at each: the value is HEAD's median over BASE's."""
    ratio = statistics.median(head) / statistics.median(base)
    side = "greater" if ratio > 1 else "less"
    p = float(stats.mannwhitneyu(head, base, alternative=side, method="exact").pvalue)
    large, sure = max(ratio, 1 / ratio) > factor, p < alpha
    verdict = PASS if ratio <= factor else FAIL if sure else UNDECIDED
    change = ("slower" if ratio > 1 else "faster") if large and sure else ""
    return Outcome(name, verdict, ratio, factor, ", ".join(filter(None, [change, f"p = {p:.3f}"])))


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


def compare(base: str, head: str, rounds: int, select: str | None) -> list[Outcome]:
    """The outcome of each benchmark, the slowest first.

    What HEAD cannot run was not measured; what only BASE cannot run is new, and passes over.
    """
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
    return outcomes(runs["base"], runs["head"])


def outcomes(base: Sequence[dict[str, float]], head: Sequence[dict[str, float]]) -> list[Outcome]:
    """The outcome of each benchmark of either revision's runs, the slowest first."""
    always_in_base, always_in_head = (set.intersection(*map(set, runs)) for runs in (base, head))
    found = [
        judge(name, [run[name] for run in base], [run[name] for run in head])
        for name in always_in_base & always_in_head
    ]
    found.sort(key=lambda one: (-(one.value or 0), one.name))
    lost = sorted(set().union(*base, *head) - always_in_head)
    new = sorted(always_in_head - always_in_base)
    found += [Outcome(name, NOT_MEASURED, None, FACTOR, "HEAD cannot run it") for name in lost]
    return found + [Outcome(name, PASS, None, FACTOR, "new: BASE cannot run it") for name in new]


def default_base() -> str:
    """``origin/main``, or the commit before this one where there is no such branch, or where it is this one."""
    try:
        main = _git("origin/main", "rev-parse", "--verify", "--quiet", "origin/main^{commit}")
    except UserError:
        return "HEAD~1"
    return "HEAD~1" if main == _git("HEAD", "rev-parse", "HEAD") else "origin/main"


def main(argv: list[str] | None = None) -> int:
    """Compare, tell, and return the exit code of what was found; 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m perf.compare", description=__doc__)
    parser.add_argument("base", nargs="?", help="a git revision (default origin/main, or HEAD~1)")
    parser.add_argument("head", nargs="?", default="HEAD", help="another (default HEAD: what is committed)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each (default {ROUNDS})")
    parser.add_argument("-k", dest="select", help="only the benchmarks that match, as pytest's -k")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write them there as JUnit XML")
    args = parser.parse_args(argv)
    try:
        if args.rounds < LEAST_ROUNDS:
            raise UserError(f"--rounds must be at least {LEAST_ROUNDS}: fewer cannot be significant")
        base = args.base or default_base()
        found = compare(base, args.head, args.rounds, args.select)
    except UserError as error:
        print(f"perf.compare: {error}", file=sys.stderr)
        return 2
    return tell(found, f"Speed of {args.head} against {base}", {"mode": "speed"}, args.json, args.junit)


if __name__ == "__main__":
    sys.exit(main())
