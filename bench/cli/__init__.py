"""The ``ddpm-bench`` command: one file a command. Everything heavy is imported by the command that needs it.

A command's file has ``HELP`` (one line), ``MORE`` (a paragraph, a table or ""), ``add``, which declares its arguments,
and ``run``, which calls a library function with them and returns the exit code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from bench.errors import UserError, unknown

#: every command, in the order of --help; each is the module of that name in this package
COMMANDS = (
    "plan",
    "run",
    "status",
    "table",
    "query",
    "compare",
    "history",
    "report",
    "open",
    "theory",
    "check",
    "score",
    "race",
    "sample",
    "export",
    "classifier",
    "metrics",
    "doctor",
)

EXIT = """\
exit codes:
  0  done, and everything asked for succeeded
  1  some jobs or cells failed, or the check found that quality is worse
  2  the input was wrong; one line says how, and nothing was written
  3  the check could not measure
  4  the check cannot tell: more than chance or rounding should do, but not certainly worse
  130  interrupted; run the same command again to finish what is missing
"""


class Command(Protocol):
    """What the module of a command has."""

    HELP: str
    MORE: str

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it, and return the exit code."""


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn a user's mistake into one line and exit code 2."""
    args = make_parser().parse_args(argv)
    try:
        _somewhere()
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
    except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError for it
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        print("ddpm-bench: out of memory: this process may not have as much as this takes", file=sys.stderr)
        return 2
    return code


def _somewhere() -> None:
    """Refuse to start where there is no working directory; torch would end the process, without a word about why.

    :raises UserError: if it was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the working directory was deleted: change to one that exists") from error


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here: a command then names its own help, not that of all commands."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unknown arguments: {' '.join(left)}")
        return found, left

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            kind = "command" if action.metavar == "COMMAND" else "choice"
            raise argparse.ArgumentError(action, str(unknown(kind, value, map(str, action.choices))))


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command. Nothing heavy is imported."""
    parser = _Parser(
        prog="ddpm-bench",
        description="Which objective, which schedule, how many steps? Train, sample, time and score a grid of "
        "diffusion models, and report the answer.",
        epilog="A study is a name (see `ddpm-bench plan --list`) or the path of a YAML file.\n\n" + EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = cast(Command, import_module(f"{__name__}.{name}"))
        added = commands.add_parser(
            name,
            help=command.HELP,
            description=_description(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add(added)
        added.set_defaults(run=command.run)
    return parser


def _description(command: Command) -> str:
    """What a command does, as wide as the terminal. A table stands below it as it is."""
    said, more = f"{command.HELP[0].upper()}{command.HELP[1:]}.", command.MORE
    table = "  " in more
    text = said if table else f"{said} {more}"
    width = shutil.get_terminal_size().columns - 2  # as argparse has it
    wrapped = textwrap.fill(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)
    return f"{wrapped}\n\n{more}" if table else wrapped
