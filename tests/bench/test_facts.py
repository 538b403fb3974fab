"""Every figure in README and docs is what the results say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import facts, paths
from bench.errors import UserError
from bench.study.load import load


@pytest.mark.parametrize("path", list(facts.pages()), ids=lambda path: path.name)
def test_every_figure_is_what_the_results_say(path: Path) -> None:
    """If this fails: python -m bench.facts."""
    text = path.read_text(encoding="utf-8")
    assert facts.written(text) == text


def test_readme_and_findings_have_figures() -> None:
    """A guard for the test above: it looks at something."""
    readme, *docs = facts.pages()
    findings = next(path for path in docs if path.name == "findings.md")
    counts = [len(facts.MARK.findall(path.read_text(encoding="utf-8"))) for path in (readme, findings)]
    assert counts[0] >= 8
    assert counts[1] >= 15


def test_a_wrong_figure_is_seen_and_mended() -> None:
    wrong = "FID <!--= best objectives fid -->1.23<!---->, and <!--= count objectives cells -->7<!----> cells"
    assert facts.written(wrong) == (
        f"FID <!--= best objectives fid -->{facts.best('objectives', 'fid')}<!---->, "
        "and <!--= count objectives cells -->108<!----> cells"
    )


def test_what_a_study_says_is_read_from_its_file() -> None:
    assert facts.answer("design recipes axes.sampler") == str(len(load("recipes").axes.sampler))
    assert facts.answer("design recipes train.images") == f"{load('recipes').train.images:,}"


def test_a_claim_on_differences_has_a_word_and_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    text, verdict = next(iter(facts.verdicts("quick").items()))
    assert facts.answer(f'claim quick "{text}" ratio') == f"{verdict.found.value:.2f}"
    monkeypatch.setattr(facts, "verdicts", lambda study: {text: verdict._replace(scale="difference")})
    assert facts.answer(f'claim quick "{text}" word') == verdict.word
    with pytest.raises(UserError, match="it was not measured"):
        facts.answer(f'claim quick "{text}" ratio')


def test_no_other_judge_has_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    text, verdict = next(iter(facts.verdicts("quick").items()))
    assert facts.answer(f'panel quick "{text}" supported').endswith(f"of {len(verdict.panel)}")
    monkeypatch.setattr(facts, "verdicts", lambda study: {text: verdict._replace(panel={})})
    with pytest.raises(UserError, match="it was not measured"):
        facts.answer(f'panel quick "{text}" supported')


def test_a_row_of_a_measurement_is_found_by_what_it_has() -> None:
    rows = [{"trial": "a", "n": 1}, {"trial": "b, c", "n": [2, 4]}, {"trial": "a", "n": 3}]
    assert facts._at({"rows": rows}, ["rows", "trial=a", "n"]) == 1
    assert facts._at({"rows": rows}, ["rows", "trial=b, c", "n", "*"]) == 3


def test_a_first_report_takes_as_long_as_the_jobs_of_one_seed() -> None:
    keys = {cell.job.key for cell in load("quick").cells if cell.job.seed == 0}
    files = [paths.REFERENCE / "jobs" / f"{key}.json" for key in keys]
    runs = [run for file in files for run in json.loads(file.read_text(encoding="utf-8"))["record"]["harness"]]
    assert facts.answer("first_report quick") == f"{sum(run['wall_s'] for run in runs) / 60:.0f}"


@pytest.mark.parametrize(
    "question",
    [
        "nothing at all",
        "best objectives no_such_column",
        "best",
        'claim objectives "no claim" word',
        "design objectives train.nothing",
        "perf search rows.trial=nothing.fid",
    ],
)
def test_a_question_without_an_answer_is_one_line(question: str) -> None:
    with pytest.raises(UserError, match="no figure for"):
        facts.answer(question)
