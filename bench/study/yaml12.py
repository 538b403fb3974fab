"""YAML with the numbers of version 1.2, read and written: in it ``1e-3`` is a number. PyYAML has those of 1.1."""

from __future__ import annotations

import re
from typing import Any

import yaml

NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+",
    "tag:yaml.org,2002:float": r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
"""Tag → pattern (YAML 1.2.2, section 10.3.2; underscores between digits are still taken)."""


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, where ``1e-3`` is a number, ``010`` is ten and ``1:30`` is text."""


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes text that :class:`Loader` would take for a number."""


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    text = str(node.value).replace("_", "")
    if node.tag.endswith(":int"):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _renumber(kind: Any, resolvers: dict[str, Any]) -> None:
    """Numbers of 1.2 in place of those of 1.1."""
    kind.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in NUMBERS] for first, pairs in resolvers.items()
    }
    for tag, pattern in NUMBERS.items():
        kind.add_implicit_resolver(tag, re.compile(f"^(?:{pattern})$"), list("-+.0123456789"))


_renumber(Loader, yaml.SafeLoader.yaml_implicit_resolvers)
_renumber(Dumper, yaml.SafeDumper.yaml_implicit_resolvers)
for _tag in NUMBERS:
    Loader.add_constructor(_tag, _number)


def read(text: str) -> Any:
    """What a study, a claim or a file of settings says.

    :raises yaml.YAMLError: if it is malformed; ValueError and RecursionError for odd dates and lists within themselves.
    """
    return yaml.load(text, Loader)  # noqa: S506 (it is a SafeLoader)


def dump(content: Any, **layout: Any) -> str:
    """Plain values as YAML, in the order that they have.

    :param layout: options of ``yaml.dump``.
    """
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, **layout))
