"""Names with options, as one string: ``unet`` or ``unet(inner=96,width=24)``.

A variant is named so wherever it goes (a study, a key, a table); options equal to their default are left out, so that
one variant has one name.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_NAME = re.compile(r"(?P<name>\w+)(\((?P<options>.*)\))?")


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """``name(k=v,…)`` → (name, {k: v}), values being JSON.

    :raises ValueError: if it is not of that form.
    """
    found = _NAME.fullmatch(spec)
    if found is None:
        raise ValueError(f"'{spec}' is not a name, nor name(option=value,…)")
    options: dict[str, Any] = {}
    for pair in filter(None, (found["options"] or "").split(",")):
        key, _, value = pair.partition("=")
        try:
            options[key.strip()] = json.loads(value)
        except ValueError:
            raise ValueError(f"'{spec}': option '{key.strip()}' has no plain value") from None
    return found["name"], options


def canonical(name: str, options: Mapping[str, Any], *of: Callable[..., Any]) -> str:
    """The one name of a variant of functions ``of``, whose keyword-only parameters are its options.

    :raises ValueError: for an option they do not have, or a value of another type than the default's.
    """
    valid = {key: default for function in of for key, default in parameters(function).items()}
    for key, value in options.items():
        if key not in valid:
            raise ValueError(f"'{name}' has no option '{key}' (options: {', '.join(valid) or 'none'})")
        number = isinstance(valid[key], float) and type(value) is int
        if type(value) is not type(valid[key]) and not number:
            raise ValueError(f"option '{key}' of '{name}' takes a value like {json.dumps(valid[key])}, not {value!r}")
    kept = [f"{key}={json.dumps(options[key])}" for key in sorted(options) if options[key] != valid[key]]
    return f"{name}({','.join(kept)})" if kept else name


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Its keyword-only parameters and their defaults: the options of a variant."""
    found = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}
