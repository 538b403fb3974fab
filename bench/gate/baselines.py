"""What the gates compare with: the committed files, one class each. A file of another shape is one clear line."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from bench import files
from bench.errors import UserError
from bench.machine.environment import Environment
from bench.machine.provenance import git, version
from bench.machine.sources import code_hash
from bench.store.records import Part
from bench.store.store import Store
from bench.study.model import Natural

SEEDS = 3
"""Fewest seeds a baseline is made from."""

P = TypeVar("P", bound=Part)


def runs_of_this_code(results: Path) -> Store:
    """Where the nightly gate trains: runs of one version of the code are kept apart from those of any other."""
    return Store(results / "check" / code_hash())


class Change(Part):
    """Who changed a baseline, when, on what commit, and why."""

    who: str
    when: str
    commit: str
    why: str


class NightlyBaseline(Part):
    """FIDs of a small study's cells by training seed: what a nightly run is judged against.

    ``classifier`` is the first twelve digits of its hash. ``fid`` has a list for each cell, by the cell's name.
    """

    study: str
    dataset: str
    n: Natural
    classifier: str
    epochs: Natural
    seeds: Annotated[tuple[Natural, ...], Field(min_length=SEEDS)]
    fid: Annotated[
        dict[str, Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Field(min_length=SEEDS)]],
        Field(min_length=1),
    ]
    environment: Environment | None = None
    history: tuple[Change, ...] = ()


class FrozenNumbers(Part):
    """The numbers of the baseline of every change, by check; images and weights lie beside it.

    ``classifier`` is the hash of the one that scored.
    """

    classifier: str
    history: tuple[Change, ...]
    numbers: dict[str, tuple[float, ...]]


def read_json(path: Path, kind: type[P], what: str) -> P:
    """What is in a JSON file.

    :param what: what the file should be, for the message.
    :raises UserError: if it is not, in one line; OSError if it cannot be read.
    """
    try:
        return kind.parse(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not {what}") from error


def write_json(path: Path, part: Part) -> None:
    """Write a file that people may read too."""
    files.write_text(path, json.dumps(part.as_json(), indent=1, ensure_ascii=False) + "\n")


def change(why: str) -> Change:
    """A change of a baseline, by this user, now, on this commit (or version, outside a checkout)."""
    return Change(
        who=git("config", "user.name") or getpass.getuser(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=git("rev-parse", "HEAD") or version() or "",
        why=why.strip(),
    )
