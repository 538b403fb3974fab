"""Arguments that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import paths

FORMATS = ("md", "csv", "json")


def study(to: argparse.ArgumentParser, default: str | None = "quick") -> None:
    """Which study; with no default, every one that has results."""
    what = f"default {default}" if default else "default: every study with results"
    to.add_argument("study", nargs="?", default=default, help=f"name or YAML file ({what})")


def results(to: argparse.ArgumentParser, reads: bool = False) -> None:
    """The results folder; a command that only reads takes that of the project where one's own has nothing to read."""
    default = "default: results/local" if paths.CHECKOUT else "default: results"
    if reads and paths.CHECKOUT:
        default += ". If it has none of what is asked for: results/reference, which comes with the project"
    to.add_argument("--results", type=path, metavar="DIR", help=f"the results folder ({default})")


def data_dir(to: argparse.ArgumentParser) -> None:
    """Where data sets lie."""
    to.add_argument(
        "--data-dir", type=path, metavar="DIR", help="where data sets lie (default data; MNIST is built in)"
    )


def device(to: argparse.ArgumentParser) -> None:
    """Where to compute."""
    to.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:N or mps")


def out(to: argparse.ArgumentParser, more: str = "") -> None:
    """Where a report goes."""
    beside = "reports/local for the default folder, " if paths.CHECKOUT else "reports for the default folder, "
    to.add_argument(
        "--out",
        type=path,
        metavar="DIR",
        help=f"where the report goes (default {beside}DIR/reports for --results DIR){more}",
    )


def output(to: argparse.ArgumentParser, more: str = "") -> None:
    """How rows are printed."""
    to.add_argument("--format", choices=FORMATS, default="md", help=f"default md{more}")


def page(to: argparse.ArgumentParser, default: Path, what: str) -> None:
    """The file of a page. One that is no page is not written over: FILE may be a study that was given in its place."""
    to.add_argument(
        "--html", nargs="?", const=default, type=_page, metavar="FILE", help=f"also write {what} (default {default})"
    )


def _page(text: str) -> Path:
    if not text.endswith(".html"):
        raise argparse.ArgumentTypeError(f"must end in .html, not '{text}'")
    return path(text)


def running(to: argparse.ArgumentParser) -> None:
    """How jobs are run."""
    results(to)
    data_dir(to)
    device(to)
    to.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="CPU threads of each job (default: all cores, divided among the jobs at once; one on a cluster). "
        "Rounding in training depends on this number. Keep it the same for results that must match byte for byte",
    )
    to.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="how networks are run: eager, compiled, or auto (default). If there is enough to do, auto tries both on "
        "this machine and takes the faster one, in bfloat16 too where a processor has it. On CUDA it tries graphs and "
        "lower precisions, too",
    )


def path(text: str) -> Path:
    """A path; ``~`` is the home folder, even where the shell has left it alone (in quotes)."""
    return paths.given(text)


def positive(text: str) -> int:
    """1, 2, 3, …"""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not '{text}'")
    return int(text)


def workers(text: str) -> int | str:
    """1, 2, 3, …, or ``auto``."""
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer or auto, not '{text}'")
    return int(text)


def natural(text: str) -> int:
    """0, 1, 2, … of 63 bits."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2**63 - 1, not '{text}'")
    return int(text)
