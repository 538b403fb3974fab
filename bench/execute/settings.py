"""What an executor of its own kind is told: partition, address and the like, as ``KEY=VALUE`` or from a YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import UserError, unknown
from bench.paths import given
from bench.study import yaml12


class Settings(BaseModel):
    """The settings of an executor. Those of one that runs jobs on this machine are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


S = TypeVar("S", bound=Settings)


def read(texts: Iterable[str]) -> dict[str, Any]:
    """Settings as a user gives them, each ``KEY=VALUE`` or a YAML file of them; a later one wins.

    :raises UserError: for a text that is neither, or a file that cannot be read.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals:
            found[name.strip()] = value.strip()
        elif text.endswith((".yaml", ".yml")):
            found |= _file(text)
        else:
            raise UserError(f"'{text}' is neither KEY=VALUE nor a YAML file of such settings")
    return found


def _file(name: str) -> dict[str, Any]:
    try:
        content = yaml12.read(given(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = (getattr(error, "strerror", None) or str(error)).strip().splitlines()[0]
        raise UserError(f"cannot read settings from {name}: {why}") from error
    if not isinstance(content, dict):
        raise UserError(f"cannot read settings from {name}: it must hold one KEY: VALUE a line")
    return {str(key): value for key, value in content.items()}


def parse(kind: type[S], values: Mapping[str, Any], executor: str) -> S:
    """The settings of an executor.

    :raises UserError: for one that it does not have, or a value that cannot be.
    """
    for name in values:
        if not kind.model_fields:
            raise UserError(f"executor {executor} has no settings, so '{name}' cannot be set")
        if name not in kind.model_fields:
            raise unknown(f"setting of executor {executor}", name, kind.model_fields)
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"executor {executor}, setting {where}: {first['msg'].removeprefix('Value error, ')}"
        ) from error


def need(package: str, executor: str) -> None:
    """Make sure that a package is there which only this executor needs.

    :raises UserError: if it is not, with the command that installs it.
    """
    try:
        found = find_spec(package)
    except ValueError:  # a module without a spec
        found = None
    if found is None:
        raise UserError(f"executor {executor} needs the package {package}: pip install 'ddpm-bench[{executor}]'")
