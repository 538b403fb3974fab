"""What a command takes is measured as its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.machine import provenance
from perf import compare, scale

STUB = """
import sys, time
time.sleep({sleep})
print({said!r}, *sys.argv[1:])
sys.exit({code} if sys.argv[1] == "query" else 0)
"""


def stub(tree: Path, sleep: float, said: str, code: int = 0) -> None:
    """A checkout whose every command takes so long and says so much."""
    (tree / "bench").mkdir(parents=True, exist_ok=True)
    (tree / "bench" / "__init__.py").touch()
    (tree / "bench" / "cli.py").write_text(STUB.format(sleep=sleep, said=said, code=code))


def git(tree: Path, *words: str) -> str:
    """What git says in a tree."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(["git", "-C", str(tree), *who, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose commit is slow and whose working tree is not, in place of this one, and no cells."""
    tree = tmp_path / "tree"
    stub(tree, 0.4, "3 cells: 3 done", code=1)
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "slow"]):
        git(tree, *words)
    stub(tree, 0.0, "3 done, and this is the present code")
    monkeypatch.setattr(compare, "ROOT", tree)
    monkeypatch.setattr(provenance, "CHECKOUT", tree)
    monkeypatch.setattr(scale, "ROOT", tree)
    monkeypatch.setattr(scale, "fill", lambda study, store: None)
    return tree


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is kept, in order."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(scale, "save", lambda name, content: found.append(json.loads(json.dumps(content))))
    return found


def test_a_commands_memory_is_not_that_of_who_starts_it() -> None:
    """The test has PyTorch in its process, which takes hundreds of MB; the help needs nothing."""
    found = scale.measure(["--help"])
    assert found["exit_code"] == 0
    assert found["bytes"] > 100
    assert 0 < found["seconds"] < 60
    assert 1 < found["peak_rss_mb"] < 100


def test_the_exit_code_of_a_command_is_kept() -> None:
    assert scale.measure(["plan", "--no-such-option"])["exit_code"] == 2


def test_another_revision_runs_in_turn(repository: Path, kept: list[dict[str, Any]]) -> None:
    """By its own code, from its commit; what fails there has no ratio."""
    assert scale.main(["--cells", "1", "--base", "HEAD", "--repeats", "2"]) == 0
    (content,) = kept
    found = {row["command"]: row for row in content["rows"]}
    assert list(found) == list(content["base"]["commands"]) == list(content["commands"]) == list(scale.COMMANDS)
    for name, own in content["commands"].items():
        other = content["base"]["commands"][name]
        assert len(own) == len(other) == 2
        assert all(a["seconds"] < b["seconds"] > 0.4 for a, b in zip(own, other, strict=True))
        assert {run["sha256"] for run in own}.isdisjoint(run["sha256"] for run in other)
        if name != "query":
            ratios = [a["seconds"] / b["seconds"] for a, b in zip(own, other, strict=True)]
            assert found[name][scale.SECONDS] == pytest.approx(sum(ratios) / 2)
    assert (found["query"][scale.SECONDS], found["query"][scale.MEMORY]) == (None, None)
    assert len(content["base"]["commit"]) == 40
    assert content["base"]["commit"][:12] in content["note"]
    assert [one["claim"] for one in content["claims"]] == [
        f"{name}: share {what}" for name in ("plan", "report") for what in (scale.SECONDS, scale.MEMORY)
    ]
    assert git(repository, "worktree", "list").count("\n") == 1, "its worktree is gone"


def test_claims_are_about_half() -> None:
    row = {scale.SECONDS: 0.5, scale.MEMORY: 0.51}
    made = list(scale.claims([row | {"command": "plan"}, row | {"command": "status"}]))
    assert [(one["measured"], one["met"]) for one in made] == [("50%", True), ("51%", False)]


def test_without_another_revision_the_record_is_as_it_was(repository: Path, kept: list[dict[str, Any]]) -> None:
    assert scale.main(["--cells", "1", "--only", "plan"]) == 0
    assert not kept
    assert scale.main(["--cells", "1"]) == 0
    assert list(kept[0]) == ["jobs", "cells", "commands", "rows"]
    assert list(kept[0]["rows"][0]) == ["command", "seconds", "peak memory, MB", "exit code"]


def test_mistakes_are_one_line(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A revision for which the cells are not done would train them."""
    for said in ("3 cells: 2 done, 1 stale", "3 cells: 3 missing", "no results yet"):
        stub(repository, 0.0, said)
        git(repository, "commit", "-qam", said)
        assert scale.main(["--cells", "1", "--base", "HEAD"]) == 2
        assert capsys.readouterr().err.startswith(
            f"perf.scale: revision 'HEAD' does not take these cells for done: {said}"
        )
    assert scale.main(["--cells", "1", "--base", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("perf.scale: git cannot give revision 'nothing'")
    assert scale.main(["--repeats", "0"]) == 2
    assert capsys.readouterr().err == "perf.scale: --repeats must be at least 1, not 0\n"


def test_a_report_that_is_timed_again_is_made_again(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged one would be left as it is."""
    there: list[bool] = []

    def measured(argv: list[str], tree: Path) -> dict[str, Any]:
        out = Path(argv[argv.index("--out") + 1])
        there.append(out.is_dir())
        out.mkdir(exist_ok=True)
        return {"seconds": 1.0, "peak_rss_mb": 1.0, "exit_code": 0}

    monkeypatch.setattr(scale, "measure", measured)
    assert [name for name, _ in scale.in_turn([repository], Path("x"), tmp_path, 2, "report")] == [
        "report", "report, unchanged",
    ]  # fmt: skip
    assert there == [False, False, True, True]
