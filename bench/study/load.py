"""Reading a study from its YAML file: every mistake is one line with the file and the line number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from bench.errors import UserError

if TYPE_CHECKING:
    pass

from bench.errors import unknown
from bench.study.axes import Axes
from bench.study.model import ORACLE
from bench.study.study import Study
from bench.study.variants import choices

STUDIES = Path(__file__).parent / "studies"
FORMERLY = {"seed": "demo"}
"""Old name of a shipped study → its name now."""


def available() -> list[str]:
    """The studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    :raises UserError: naming file, line and what is wrong with it.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{FORMERLY.get(name, name)}.yaml"
    if not path.is_file():
        if path.parent != STUDIES:
            raise UserError(f"no study file {path}")
        raise unknown("study", name, available())
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        _no_key_twice(root)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: malformed YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of bytes, dates, and lists within themselves
        raise UserError(f"{path}: malformed YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}:1: a study is a mapping with 'train' and 'axes'")
    try:
        study = Study(**{"name": path.stem, **content})
    except ValidationError as error:
        # a field that does not exist explains the one that is missing
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        where = f"{path}:{_line(root, first['loc'])}"
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            owner: Any = Study
            for part in first["loc"][:-1]:
                owner = owner.model_fields[part].annotation
            raise UserError(f"{where}: {unknown('field', field.split('.')[-1], owner.model_fields)}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {field + ': ' if field else ''}{message[0].lower()}{message[1:]}") from error
    _check_names(study, path, root)
    _check_claims(study, path, root)
    try:
        if not study.cells:
            raise UserError(f"study '{study.name}': every cell is excluded")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return study


def _check_names(study: Study, path: Path, root: yaml.Node | None) -> None:
    """Refuse names that do not exist, with the nearest that do, and more samples than there are test images.

    :raises UserError: naming file and line.
    """
    from bench.images.datasets import DATASETS

    chosen: dict[str, list[tuple[list[int | str], str]]] = {
        "dataset": [(["dataset"], study.dataset)],
        "optimiser": [(["train", "optimiser"], study.train.optimiser)],
    }
    if study.train.epochs == 0 and set(study.axes.net) != {ORACLE}:
        raise UserError(f"{path}:{_line(root, ['train', 'epochs'])}: train.epochs: 0 trains nothing but '{ORACLE}'")
    for kind, names in choices().items():
        given = chosen.get(kind) or [(["axes", kind, i], value) for i, value in enumerate(getattr(study.axes, kind))]
        for loc, value in given:
            if value.partition("(")[0] not in names:
                raise UserError(f"{path}:{_line(root, loc)}: {unknown(kind, value, names)}")
    most = DATASETS[study.dataset].test
    for field, what in (("n", "that the floor is drawn from"), ("likelihood", "that there are")):
        if (n := getattr(study.score, field)) > most:
            line = _line(root, ["score", field])
            raise UserError(f"{path}:{line}: score.{field}: {n} is more than the {most} test images {what}")
    for i, rule in enumerate(study.exclude):
        for axis, value in rule.items():
            line = _line(root, ["exclude", i, axis])
            if axis not in Axes.model_fields:
                raise UserError(f"{path}:{line}: {unknown('axis', axis, Axes.model_fields)}")
            on_axis = getattr(study.axes, axis)
            for item in value if isinstance(value, list) else [value]:
                if item not in on_axis:
                    raise UserError(
                        f"{path}:{line}: exclusion of {axis}={item} matches nothing "
                        f"(axis: {', '.join(map(str, on_axis))})"
                    )


def _check_claims(study: Study, path: Path, root: yaml.Node | None) -> None:
    """Refuse claims that the study cannot test.

    :raises UserError: naming file and line.
    """
    for i, text in enumerate(study.claims):
        try:
            _ = study.model_copy(update={"claims": [text]}).hypotheses
        except ValueError as error:
            raise UserError(f"{path}:{_line(root, ['claims', i])}: claims: {error}") from error


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
