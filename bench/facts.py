"""Figures in README and docs, written from the results: ``python -m bench.facts``.

A figure in a Markdown file stands between two comments, the first of which asks for it::

    FID <!--= best quick fid -->5.87<!---->

The question is a row of :data:`FACTS` and its words. A test compares every figure with the results, so that none can
be wrong for long.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from tabulate import tabulate

from bench.analysis import beside as side_by_side
from bench.analysis import claims
from bench.analysis.beside import SAME, TURNED
from bench.analysis.best import best_of
from bench.analysis.effects import scatter as components
from bench.analysis.frames import Results
from bench.analysis.stats import ALPHA
from bench.analysis.steps import in_words
from bench.errors import UserError
from bench.paths import REFERENCE, ROOT
from bench.race import rules, words
from bench.race.records import FOLDER
from bench.report import calibration
from bench.report.formats import short
from bench.report.render.markdown import escape
from bench.report.sections.common import learnt_runs
from bench.report.sections.steps import by_sampler
from bench.score.calibrated import FEW, smallest
from bench.score.classifier import about
from bench.score.judges import PANELS, judges_of
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.study.load import load

T = TypeVar("T")
MARK = re.compile(r"<!--= (?P<question>.+?) -->(?P<answer>.*?)<!---->", re.DOTALL)


@cache
def results(study: str) -> Results:
    """The committed results of a study."""
    return Results(load(study), Store(REFERENCE))


def best(study: str, what: str) -> str:
    """The best setting of a study: ``fid``, ``range`` over seeds, any column, or the ``setting`` itself."""
    return _of(results(study).settings.iloc[0], what)


def setting(study: str, where: str, what: str) -> str:
    """The same of the best setting with ``column=value;…``; what is not there is ``null``."""
    return _of(_where(study, where), what)


def _of(row: Any, what: str) -> str:
    if what == "setting":
        return f"`{row['objective']}`, `{row['schedule']}`, `{row['sampler']}`, {row['sample_steps']} steps"
    return _range(row["low"], row["high"]) if what == "range" else _shown(row[what])


def times(study: str, first: str, second: str) -> str:
    """How many times the FID of the best setting of the ``second`` kind is that of the ``first``: of medians."""
    return f"{_where(study, second)['fid'] / _where(study, first)['fid']:.1f}"


def _where(study: str, conditions: str) -> Any:
    frame = results(study).settings
    for condition in conditions.split(";"):
        name, _, value = condition.partition("=")
        frame = frame[frame[name].astype(object).fillna("null").map(str) == value]
    return frame.iloc[0]


def bound(study: str, which: str) -> str:
    """FID of real test images (``floor``) or of noise (``ceiling``) at a study's N."""
    floor, ceiling = _known(results(study).bounds)
    return _shown({"floor": floor, "ceiling": ceiling}[which]["fid"])


@cache
def verdicts(study: str) -> dict[str, claims.Verdict]:
    """The verdict on each claim of a study, by its text."""
    return {one.claim.text: one for one in results(study).verdicts}


def claim(study: str, text: str, what: str) -> str:
    """Of a claim: its ``word``, the ``ratio``, its ``interval``, or how many times ``lower`` the first is.

    :raises LookupError: for all but the word, if its metric is compared by differences.
    """
    verdict = verdicts(study)[text]
    if what == "word":
        return verdict.word
    ratio = _known(verdict.found if verdict.scale == "ratio" else None)
    said: dict[str, Callable[[], str]] = {
        "ratio": lambda: f"{ratio.value:.2f}",
        "lower": lambda: f"{1 / ratio.value:.2f}" if ratio.value > 0.1 else short(1 / ratio.value),
        "interval": lambda: f"{ratio.low:.2f} to {ratio.high:.2f}",
        "lower-interval": lambda: f"{1 / ratio.high:.2f} to {1 / ratio.low:.2f}",
    }
    return said[what]()


def panel(study: str, text: str, word: str) -> str:
    """How many of the other judges give a claim the verdict ``word``: ``3 of 5``."""
    said = verdicts(study)[text].panel.values()
    return f"{list(said).count(word)} of {len(_known(said or None))}"


@cache
def beside(study: str, what: str) -> str:
    """Of a study and the one beside it: how many claims have the ``same`` answer in both, or the opposite (``turned``).

    ``open``: one of them or both leave it undecided. ``claims``: all of them. ``correlation``: that of the orders.
    """
    here = results(study)
    found = side_by_side.both(here, _known(side_by_side.other(here)))
    same, turned, every = found.counts.get(SAME, 0), found.counts.get(TURNED, 0), len(found.pairs)
    said = {
        "same": lambda: f"{same}",
        "turned": lambda: f"{turned}",
        "open": lambda: f"{every - same - turned}",
        "claims": lambda: f"{every}",
        "correlation": lambda: f"{_known(found.correlation):.2f}",
    }
    return said[what]()


def fewer_steps(study: str, what: str) -> str:
    """Of a study and the one beside it: in how many comparisons fewer steps cost more ``here``, and for ``certain``.

    ``all``: how many comparisons there are.
    """
    here = results(study)
    found = side_by_side.fewer_steps(learnt_runs(here), learnt_runs(_known(side_by_side.other(here))))
    larger = [one for one in found if one.between.value > 1]
    said = {"all": found, "here": larger, "certain": [one for one in larger if one.between.p < ALPHA]}
    return f"{len(said[what])}"


def design(study: str, path: str) -> str:
    """What a study's file says at ``path``, keys joined by dots: a number, or how many entries a list has."""
    value = _at(load(study).model_dump(), path.split("."))
    return f"{len(value) if isinstance(value, list) else value:,}"


def of_many(study: str, what: str) -> str:
    """Of the best setting: its geometric ``mean`` over seeds, its ``value`` without the luck of being chosen, and the
    ``chance`` that it really is the best.

    And how many ``members`` there are that cannot be told from it, and how many settings (``of``).
    """
    found = _known(best_of(results(study)))
    said = {
        "mean": lambda: short(math.exp(found.mean)),
        "value": lambda: short(math.exp(found.value)),
        "chance": lambda: f"{found.chance:.0%}",
        "members": lambda: f"{len(found.members)}",
        "of": lambda: f"{found.of}",
    }
    return said[what]()


def steps(study: str, method: str) -> str:
    """How many steps of a sampler are enough, as far as seeds can tell."""
    return escape(in_words(_known(dict(by_sampler(results(study)))[method])))


def scatter(study: str, objective: str, what: str) -> str:
    """The standard deviation of log FID that belongs to the ``training`` seed, the ``noise``, or to ``both``."""
    done = results(study).done
    found = _known(components(done[done["objective"] == objective]))
    part = {"training": found.training, "noise": found.noise, "both": found.both}[what]
    return f"{part.sd:.1%}"


def count(study: str, what: str) -> str:
    """How many ``cells``, ``jobs`` or ``seeds`` a study has."""
    found = results(study)
    counts = {"cells": len(found.cells), "jobs": len(found.study.jobs), "seeds": len(found.seeds)}
    return f"{counts[what]:,}"


def first_report(study: str) -> str:
    """Minutes that the jobs of a study's first training seed took: those of a first report."""
    found = results(study)
    first = [key for key, cells in found.study.jobs.items() if cells[0].job.seed == found.seeds[0]]
    records = [found.store.read(JobRecord, key) for key in first]
    took = [run.wall_s for record in records if isinstance(record, TrainedJob) for run in record.harness]
    return f"{sum(took) / 60:.0f}"


def perf(name: str, path: str, style: str = ".3g") -> str:
    """A number of a measurement in ``results/perf``, in a number format.

    ``path`` is keys and indices joined by dots. Of a list ``*`` is the median, ``count`` its length, and ``key=text``
    the first element that has that.
    """
    return format(_at(json.loads((ROOT / "results" / "perf" / f"{name}.json").read_text()), path.split(".")), style)


def _at(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return value
    first, *rest = path
    if first == "*":
        return statistics.median(_at(one, rest) for one in value)
    if first == "count":
        return len(value)
    key, equals, wanted = first.partition("=")
    if equals:
        return _at({str(one[key]): one for one in reversed(value)}[wanted], rest)
    return _at(value[int(first)] if isinstance(value, list) else value[first], rest)


def sees(metric: str, damage: str) -> str:
    """The smallest strength of a damage that a metric sees in sets of 1,000 images."""
    return f"{_known(smallest(calibration.read(ROOT / 'reports' / 'metrics'), metric, damage, FEW)):g}"


def judges() -> str:
    """The pinned judges that are networks, with how many test images each one puts in the right class."""
    every = [judge for dataset in PANELS for judge in judges_of(dataset).values() if judge.judge.recipe]
    rows = [(f"`{one.dataset}`", f"`{one.name}`", f"{float(about(one.path)['accuracy']):.1%}") for one in every]
    table = tabulate(rows, ["data set", "judge", "test images in the right class"], "github", colalign=("left",) * 3)
    return f"\n\n{table}\n\n"


def race(what: str) -> str:
    """Of the race: the table of ``records`` or of ``targets``, or a number of :mod:`bench.race.rules`."""
    tables: dict[str, Callable[[], str]] = {"records": lambda: words.standing(FOLDER), "targets": words.targets}
    if what in tables:
        return f"\n\n{tables[what]()}\n\n"
    value = {name: getattr(rules, name) for name in ("N", "RUNS", "MISSES", "P", "IMAGES")}[what]
    return f"{value:,}"


FACTS: dict[str, Callable[..., str]] = {
    "best": best,
    "of_many": of_many,
    "steps": steps,
    "setting": setting,
    "times": times,
    "bound": bound,
    "claim": claim,
    "panel": panel,
    "beside": beside,
    "fewer-steps": fewer_steps,
    "design": design,
    "scatter": scatter,
    "count": count,
    "first_report": first_report,
    "perf": perf,
    "race": race,
    "judges": judges,
    "sees": sees,
}


def answer(question: str) -> str:
    """The figure that a question asks for.

    :raises UserError: naming the question, if it is none.
    """
    name, *words = shlex.split(question)
    try:
        return FACTS[name](*words)
    except (LookupError, TypeError) as error:
        raise UserError(f"no figure for '{question}': {type(error).__name__} {error}") from error


def pages() -> Iterator[Path]:
    """The files that may hold figures."""
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").glob("*.md"))


def written(text: str) -> str:
    """The text with every figure as the results have it."""
    return MARK.sub(lambda found: f"<!--= {found['question']} -->{answer(found['question'])}<!---->", text)


def _known(value: T | None) -> T:
    if value is None:
        raise LookupError("it was not measured")
    return value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else short(float(value))


def _range(low: float, high: float) -> str:
    return f"{short(low)} to {short(high)}"


def main(argv: Sequence[str] = ()) -> int:
    """Write every figure anew; say which files have changed."""
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = written(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
