"""The command line as a whole: its help, its table of commands, and that it starts without anything heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench import cli
from bench.paths import ROOT

NOT_COMMANDS = {"__init__", "__main__", "arguments", "output"}


def test_every_file_is_a_command() -> None:
    """A command is one file and one row; neither is without the other."""
    folder = Path(str(cli.__file__)).parent
    assert {path.stem for path in folder.glob("*.py")} - NOT_COMMANDS == set(cli.COMMANDS)
    assert len(set(cli.COMMANDS)) == len(cli.COMMANDS)


def test_help_names_every_command_and_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.cli", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    commands, codes = done.stdout.partition("COMMAND\n")[2].split("exit codes:")
    assert re.findall(r"^ {4}(\w+)", commands, re.MULTILINE) == list(cli.COMMANDS)
    assert re.findall(r"^  (\d+)  \w", codes, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


def test_help_imports_nothing_heavy() -> None:
    """So that --help answers at once: of this project only the command's own files and what finds paths."""
    heavy = {"numpy", "torch", "pandas", "pydantic", "yaml", "duckdb", "matplotlib", "rich"}
    probe = (
        "import sys; from bench import cli; cli.make_parser().format_help(); "
        f"print(*{heavy} & sys.modules.keys(), *(m for m in sys.modules if m.startswith('bench.')))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    light = ("bench.cli", "bench.errors", "bench.paths")
    assert [name for name in done.stdout.split() if not name.startswith(light)] == []


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every argument has a help text, and the command's one line is there."""
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: ddpm-bench {command} ")
    printed = " ".join(said.split())
    about = import_module(f"bench.cli.{command}").HELP
    assert about[0].upper() + about[1:] in printed


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_fits_the_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a table in it starts on a line of its own."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert re.search(r"\. +\w+ {2,}\w", said) is None


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_no_argument_is_left_unexplained(command: str) -> None:
    """Options without a help text are a riddle."""
    import argparse

    parser = argparse.ArgumentParser()
    import_module(f"bench.cli.{command}").add(parser)
    needless = {"path", "mode"}  # MORE explains these
    assert [a.dest for a in parser._actions if not a.help and a.dest not in needless] == []
