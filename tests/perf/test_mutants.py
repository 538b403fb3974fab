"""The driver of mutation tests: what it reads of mutmut, and when it fails. It is run weekly, not here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.paths import ROOT
from perf import mutants
from perf.mutants import LEFT_OUT, MODULES, SURVIVORS, Judged, Mutant, Survivor
from perf.record import load

RESULTS = """
    ddpm.mix.x_bridge__mutmut_1: killed
    ddpm.mix.x_bridge__mutmut_2: survived
    ddpm.mix.x_bridge__mutmut_3: no tests
    ddpm.mix.xǁTableǁat__mutmut_1: timeout
"""
SHOWN = """# ddpm.mix.x_bridge__mutmut_2: survived
--- ddpm/mix.py
+++ ddpm/mix.py
@@ -1,3 +1,3 @@
 def bridge():
-    return 1
+    return 2
"""


def test_results_are_read() -> None:
    found = dict(mutants.parse(RESULTS))
    assert list(found.values()) == [True, False, False, True]
    assert mutants.change(SHOWN) == ("return 1", "return 2")


DECORATED = """
from functools import cached_property, lru_cache

def twice(f):
    return lambda *given: 2 * f(*given)

class A:
    @property
    def one(self):
        return 1

    @cached_property
    def two(self):
        return 2

    @staticmethod
    def three():
        return 3

@twice
@lru_cache(
    maxsize=None,
)
def four(x):
    return 4 + x  # a comment
"""


def test_decorators_are_called_below_their_function() -> None:
    """There mutmut does not see them. What the code does stays the same, but nothing is kept for the next call."""
    made = mutants.undecorated(DECORATED)
    found: dict[str, Any] = {}
    exec(made, found)  # noqa: S102 (our own code, above)
    a = found["A"]()
    assert (a.one, a.two, a.three(), found["four"](1)) == (1, 2, 3, 10)
    assert "    one = property(one)\n" in made
    assert "\nfour = twice(four)\n" in made
    found["four"].cache_clear()
    assert made.count("@") == 1
    for module in MODULES:
        compile(mutants.undecorated((ROOT / module).read_text(encoding="utf-8")), module, "exec")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("", "mutmut made no mutants No"),
        (f"{RESULTS}    a__mutmut_1: not checked", "do the tests pass without one. No"),
    ],
)
def test_what_was_not_run_has_not_lived(
    results: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tests fail before anything is changed, mutmut runs nothing."""

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout=(results if "results" in command else "No").encode())

    monkeypatch.setattr(mutants, "NEEDED", ("ddpm", "pyproject.toml"))
    monkeypatch.setattr(mutants.subprocess, "run", run)
    with pytest.raises(SystemExit, match=said):
        mutants.mutate("ddpm/mix.py", MODULES["ddpm/mix.py"], tmp_path)


def test_a_survivor_needs_a_reason() -> None:
    made = [Mutant("a", True), Mutant("b", False, ("x", "y")), Mutant("c", False, ("x", "z"))]
    known = [Survivor("ddpm/mix.py", "x", "y", "equal"), Survivor("ddpm/ema.py", "x", "z", "equal")]
    found = mutants.judged("ddpm/mix.py", made, known)
    assert str(found) == "ddpm/mix.py: 1 of 3 killed (33.3%), 1 with a reason"
    assert [one.name for one in found.left] == ["c"]
    assert not found.good
    assert found._replace(mutants=20).good


def test_the_record_keeps_the_last_run_of_each_module(tmp_path: Path) -> None:
    """In the order of the table, and those that have left it are forgotten."""
    lives = Mutant("c", False, ("x", "z"))
    for module, killed in (("ddpm/ema.py", 1), ("ddpm/mix.py", 2), ("ddpm/ema.py", 3)):
        mutants.record(Judged(module, 4, killed, (lives,)), tmp_path)
    found = load(tmp_path)["mutants"]
    assert [(row["module"], row["killed"], row["left"]) for row in found["rows"]] == [
        ("ddpm/mix.py", 2, 1), ("ddpm/ema.py", 3, 1),
    ]  # fmt: skip
    assert found["left"] == {module: [{"before": "x", "after": "z"}] for module in ("ddpm/mix.py", "ddpm/ema.py")}


def test_every_module_of_the_model_and_the_scores_has_tests() -> None:
    """A new module is in the map, or is left out for a reason; its tests exist, and mutmut's settings are TOML."""
    every = (path for folder in ("ddpm", "bench/score") for path in (ROOT / folder).rglob("*.py"))
    modules = {str(path.relative_to(ROOT)) for path in every if path.name != "__init__.py"}
    assert modules == MODULES.keys() | LEFT_OUT.keys()
    assert not MODULES.keys() & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())
    for module, tests in MODULES.items():
        assert (ROOT / module).is_file()
        assert all((ROOT / name).is_file() for name in (*tests, mutants.FORMULAS))
        content = tomllib.loads(mutants.settings(module, tests))["tool"]["mutmut"]
        assert content["only_mutate"] == [module]
        assert content["timeout_multiplier"] == mutants.PATIENCE


def test_every_reason_is_of_a_line_that_is_there() -> None:
    known = mutants.read(SURVIVORS)
    assert len(set(known)) == len(known)
    for one in known:
        source = (ROOT / one.module).read_text(encoding="utf-8")
        assert all(line.strip() in source for line in one.before.splitlines()), one
        assert one.reason.strip()
        assert one.before != one.after


def test_a_module_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        mutants.main(["ddpm/mixx.py"])
    assert stop.value.code == 2
    assert "no module ddpm/mixx.py here (modules: ddpm/mix.py" in capsys.readouterr().err
