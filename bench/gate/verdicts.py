"""What a gate found: outcomes, their exit code, and the forms in which people and machines read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from bench import files
from bench.text import one_line

PASS, FAIL, UNDECIDED, NOT_MEASURED = "pass", "FAIL", "undecided", "could not measure"
EXIT = {PASS: 0, FAIL: 1, NOT_MEASURED: 3, UNDECIDED: 4}
"""Verdict → exit code; 2 is a mistake in the command, as everywhere. Listed from the best to what hides the most."""
GRAVEST = (FAIL, NOT_MEASURED, UNDECIDED, PASS)


class Outcome(NamedTuple):
    """One check: what was measured, the most it may be, and what that says."""

    name: str
    verdict: str
    value: float | None
    limit: float | None
    note: str = ""


def overall(outcomes: Iterable[Outcome]) -> str:
    """The gravest verdict; nothing measured is no pass."""
    found = {one.verdict for one in outcomes}
    return next((verdict for verdict in GRAVEST if verdict in found), NOT_MEASURED)


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown, the gravest first."""
    from tabulate import tabulate

    ordered = sorted(outcomes, key=lambda one: GRAVEST.index(one.verdict))
    body = [[one_line(one.name), one.value, one.limit, one.verdict, one_line(one.note)] for one in ordered]
    return str(tabulate(body, ["check", "value", "limit", "verdict", ""], tablefmt="github", floatfmt=".4g"))


def summary(outcomes: Sequence[Outcome]) -> str:
    """One line: how many passed, and the verdict on all."""
    passed = sum(one.verdict == PASS for one in outcomes)
    return f"check: {passed} of {len(outcomes)} passed: {overall(outcomes)}"


def tell(
    outcomes: Sequence[Outcome],
    title: str,
    about: dict[str, object],
    json: Path | None = None,
    junit: Path | None = None,
) -> int:
    """Say what a gate found wherever somebody listens, and return its exit code.

    That is the terminal, the files ``json`` (with ``about``) and ``junit``, and on GitHub annotations and the job's
    summary.
    """
    body, line = table(outcomes), summary(outcomes)
    print(f"{body}\n{line}")
    for path, text in ((json, to_json(outcomes, about)), (junit, to_junit(outcomes))):
        if path is not None:
            files.write_text(path, text)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(notices(outcomes)))
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(f"### {title}\n\n{body}\n\n{line}\n")
    return EXIT[overall(outcomes)]


def to_json(outcomes: Sequence[Outcome], about: dict[str, object]) -> str:
    """Everything, for scripts."""
    verdict = overall(outcomes)
    found = [one._asdict() for one in outcomes]
    return json.dumps({**about, "verdict": verdict, "exit_code": EXIT[verdict], "checks": found}, indent=1) + "\n"


def to_junit(outcomes: Sequence[Outcome]) -> str:
    """JUnit's XML: a failure fails, what could not be measured is an error, what is undecided is skipped."""
    tags = {FAIL: "failure", NOT_MEASURED: "error", UNDECIDED: "skipped"}
    counts = {f"{tag}s" if tag != "skipped" else tag: 0 for tag in tags.values()}
    for one in outcomes:
        if tag := tags.get(one.verdict):
            counts[f"{tag}s" if tag != "skipped" else tag] += 1
    root = ElementTree.Element("testsuite", name="ddpm-bench check", tests=str(len(outcomes)))
    root.attrib |= {name: str(count) for name, count in counts.items()}
    for one in outcomes:
        case = ElementTree.SubElement(root, "testcase", classname="ddpm-bench", name=one_line(one.name))
        if tag := tags.get(one.verdict):
            ElementTree.SubElement(case, tag, message=_said(one))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def notices(outcomes: Iterable[Outcome]) -> list[str]:
    """GitHub's workflow commands for what did not pass."""
    level = {FAIL: "error", NOT_MEASURED: "error", UNDECIDED: "warning"}
    return [
        f"::{level[one.verdict]} title=ddpm-bench check::{one_line(f'{one.name}: {_said(one)}').replace('%', '%25')}"
        for one in outcomes
        if one.verdict in level
    ]


def _said(one: Outcome) -> str:
    numbers = "" if one.value is None or one.limit is None else f"{one.value:.4g}, limit {one.limit:.4g}"
    return one_line("; ".join(filter(None, [one.verdict, numbers, one.note])))
