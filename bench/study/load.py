"""Reading a study from its YAML file: every mistake is one line with the file and the line number."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench.errors import UserError, unknown
from bench.paths import given
from bench.study.axes import AXES, Axes
from bench.study.study import Study
from bench.study.yaml12 import Loader, read

STUDIES = Path(__file__).parent / "studies"
LARGEST_MB = 1
"""A larger file is no study."""
MOST_VALUES = 100_000
"""As many values a study may have; where an alias stands for others, those count again."""


def available() -> list[str]:
    """The studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    :raises UserError: naming file, line and what is wrong with it.
    """
    path = _path(name)
    root, content = _read(path)
    try:
        study = Study.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise _in_words(error, path, root) from error
    study = _with_beside(study, path, root)
    try:
        if not study.cells:
            raise UserError(f"study '{study.name}': every cell is excluded")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return study


def _path(name: str) -> Path:
    path = given(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    if path.is_file():
        return path
    if path.parent == STUDIES:
        raise unknown("study", name, available())
    shipped = f"; did you mean the study '{path.stem}'?" if path.stem in available() else ""
    raise UserError(f"no study file {path}{shipped}")


def _with_beside(study: Study, path: Path, root: yaml.Node | None) -> Study:
    """The study, its ``beside`` as :func:`load` finds it from anywhere: a file is looked for next to the study's own.

    :raises UserError: if there is no such study.
    """
    if study.beside is None:
        return study
    name = study.beside
    found = str(path.parent / name) if name.endswith((".yaml", ".yml")) else name
    try:
        if _path(found).samefile(path):
            raise UserError("a study cannot be beside itself")
    except UserError as error:
        raise UserError(f"{path}:{_line(root, ['beside'])}: beside: {error}") from error
    return study.model_copy(update={"beside": found})


def _read(path: Path) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The file's YAML, as nodes, which know their lines, and as values."""
    if path.stat().st_size > LARGEST_MB * 1e6:
        raise UserError(f"{path}: a study file may have at most {LARGEST_MB} MB")
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader)
        if _values(root, {}) > MOST_VALUES:
            raise UserError(
                f"{path}: a study may have at most {MOST_VALUES:,} values, with aliases counted as what they stand for"
            )
        _no_key_twice(root)
        content = read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: malformed YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of bytes, dates, and lists within themselves
        raise UserError(f"{path}: malformed YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}:1: a study is a mapping with 'train' and 'axes'")
    return root, content


def _in_words(error: ValidationError, path: Path, root: yaml.Node | None) -> UserError:
    """The first mistake, in one line."""
    # a field that does not exist explains the one that is missing
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    at = first.get("ctx", {}).get("at") or first["loc"]
    where, field, message = f"{path}:{_line(root, at)}", ".".join(map(str, at)), first["msg"]
    if first["type"] == "extra_forbidden":
        owner: Any = Study
        for part in at[:-1]:
            owner = owner.model_fields[part].annotation
        message = str(unknown("field", at[-1], owner.model_fields))
        if owner is Axes and (axis := next((one for one in AXES if one.name == at[-1]), None)):
            message = f"{axis.name} is not written under axes. {axis.instead}"
    elif first["type"] != "study":  # whose message is whole
        message = message.removeprefix("Value error, ")
        message = f"{field + ': ' if field else ''}{message[0].lower()}{message[1:]}"
    return UserError(f"{where}: {message}")


def _values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values a node holds. Each node is looked at once: aliases of aliases stand for billions.

    :raises RecursionError: for a node within itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        inner = itertools.chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(one, known) for one in inner)
    return known[id(node)]


def _no_key_twice(node: yaml.Node | None) -> None:
    """Refuse what YAML would silently let the last one win.

    :raises yaml.MarkedYAMLError: at the second of two equal keys.
    """
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not a plain word", problem_mark=key.start_mark)
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is there twice", problem_mark=key.start_mark)
            keys.add(key.value)
            _no_key_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _no_key_twice(value)


def _line(root: yaml.Node | None, loc: Iterable[int | str]) -> int:
    """The line in the file of the deepest part of ``loc`` that exists there."""
    line, node = 1, root
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
