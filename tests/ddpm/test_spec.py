"""Names with options: one variant, one name, and every mistake refused in words."""

from __future__ import annotations

import pytest

from ddpm.spec import canonical, parse


def built(channels: int, *, width: int = 32, rate: float = 0.5, skip: bool = True) -> None:
    """Something with options."""


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "net"),
        ({"width": 24}, "net(width=24)"),
        ({"width": 24, "skip": False}, "net(skip=false,width=24)"),
        ({"skip": False, "width": 24}, "net(skip=false,width=24)"),
        ({"width": 32, "rate": 0.25}, "net(rate=0.25)"),
        ({"rate": 1}, "net(rate=1)"),
    ],
)
def test_one_name_each_way(options: dict[str, object], name: str) -> None:
    assert canonical("net", options, built) == name
    found, kept = parse(name)
    assert found == "net"
    assert canonical(found, kept, built) == name
    assert kept.items() <= options.items()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widht": 24}, "no option 'widht' .*width, rate, skip"),
        ({"channels": 3}, "no option 'channels'"),
        ({"width": 24.5}, "takes a value like 32"),
        ({"width": True}, "takes a value like 32"),
        ({"width": "24"}, "takes a value like 32"),
        ({"skip": 1}, "takes a value like true"),
    ],
)
def test_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        canonical("net", options, built)


@pytest.mark.parametrize("spec", ["", "two words", "net(", "net)", "net(width=24)x"])
def test_not_a_name(spec: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        parse(spec)


@pytest.mark.parametrize("spec", ["net(width)", "net(width=)", "net(width=wide)"])
def test_option_without_a_value(spec: str) -> None:
    with pytest.raises(ValueError, match="option 'width' has no plain value"):
        parse(spec)
