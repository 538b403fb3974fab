"""The ``ddpm-bench`` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import json
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.paths import LOCAL, REFERENCE, ROOT
from bench.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from bench.gate.verdicts import Outcome
    from bench.study.model import Cell
    from bench.study.study import Study

EXIT = """\
exit codes:
  0  done, and everything asked for succeeded
  1  some jobs or cells failed, or the check found that quality slipped
  2  the input was wrong; one line says how, and nothing was written
  3  the check could not measure
  4  the check cannot tell: more than chance or rounding should do, less than it could be sure of
  130  interrupted; run the same command again to finish what is missing
"""


CHECK = """\
change     a frozen network, sampled from the noise it had when the
           baseline was made, in a minute or two; nothing is trained but
           two tiny networks. Catches changes of schedules, samplers,
           objectives, averages, scores and how images are written
nightly    trains the study on fresh seeds: fails where FID is worse than
           the baseline's by more than its seeds explain, and by 25%
promotion  the same runs, but passes only where FID is shown not to be
           worse by 25%"""

QUERIES = """\
examples:
  the best cell of each objective and schedule
    ddpm-bench query "SELECT objective, schedule, min(fid) AS fid, arg_min(key, fid) AS key
                      FROM cells WHERE status = 'done' GROUP BY ALL ORDER BY fid"
  what training each network costs, and how far off the estimates were
    ddpm-bench query "SELECT net, device, count(*) AS jobs, median(epoch_s), median(abs(estimate_s / wall_s - 1))
                      FROM jobs WHERE status = 'done' GROUP BY ALL"
"""


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn a user's mistake into one line and exit code 2."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except UserError as error:
        print(f"ddpm-bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nddpm-bench: interrupted; run the same command again to finish what is missing", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be read, a path too long: the system's words say which
        print(f"ddpm-bench: {error}", file=sys.stderr)
        return 2
    return code


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ddpm-bench",
        description="Which objective, which schedule, how many steps? Train, sample, time and score a grid of "
        "diffusion models, and report the answer.",
        epilog="A study is a name (see `ddpm-bench plan --list`) or the path of a YAML file.\n\n" + EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Any, text: str, more: str = "") -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    def results(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--results",
            type=Path,
            metavar="DIR",
            help=f"the results folder (default {LOCAL.relative_to(ROOT)}; commands that only read fall back to "
            f"{REFERENCE.relative_to(ROOT)}, which comes with the project)",
        )

    def data_dir(to: argparse.ArgumentParser) -> None:
        to.add_argument("--data-dir", type=Path, metavar="DIR", help="where data sets lie (default data)")

    def device(to: argparse.ArgumentParser) -> None:
        to.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")

    def positive(text: str) -> int:
        if not text.isdigit() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"must be a positive integer, not '{text}'")
        return int(text)

    def natural(text: str) -> int:
        if not text.isdecimal() or int(text) >= 2**63:
            raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2**63 - 1, not '{text}'")
        return int(text)

    def running(to: argparse.ArgumentParser) -> None:
        results(to)
        data_dir(to)
        device(to)
        to.add_argument(
            "--threads",
            type=positive,
            metavar="N",
            help="CPU threads of each job (default: all, shared out among --workers). Training's rounding depends on "
            "it, so keep it the same for results that must match to the byte",
        )
        to.add_argument(
            "--engine",
            default="auto",
            metavar="NAME",
            help="how networks are evaluated: eager, compiled, or auto (default): whichever a trial on this machine "
            "finds faster, where there is enough to do. On CUDA also graphs and lower precisions",
        )

    p = command("plan", _plan, "print a study's jobs and cells, and what is already done")
    p.add_argument("study", nargs="?", default="quick", help="name or YAML file (default quick)")
    p.add_argument("--list", action="store_true", help="list the studies that come with the project")
    p.add_argument("--cells", action="store_true", help="print every job with what it should take, and every cell")
    results(p)

    p = command(
        "run",
        _run,
        "run what is missing of a study",
        "Interrupt it at any time; the same command goes on\nfrom the last complete epoch.",
    )
    p.add_argument("study", nargs="?", default="quick", help="name or YAML file (default quick)")
    running(p)
    p.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="jobs at once (default 1); with more than one a device, durations are kept out of the tables",
    )
    p.add_argument("--sample-batch", type=positive, metavar="N", help="images sampled at a time (changes no byte)")
    p.add_argument("--retry", action="store_true", help="also try again what diverged")
    p.add_argument("--report", action="store_true", help="write the report when done")

    p = command("status", _status, "count what is done, failed and missing of a study")
    p.add_argument("study", nargs="?", help="name or YAML file (default: every study with results)")
    results(p)

    p = command("table", _table, "print a row for each cell of a study")
    p.add_argument("study", nargs="?", default="quick", help="name or YAML file (default quick)")
    p.add_argument("--format", choices=("md", "csv", "json"), default="md", help="default md, the main columns only")
    results(p)

    p = command(
        "query",
        _query,
        "ask the results anything, in SQL",
        "Views: cells (the columns of `ddpm-bench table`, a row for each\ncell whatever its study) and jobs (training "
        "runs). Columns: ddpm-bench query 'DESCRIBE cells'. Nothing is written.",
    )
    p.epilog = QUERIES
    p.add_argument("sql", help="one SELECT (duckdb's dialect)")
    p.add_argument("--format", choices=("md", "csv", "json"), default="md")
    results(p)

    p = command(
        "compare",
        _compare,
        "compare two sets of results, cell by cell",
        "A and B are results folders, or git revisions of one\n(REVISION or REVISION:FOLDER, by default "
        "results/reference). Cells that share training seeds are paired.",
    )
    p.add_argument("a", metavar="A", help="the set to compare with")
    p.add_argument("b", metavar="B", help="the set in question")
    p.add_argument("--metric", default="fid", metavar="NAME", help="default fid")
    p.add_argument("--format", choices=("md", "csv", "json"), default="md")

    p = command("report", _report, "write the report of a study: Markdown, PDF and figures")
    p.add_argument("study", nargs="?", help="name or YAML file (default: every study with results)")
    p.add_argument("--out", type=Path, metavar="DIR", help="where to (default reports/<results folder's name>)")
    results(p)

    p = command(
        "theory",
        _theory,
        "write the page of what follows from the formulas alone",
        "SNR curves, loss weights in x₀ space, conditioning, the\nstep-count confound and each sampler's own error: "
        "computed in seconds, without training.",
    )
    p.add_argument("schedules", nargs="*", metavar="SCHEDULE", help="the ones to show, as a study names them (all)")
    p.add_argument("-T", type=positive, default=1000, help="diffusion steps (default 1000)")
    p.add_argument("--dataset", default="mnist", help="whose pixels the prior term is for (default mnist)")
    p.add_argument("--out", type=Path, metavar="DIR", default=ROOT / "reports" / "theory", help="(reports/theory)")
    data_dir(p)

    p = command(
        "check",
        _check,
        "compare this version with a committed baseline: fails when quality slips",
        CHECK,
    )
    p.add_argument("mode", nargs="?", default="change", choices=("change", "nightly", "promotion"))
    p.add_argument("--study", default="smoke", help="what nightly and promotion train (default smoke)")
    p.add_argument("--seeds", type=positive, metavar="N", help="training seeds (default 3; 10 for a baseline)")
    p.add_argument("--baseline", type=Path, metavar="FILE", help="default in results/baselines")
    p.add_argument("--update-baseline", action="store_true", help="make the baseline anew; needs --why")
    p.add_argument("--why", metavar="TEXT", help="what changed and why, kept in the baseline beside who and when")
    p.add_argument("--network", metavar="KEY", help="with it: freeze the network of this training run of the results")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write the outcome as JSON")
    p.add_argument("--junit", type=Path, metavar="FILE", help="also write it as JUnit XML")
    running(p)

    p = command(
        "score",
        _score,
        "score images, whoever made them",
        "PATH is a folder of PNGs, or an .npy or .npz file of\n(N, H, W), (N, H, W, C) or (N, C, H, W): uint8, "
        "floats in [0, 1], or floats in [-1, 1].",
    )
    p.add_argument("path", type=Path)
    p.add_argument("--dataset", default="mnist", help="what they should look like (default mnist)")
    p.add_argument("--format", choices=("md", "json"), default="md")
    p.add_argument(
        "--thorough",
        action="store_true",
        help="also look for copies of training images, at each class by itself, and at pixels (a minute or two)",
    )
    results(p)
    data_dir(p)
    device(p)

    p = command("sample", _sample, "draw an image grid from a trained cell")
    p.add_argument("cell", help="a cell's key, or the start of one (see `ddpm-bench table --format csv`)")
    p.add_argument("-n", type=positive, default=64, help="how many images (default 64)")
    p.add_argument("--seed", type=natural, default=0, help="the noise (default 0)")
    p.add_argument("--out", type=Path, default=Path("samples.png"), help="a .png grid, or .npz of all (samples.png)")
    results(p)
    device(p)

    p = command("classifier", _classifier, "retrain the classifier that scores samples")
    p.add_argument("--dataset", default="mnist")
    p.add_argument("--epochs", type=positive, help="default: the recipe's")
    p.add_argument("--out", type=Path, default=Path("classifier.safetensors"), help="default classifier.safetensors")
    data_dir(p)

    p = command("doctor", _doctor, "check device, versions, data and classifier")
    p.add_argument("--speed", action="store_true", help="also measure the machine, and the networks against it")
    results(p)
    data_dir(p)
    device(p)
    return parser


def _console() -> Console:
    from rich.console import Console

    return Console()


def _readable(args: argparse.Namespace, study: Study | None = None) -> Store:
    """The folder asked for; else the local one if it has anything of the study; else the one that comes along."""
    if args.results:
        if not args.results.is_dir():
            raise UserError(f"no results folder {args.results}")
        return Store(args.results)
    local = Store(LOCAL)
    if study is None:
        has = any((LOCAL / "cells").glob("*.json"))
    else:
        has = any(local.path("cells", cell.key, ".json").exists() for cell in study.cells)
    return local if has or not REFERENCE.is_dir() else Store(REFERENCE)


def _relative(path: Path) -> str:
    """The path as a user would type it."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _warn(study: Study) -> None:
    for warning in study.warnings():
        print(f"warning: {warning}", file=sys.stderr)


def _damaged(store: Store) -> None:
    for path in store.damaged:
        print(f"damaged file, counted as missing: {_relative(path)}", file=sys.stderr)


def _plan(args: argparse.Namespace) -> int:
    from bench.execute import cost
    from bench.execute.schedule import Options, to_do
    from bench.machine.devices import pick_device
    from bench.score.scorer import pinned
    from bench.store.status import survey
    from bench.study import load as studies

    if args.list:
        for name in studies.available():
            study = studies.load(name)
            print(f"{name:8} {len(study.jobs):4} jobs {len(study.cells):5} cells  {study.description}")
        return 0
    study = studies.load(args.study)
    store = Store(args.results or LOCAL)
    _warn(study)
    evaluations = sum(cell.n * cell.evaluations for cell in study.cells)
    device = pick_device("auto").type
    model = cost.calibrate(store, device, Options(device).threads_each)
    lines, seconds, cells, jobs = [], 0.0, 0, 0
    for key, together in itertools.groupby(
        survey(study.cells, store, pinned(study.dataset)), lambda found: found.cell.job.key
    ):
        job = list(together)
        left = [found for found in job if to_do(found)]
        cells += sum(found.status != "done" for found in job)
        jobs += bool(left)
        takes = model.seconds(left, store)
        seconds += math.nan if takes is None else takes
        if args.cells:
            about = "nothing left" if not left else f"{len(left)} cells left, {_about(takes)}"
            lines.append(f"{key}  {job[0].cell.job.label}: {about}")
            lines += [f"  {found.cell.key}  {found.status:8} {found.cell.label}" for found in job]
    print(f"{study.name}: {len(study.jobs)} jobs, {len(study.cells)} cells; {len(study.cells) - cells} cells done")
    print(
        f"{study.dataset}, {study.train.epochs} epochs a job; {study.score.n} samples a cell, "
        f"{evaluations:,} network evaluations in all"
    )
    if jobs:
        known = " (from runs on another machine, or with other threads)" if model.train and not model.here else ""
        print(f"left: {jobs} jobs, {_about(None if math.isnan(seconds) else seconds)}{known}")
    for name, values in study.axes:
        print(f"  {name:13} {', '.join(map(str, values))}")
    for line in lines:
        print(line)
    _damaged(store)
    return 0


def _about(seconds: float | None) -> str:
    """An estimate, in words."""
    from bench.text import duration

    return "time unknown until a job has run here" if seconds is None else f"about {duration(seconds)}"


def _run(args: argparse.Namespace) -> int:
    if not ((args.results or LOCAL) / "cells").is_dir():  # else there may be nothing to do
        from bench.execute import processes

        processes.warm()  # it imports while this process does
    from bench.study import load as studies

    study = studies.load(args.study)
    store = Store(args.results or LOCAL)
    _warn(study)
    code = _execute(study, store, args, args.workers, args.sample_batch, args.retry)
    if args.report:
        from bench.report import write

        out = ROOT / "reports" / store.root.resolve().name
        made = write(study, store, out)
        print(f"report: {_relative(made.markdown)} and {_relative(made.pdf)}")
    return code


def _execute(
    study: Study,
    store: Store,
    args: argparse.Namespace,
    workers: int = 1,
    sample_batch: int | None = None,
    retry: bool = False,
) -> int:
    """Run a study with the display that fits, and return the exit code."""
    from bench.execute.local import run_study
    from bench.execute.schedule import Options
    from bench.job import engine
    from bench.machine.devices import pick_device
    from bench.machine.sources import code_hash
    from bench.score.scorer import pinned
    from bench.sinks.console import show
    from bench.store.status import survey

    device = args.device if args.device != "auto" else pick_device("auto").type
    engine.check(args.engine, pick_device(device))
    options = Options(device, workers, args.threads, args.data_dir, sample_batch, retry, args.engine)
    failed: list[tuple[str, str]] = []
    for event in show(run_study(study, store, options), _console()):
        if event["event"] == "end":
            failed = event["failed"]
    store.damaged.clear()  # what was found before has been made again
    done = other = 0
    for found in survey(study.cells, store, pinned(study.dataset)):
        done += found.status == "done"
        other += found.record is not None and _code(found.record) not in (None, code_hash())
    print(f"{study.name}: {done} of {len(study.cells)} cells done in {_relative(store.root)}")
    if other:
        print(
            f"note: {other} of them were made by another version of the code; use a new --results folder to redo them",
            file=sys.stderr,
        )
    _damaged(store)
    for name, reason in failed:
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 0 if done == len(study.cells) else 1


def _code(record: dict[str, Any]) -> str | None:
    """The version of the code that made a cell; None where it failed."""
    return record["environment"]["code"] if record["status"] == "done" else None


def _with_results(args: argparse.Namespace) -> list[tuple[Study, Store]]:
    """The study asked for, or every shipped one that has results."""
    from bench.study import load as studies

    if args.study:
        study = studies.load(args.study)
        return [(study, _readable(args, study))]
    found = []
    for name in studies.available():
        study = studies.load(name)
        store = _readable(args, study)
        if any(store.path("cells", cell.key, ".json").exists() for cell in study.cells):
            found.append((study, store))
    return found


def _status(args: argparse.Namespace) -> int:
    import statistics
    from collections import Counter

    from bench.execute.cost import past
    from bench.score.scorer import pinned
    from bench.store.status import survey
    from bench.text import duration

    pairs = _with_results(args)
    if not pairs:
        print("no results yet; `ddpm-bench run` makes some")
    for study, store in pairs:
        counts: Counter[str] = Counter()
        codes: set[str] = set()
        failed: dict[tuple[str, str | None], None] = {}
        took = {}
        for found in survey(study.cells, store, pinned(study.dataset)):
            counts[found.status] += 1
            key = found.cell.job.key
            if found.record is not None and (code := _code(found.record)):
                codes.add(code)
            if found.status == "failed":
                failed[key, found.reason] = None
            if found.job is not None and key not in took:
                took[key] = past([found.job])
        text = ", ".join(f"{counts[name]} {name}" for name in ("done", "failed", "stale", "missing") if counts[name])
        more = f"; made by {len(codes)} versions of the code" if len(codes) > 1 else ""
        print(f"{study.name}: {len(study.cells)} cells: {text} ({_relative(store.root)}){more}")
        if runs := [run for of_job in took.values() for run in of_job]:
            expected, truth = sum(run.estimate_s for run in runs), sum(run.wall_s for run in runs)
            print(
                f"  estimates of {len(runs)} runs of jobs: off by {statistics.median(run.error for run in runs):.0%} "
                f"in the median; {duration(expected)} expected, {duration(truth)} taken"
            )
        for job, reason in failed:
            print(f"  failed: job {job}: {reason}")
        _damaged(store)
    return 0


MAIN = (
    "net", "objective", "schedule", "T", "seed", "sampler", "sample_steps", "eta", "n", "fid", "fid_floor",
    "fid_ceiling", "kid", "kid_se", "precision", "recall", "confidence", "epoch_s", "sample_images_per_s", "status",
)  # fmt: skip


MOST_ROWS = 500
"""Longest Markdown table; CSV and JSON have all rows."""


def _table(args: argparse.Namespace) -> int:
    from bench.analysis.table import columns, iter_rows
    from bench.study import load as studies

    study = studies.load(args.study)
    store = _readable(args, study)
    found = iter_rows(study, store)
    if args.format == "md":
        best = heapq.nsmallest(MOST_ROWS, found, key=_by_fid) if len(study.cells) > MOST_ROWS else list(found)
        print(markdown(best))
        if len(study.cells) > MOST_ROWS:
            print(
                f"\nThe {MOST_ROWS} with the lowest FID of {len(study.cells):,} cells; "
                f"`ddpm-bench table {args.study} --format csv` has all."
            )
    else:
        names = columns()
        _print(args.format, names, ([row[name] for name in names] for row in found))
    _damaged(store)
    return 0


def _by_fid(row: dict[str, Any]) -> float:
    fid = row["fid"]
    return math.inf if fid is None or math.isnan(fid) else fid


def _print(style: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows as CSV or JSON, a row at a time, so that any number of them passes."""
    if style == "csv":
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(columns)
        out.writerows(["" if value != value else value for value in row] for row in rows)
        return
    between = "[\n"
    for row in rows:
        text = json.dumps(dict(zip(columns, row, strict=True)), indent=1, ensure_ascii=False, default=str)
        sys.stdout.write(between + textwrap.indent(text, " "))
        between = ",\n"
    print("[]" if between == "[\n" else "\n]")


def _query(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from bench.analysis.query import ask

    store = _readable(args)
    answer = ask(args.sql, store)
    if args.format == "md":
        body = [["" if value is None else value for value in row] for row in answer.rows]
        print(tabulate(body, answer.columns, tablefmt="github", floatfmt=".4g"))
    else:
        _print(args.format, answer.columns, answer.rows)
    _damaged(store)
    return 0


def markdown(rows: list[dict[str, Any]]) -> str:
    """The main columns as a Markdown table, without those that are empty throughout."""
    from tabulate import tabulate

    columns = [name for name in MAIN if any(row[name] is not None for row in rows)]
    body = [["" if row[name] is None else row[name] for name in columns] for row in rows]
    return str(tabulate(body, columns, tablefmt="github", floatfmt=".4g"))


def _report(args: argparse.Namespace) -> int:
    from bench.report import write

    pairs = _with_results(args)
    if not pairs:
        raise UserError("no results to report; `ddpm-bench run` makes some")
    for study, store in pairs:
        out = args.out or ROOT / "reports" / store.root.resolve().name
        made = write(study, store, out)
        print(f"{'written' if made.fresh else 'up to date'}: {_relative(made.markdown)} and {_relative(made.pdf)}")
        _damaged(store)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from collections import Counter

    from tabulate import tabulate

    from bench.analysis import compare
    from bench.rows import known

    known("metric", args.metric)
    with compare.opened(args.a) as first, compare.opened(args.b) as second:
        a, b = compare.read(first, args.metric), compare.read(second, args.metric)
    compare.check(a, b)
    rows = compare.compare(a, b, args.metric)
    columns = ["cell", "n", "runs A", "runs B", "A", "B", "B/A", "low", "high", "pairs", "p", "p (Holm)", "verdict"]
    body = [
        [r.label, r.n, r.runs_a, r.runs_b, r.a, r.b, *r.ratio[:3], r.ratio.pairs, r.ratio.p, r.p_holm, r.verdict]
        for r in rows
    ]
    if args.format != "md":
        _print(args.format, columns, ([None if value != value else value for value in row] for row in body))
        return 0
    print(tabulate([["" if v != v else v for v in row] for row in body], columns, tablefmt="github", floatfmt=".3g"))
    counts = Counter(row.verdict for row in rows)
    only = [len(side.settings.keys() - other.settings.keys()) for side, other in ((a, b), (b, a))]
    print(f"\n{args.metric}: {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())}", end="")
    print(f"; only in A {only[0]}, only in B {only[1]}" if any(only) else "")
    print("Intervals are 95%, over training seeds; a verdict needs p (Holm) below 0.05.")
    return 0


def _theory(args: argparse.Namespace) -> int:
    from bench.images import datasets
    from bench.report import write_files
    from bench.report.document import Pictures
    from bench.rows import known, read
    from bench.theory.page import compose
    from ddpm.schedule import SCHEDULES, make_schedule

    known("dataset", args.dataset)
    try:
        schedules = [read("schedule", given) for given in args.schedules or SCHEDULES]
        for schedule in schedules:
            known("schedule", schedule.name)
        make_schedule(schedules[0], args.T)
    except ValueError as error:
        raise UserError(str(error)) from error
    images = datasets.load(args.dataset, args.data_dir)
    pixels = datasets.to_float(images.train).double()
    pictures = Pictures()
    text = compose(
        args.dataset, (float(pixels.mean()), float(pixels.std())), list(map(str, schedules)), args.T, pictures
    )
    write_files(args.out, text, pictures.drawn)
    print(f"written: {_relative(args.out / 'report.md')} and {_relative(args.out / 'report.pdf')}")
    return 0


def _check(args: argparse.Namespace) -> int:
    """One of three gates; the verdict on all of its checks is the exit code."""
    from bench.gate import verdicts

    if args.update_baseline and not (args.why or "").strip():
        raise UserError("--update-baseline needs --why: what changed, and why that is meant")
    outcomes = (_check_change if args.mode == "change" else _check_runs)(args)
    if outcomes is None:
        return 0
    return verdicts.tell(outcomes, f"Sample quality: {args.mode}", {"mode": args.mode}, args.json, args.junit)


def _check_change(args: argparse.Namespace) -> list[Outcome] | None:
    """The frozen network; None where the baseline was made instead."""
    from bench.gate import change, verdicts
    from bench.images import datasets
    from bench.job.failures import reason_of
    from bench.score.scorer import Scorer

    path = (args.baseline or change.NAME).with_suffix("")
    store = Store(args.results or LOCAL)
    if args.network and args.update_baseline:
        weights, history = change.trained(store, args.network), change.past(path)
    else:
        baseline, weights = change.read(path)
        history = baseline.history
    scorer = Scorer("mnist", datasets.load("mnist", args.data_dir), store, change.CPU)
    network = change.Frozen(weights, scorer)
    if args.update_baseline:
        change.write(change.measure(network, [*history, _change(args.why)]), weights, path)
        print(f"baseline: {_relative(path)}.*")
        return None
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(change.check(network, baseline))
    except UserError:
        raise
    except Exception as error:  # whatever a change has broken
        outcomes.append(verdicts.Outcome("frozen network", verdicts.NOT_MEASURED, None, None, reason_of(error)))
    return outcomes


def _check_runs(args: argparse.Namespace) -> list[Outcome] | None:
    """Training runs of a small study on fresh seeds; None where the baseline was made instead."""
    from bench.analysis.table import rows
    from bench.gate import nightly, verdicts
    from bench.machine.devices import pick_device
    from bench.machine.provenance import environment
    from bench.machine.sources import code_hash
    from bench.study import load as studies
    from bench.study.study import Study

    study = studies.load(args.study)
    path = args.baseline or nightly.BASELINES / f"{study.name}.json"
    store = Store((args.results or LOCAL) / "check" / code_hash())
    if args.update_baseline:
        seeds = list(range(args.seeds or nightly.REFERENCE_SEEDS))
        if len(seeds) < nightly.SEEDS:
            raise UserError(f"--update-baseline needs {nightly.SEEDS} seeds at least")
        history = nightly.read_baseline(path).get("history", []) if path.is_file() else []
    else:
        baseline = nightly.read_baseline(path)
        seeds = nightly.fresh_seeds(baseline, args.seeds or nightly.NIGHTLY_SEEDS)
    axes = study.axes.model_copy(update={"seed": seeds})
    study = Study(**{**study.model_dump(), "axes": axes, "claims": []})
    failed = _execute(study, store, args)
    if args.update_baseline:
        about = {"environment": environment(pick_device(args.device)), "history": [*history, _change(args.why)]}
        made = nightly.make_baseline(study.name, rows(study, store), about)
        Store(path.parent).write_bytes(path, (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"baseline of {len(seeds)} seeds: {_relative(path)}")
        return None
    if failed:
        return [verdicts.Outcome(study.name, verdicts.NOT_MEASURED, None, None, "some cells failed")]
    return nightly.judge(rows(study, store), baseline, promotion=args.mode == "promotion")


def _change(why: str) -> dict[str, str]:
    """Who changes a baseline, when, on what commit, and why."""
    import getpass
    import subprocess
    from datetime import UTC, datetime

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    who = git("config", "user.name") or getpass.getuser()
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"who": who, "when": when, "commit": git("rev-parse", "HEAD"), "why": why.strip()}


def _score(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from bench.images import datasets, files
    from bench.machine import devices
    from bench.rows import known
    from bench.score import copies
    from bench.score.metrics import METRICS
    from bench.score.scorer import Scorer

    known("dataset", args.dataset)
    device = devices.pick_device(args.device)
    row = datasets.DATASETS[args.dataset]
    large = files.stream(args.path, row.channels, row.side)
    if large is None:
        whole, how = files.read(args.path, row.channels, row.side)
        n = len(whole)
    else:
        n, parts, how = large
        if args.thorough:
            raise UserError(f"--thorough is for at most {files.STREAMED:,} images, not {n:,}")
    images = datasets.load(args.dataset, args.data_dir)
    scorer = Scorer(args.dataset, images, Store(args.results or LOCAL), device)
    scores = scorer.score(whole) if large is None else scorer.stream(parts).scores(scorer.reference)
    bounds = scorer.bounds(n) if n <= len(images.test) else {}
    more = copies.look(scorer, whole) if args.thorough else None
    if args.format == "json":
        about = {"n": n, "classifier": scorer.classifier, "dataset_sha256": scorer.dataset_sha256}
        about |= {"metrics": scores, **bounds} | ({} if more is None else {"thorough": more})
        print(json.dumps({"path": str(args.path), "read_as": how, **about}, indent=1))
        return 0
    print(f"{n:,} images from {args.path} ({how}), scored by {scorer.name}")
    table = [
        [name, scores[name], *[bounds[b][name] for b in bounds], metric.better or ""]
        for name, metric in METRICS.items()
        if name in scores
    ]
    heads = ["metric", "value", *(["floor (test images)", "ceiling (noise)"] if bounds else []), "better"]
    print(tabulate(table, heads, tablefmt="github", floatfmt=".4g"))
    if more is not None:
        print("\n" + "\n".join(copies.describe(more)))
    return 0


def _find_cell(prefix: str, store: Store) -> Cell:
    from bench.study.model import Cell

    keys = sorted(p.stem for p in (store.root / "cells").glob("*.json") if p.name.startswith(prefix))
    if len(keys) != 1:
        what = "no cell" if not keys else f"{len(keys)} cells"
        raise UserError(f"{what} in {_relative(store.root)} with a key that starts with '{prefix}'")
    record = store.read("cells", keys[0])
    if record is None:
        raise UserError(f"damaged file: {store.path('cells', keys[0], '.json')}; run its study again")
    return Cell.model_validate(record["config"])


def _sample(args: argparse.Namespace) -> int:
    import io

    import numpy as np
    import torch

    from bench.images import datasets
    from bench.images.grids import png, tile_grid
    from bench.job.checkpoints import averaged
    from bench.job.generate import generate
    from bench.machine import devices
    from bench.rows import needed
    from bench.study.model import ORACLE
    from ddpm.nets import classes_of, make_net
    from ddpm.oracle import Mixture
    from ddpm.schedule import make_schedule

    if args.out.suffix not in (".png", ".npz"):
        raise UserError(f"--out must end in .png or .npz, not '{args.out.name}'")
    store = _readable(args)
    cell = _find_cell(args.cell, store)
    needed(cell.packages)
    device = devices.pick_device(args.device)
    schedule = make_schedule(cell.job.schedule, cell.job.T)
    kept = store.load_tensors("checkpoints", cell.job.key)
    if kept is None and cell.job.net != ORACLE:
        raise UserError(
            f"no checkpoint of {cell.job.label} in {_relative(store.root)}; "
            "checkpoints of the results that come with the project are not all kept: run its study first"
        )
    row = datasets.DATASETS[cell.job.dataset]
    if kept is None:
        images = datasets.load(cell.job.dataset).train[: cell.job.train.images]
        net: torch.nn.Module = Mixture(schedule, cell.job.objective, images)
    else:
        net = make_net(cell.job.net, row.channels, row.side)
        own = {k[4:]: v for k, v in kept[0].items() if k.startswith("ema.")}
        length = cell.sampling.ema
        net.load_state_dict(own if length is None else averaged(cell.job, store, length))
    batches = generate(
        net.to(device).eval(),
        schedule,
        cell.job.objective,
        cell.sampling.model_copy(update={"sample_seed": args.seed}),
        shape=(row.channels, row.side),
        n=args.n,
        device=device,
        classes=classes_of(cell.job.net),
    )
    try:
        images = torch.cat([batch.images for batch in batches])
    except FloatingPointError as error:
        raise UserError(str(error)) from error
    if args.out.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images.numpy())
        content = buffer.getvalue()
    else:
        content = png(tile_grid(images, max(1, round(args.n**0.5))))
    Store(args.out.parent).write_bytes(args.out, content)
    print(f"{args.n} images of {cell.job.label}, {cell.label}: {_relative(args.out)}")
    return 0


def _classifier(args: argparse.Namespace) -> int:
    from bench.images import datasets
    from bench.rows import known
    from bench.score import classifier

    known("dataset", args.dataset)
    images = datasets.load(args.dataset, args.data_dir)
    if args.out.is_dir():
        raise UserError(f"--out names a folder: {args.out}")
    Store(args.out.parent).writable("")  # now, not after minutes of training
    options = {"epochs": args.epochs} if args.epochs else {}
    for progress, trained in classifier.train(images, **options):
        network = trained
        print(f"epoch {progress.epoch}: loss {progress.loss:.4f}, test accuracy {progress.accuracy:.4f}", flush=True)
    about = {"dataset": args.dataset, "dataset_sha256": images.sha256, "accuracy": f"{progress.accuracy:.4f}"}
    sha256 = classifier.save(network, args.out, about)
    print(f"written: {_relative(args.out)}, sha256 {sha256}")
    if args.dataset in classifier.PINNED:
        pinned = classifier.load(*classifier.PINNED[args.dataset]).state_dict()
        same = all(value.equal(pinned[name]) for name, value in network.state_dict().items())
        print(f"its weights are {'those' if same else 'not those'} of the pinned one")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    if args.speed:
        from bench.execute import processes

        processes.start_again()  # to be timed as jobs run
    from bench import doctor

    return doctor.report(args.device, args.results or LOCAL, args.data_dir, args.speed)


if __name__ == "__main__":
    sys.exit(main())
