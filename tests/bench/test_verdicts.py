"""Outcomes: four verdicts with four exit codes, in every form that somebody reads."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from bench.gate import verdicts
from bench.gate.verdicts import EXIT, FAIL, NOT_MEASURED, PASS, UNDECIDED, Outcome

ONE_OF_EACH = [
    Outcome("fine", PASS, 0.1, 0.2),
    Outcome("slipped", FAIL, 0.3, 0.2, "FID <worse> & more"),
    Outcome("unclear", UNDECIDED, 0.21, 0.2),
    Outcome("broken", NOT_MEASURED, None, None, "no FID"),
]


def test_four_exit_codes() -> None:
    assert len(set(EXIT.values())) == 4
    assert 2 not in EXIT.values(), "which is a mistake in the command"


@pytest.mark.parametrize(
    ("found", "expected"),
    [([0], PASS), ([0, 1], FAIL), ([0, 2], UNDECIDED), ([2, 3], NOT_MEASURED), ([1, 3], FAIL), ([], NOT_MEASURED)],
)
def test_the_gravest_counts(found: list[int], expected: str) -> None:
    assert verdicts.overall([ONE_OF_EACH[i] for i in found]) == expected


def test_forms() -> None:
    lines = verdicts.table(ONE_OF_EACH).splitlines()
    assert "slipped" in lines[2]
    assert "fine" in lines[-1]
    assert verdicts.summary(ONE_OF_EACH) == "check: 1 of 4 passed: FAIL"
    said = json.loads(verdicts.to_json(ONE_OF_EACH, {"mode": "change"}))
    assert (said["mode"], said["verdict"], said["exit_code"], len(said["checks"])) == ("change", FAIL, 1, 4)
    suite = ElementTree.fromstring(verdicts.to_junit(ONE_OF_EACH).split("?>", 1)[1])  # noqa: S314 (our own)
    assert suite.attrib["tests"] == "4"
    assert [suite.attrib[name] for name in ("failures", "errors", "skipped")] == ["1", "1", "1"]
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert cases == {"fine": [], "slipped": ["failure"], "unclear": ["skipped"], "broken": ["error"]}
    noted = verdicts.notices(ONE_OF_EACH)
    assert [line.split(" ")[0] for line in noted] == ["::error", "::warning", "::error"]
    assert "slipped" in noted[0]
    assert not any("\n" in line for line in noted)


HOSTILE = "a\x00b\x1b[31m\rc\n::error::d\x0b%0Ae\u202ef\ud800\uffff"


def test_names_and_notes_with_controls_stay_one_line_and_well_formed(capsys: pytest.CaptureFixture[str]) -> None:
    """A bare carriage return would begin another command of GitHub's, and a NUL is no XML."""
    found = [Outcome(HOSTILE, verdict, 1.0, 2.0, HOSTILE) for verdict in (FAIL, NOT_MEASURED, UNDECIDED)]
    root = ElementTree.fromstring(verdicts.to_junit(found).encode())  # noqa: S314 (our own)
    assert [case.attrib["name"][:4] for case in root] == ["a\\u0"] * 3
    for line in verdicts.notices(found):
        assert len(line.splitlines()) == 1
        assert line.isprintable()
        assert "%0A" not in line
    assert all(line.isprintable() for line in verdicts.table(found).split("\n"))
